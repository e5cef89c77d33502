"""Fine-pruning: what is pruned and stays so; NAD's loss against its formula in plain loops."""

import dataclasses

import numpy as np
import pytest
import torch

from bdnb import clean, models
from bdnb.data import datasets
from bdnb.data.shards import Pairs
from bdnb.defences import fine_pruning as module
from bdnb.runs import experiments
from bdnb.runs.records import weights_of
from bdnb.runtime.errors import ConfigError


def test_the_attention_loss_is_the_formula_of_nad():
    torch.manual_seed(0)
    shapes = {"layer1": (2, 4, 3, 3), "layer2": (2, 6, 2, 2)}
    student, teacher = ({k: torch.randn(s) for k, s in shapes.items()} for _ in range(2))
    expected = 0.0
    for name, (batch, _, height, width) in shapes.items():
        maps = []
        for side in (student, teacher):
            values = side[name].double().numpy()
            squares = [[sum(v**2 for v in values[b, :, y, x]) for y in range(height)
                        for x in range(width)] for b in range(batch)]  # fmt: skip
            maps.append([np.array(one) / np.sqrt(np.sum(np.square(one))) for one in squares])
        differences = [np.square(a - b) for a, b in zip(*maps, strict=True)]
        expected += np.sum(differences) / (batch * height * width)
    assert module.attention_loss(student, teacher).item() == pytest.approx(expected, rel=1e-5)
    assert module.attention_loss(student, student).item() == 0


@pytest.fixture
def pairs(tiny) -> Pairs:
    return datasets.dataset("tiny").pairs("clean", 32)


def active(model, images) -> torch.Tensor:
    """Mean activation of each channel behind the last 3x3 convolution."""
    seen = []
    hook = model.clip.visual.layer4[-1].act2.register_forward_hook(lambda *a: seen.append(a[2]))
    with torch.no_grad():
        model.eval().encode_image(torch.from_numpy(np.array(images)))
    hook.remove()
    return seen[0].mean(dim=(0, 2, 3))


def test_the_least_active_channels_go_first(pairs, monkeypatch):
    model = models.build("rn_test", seed=0)
    expected = active(model, pairs.images).argsort().tolist()
    real, asked = module.prune_, []
    monkeypatch.setattr(
        module, "prune_", lambda norm, at: (asked.extend(at.tolist()), real(norm, at))
    )
    assert module.prune_silent_(model, pairs, fall=1.0, step=0.1) == len(asked)
    assert asked == expected[: len(asked)]
    assert not active(model, pairs.images)[asked].any()


def test_pruning_ends_before_matching_falls_too_far(pairs, monkeypatch):
    shares = iter([0.8, 0.79, 0.73, 0.71])  # before, then after each tenth; 0.72 is the least
    real = torch.Tensor.item
    monkeypatch.setattr(torch.Tensor, "item", lambda x: next(shares) if x.ndim == 0 else real(x))
    model = models.build("rn_test", seed=0)
    count = module.prune_silent_(model, pairs, fall=0.1, step=0.125)
    channels = len(model.clip.visual.layer4[-1].bn2.weight)
    assert count == 2 * round(0.125 * channels)
    monkeypatch.undo()
    norm = model.clip.visual.layer4[-1].bn2
    assert ((norm.weight == 0) & (norm.bias == 0)).sum().item() == count


def config(**changes):
    first = experiments.of_file("tiny", "clean")[0]
    return dataclasses.replace(first, defence="fine_pruning", loss="mmcl", **changes)


def test_pruned_channels_stay_silent_while_the_rest_is_tuned(tiny):
    run = clean.clean(config(options={"fall": 1.0, "step": 0.25}))
    model = models.load("rn_test", weights_of(run, 2))
    norm = model.clip.visual.layer4[-1].bn2
    assert run.rows()[-1]["pruned_channels"] == len(norm.weight)
    assert not norm.weight.any()
    assert not norm.bias.any()


def test_nad_alone_is_held_to_a_teacher_tuned_as_long(tiny):
    rows = clean.clean(config(options={"fall": 0.0, "nad": 1000.0})).rows()
    plain = clean.clean(config(options={"fall": 0.0})).rows()
    assert [row["pruned_channels"] for row in rows[1:]] == [0, 0]
    total, parts = rows[1]["loss_total"], rows[1]["loss_mmcl"] + 1000 * rows[1]["loss_nad"]
    assert total == pytest.approx(parts, rel=1e-5)
    assert rows[1]["step"] == plain[2]["step"] + plain[1]["step"]


def test_without_either_it_is_plain_fine_tuning(tiny):
    rows = clean.clean(config(options={"fall": 0.0})).rows()
    plain = clean.clean(dataclasses.replace(config(), defence="cleanclip")).rows()
    assert [(r["accuracy"], r["asr"]) for r in rows] == [(r["accuracy"], r["asr"]) for r in plain]


def test_nad_refuses_batches_that_go_forward_in_pieces(tiny):
    with pytest.raises(ConfigError, match="nad with micro_batch"):
        clean.clean(config(options={"nad": 1.0}, micro_batch=8))
