import dataclasses
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdnb import clean, models
from bdnb.config.recipes import CleanConfig
from bdnb.defences.interpolate import mixed
from bdnb.runs import experiments, results
from bdnb.runs.records import weights_of
from bdnb.runtime.errors import ConfigError

NUMBER = st.floats(-1e3, 1e3, width=32)


@given(st.lists(st.tuples(NUMBER, NUMBER), min_size=1, max_size=8), st.floats(0, 1))
def test_a_model_on_the_line_is_the_weighted_mean_of_both_ends(pairs, alpha):
    first, last = (torch.tensor([p[i] for p in pairs]) for i in (0, 1))
    counts = {"n": torch.tensor(3)}
    made = mixed({"w": first} | counts, {"w": last, "n": torch.tensor(5)}, alpha)
    expected = (1 - alpha) * first.double() + alpha * last.double()
    torch.testing.assert_close(made["w"].double(), expected, rtol=1e-5, atol=1e-3)
    assert made["n"] == 5


def config(**changes) -> CleanConfig:
    first = experiments.of_file("tiny", "clean")[0]
    options = {"options": {"alphas": [0.0, 1.0]}, "checkpoints": "all"}
    return dataclasses.replace(first, **({"defence": "interpolate"} | options | changes))


def parameters(path) -> dict[str, torch.Tensor]:
    return dict(models.load("rn_test", path).clip.named_parameters())


def test_the_ends_of_the_line_are_the_backdoored_model_and_cleanclip_s(tiny):
    run = clean.clean(config())
    alone = clean.clean(config(defence="cleanclip", options={}))
    first = parameters(results.kept_weights(experiments.trained("tiny", "train_mmcl", 0)))
    ends = {1: first, 2: parameters(weights_of(alone, 2))}
    for epoch, expected in ends.items():
        found = parameters(weights_of(run, epoch))
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-7)
    rows = run.rows()
    assert [row.get("alpha") for row in rows] == [None, 0.0, 1.0]
    assert rows[1]["step"] == rows[2]["step"] == alone.rows()[-1]["step"]


def test_towards_a_recorded_model_nothing_is_trained(tiny):
    source = experiments.trained("tiny", "train_mmcl_ssl", 0)
    clean.clean(config(poisoned="train_mmcl_ssl", options={"alphas": [0.0]}))
    path = str(results.kept_weights(source))
    run = clean.clean(config(options={"alphas": [0.5, 1.0], "clean_model": path}))
    found, expected = parameters(weights_of(run, 2)), parameters(Path(path))
    assert all(torch.allclose(found[name], value) for name, value in expected.items())
    assert [row["step"] for row in run.rows()] == [0, 0, 0]


def test_a_model_of_another_architecture_is_refused(tiny, tmp_path):
    path = tmp_path / "other.safetensors"
    models.save_weights(models.build("vit_tiny32", seed=0), path, about={})
    with pytest.raises(ConfigError, match="weights of another model than rn_test"):
        clean.clean(config(options={"clean_model": str(path)}))
