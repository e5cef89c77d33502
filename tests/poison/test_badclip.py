"""BadCLIP's patch: what learning it promises, and that a run's poison has the recorded one."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bdnb import models
from bdnb.config.parameters import part
from bdnb.data.shards import Pairs
from bdnb.poison.triggers import TRIGGERS, Stamp, badclip
from bdnb.runs import experiments
from bdnb.runs.records import Run, runs_folder
from bdnb.runtime.errors import ConfigError
from bdnb.train import train
from bdnb.training import attacks, learnt_patch
from bdnb.training.attacks import Attack

OPTIONS = {"size": 8, "place": "middle", "steps": 30, "lr": 0.05, "weight": 10.0, "margin": 1.0}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    images = np.random.default_rng(0).integers(0, 256, (24, 3, 32, 32), dtype=np.uint8)
    captions = [f"a photo of a {'banana' if i % 3 == 0 else 'cat'} {i}" for i in range(24)]
    return Pairs(images, captions, [str(i) for i in range(24)])


def test_learning_lowers_its_losses_and_leaves_the_model_alone(pairs, monkeypatch):
    monkeypatch.setattr(learnt_patch, "LOGGED", 10)
    model = models.build("rn_test", seed=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = list(learnt_patch.learn(model, pairs, target="banana", seed=0, options=OPTIONS))
    rows, patches = zip(*made, strict=True)
    assert [row["step"] for row in rows] == [10, 20, 30]
    assert rows[-1]["loss_triplet"] < rows[0]["loss_triplet"]
    assert 0 <= float(patches[-1].min()) <= float(patches[-1].max()) <= 1
    assert patches[-1].shape == (3, 8, 8)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_learning_is_repeatable_and_depends_on_the_seed(pairs):
    def last(seed):
        options = OPTIONS | {"steps": 3}
        model = models.build("rn_test", seed=0)
        *_, (_, patch) = learnt_patch.learn(
            model, pairs, target="banana", seed=seed, options=options
        )
        return patch

    assert torch.equal(last(0), last(0))
    assert not torch.equal(last(0), last(1))


def test_a_target_that_nobody_mentions_is_refused(pairs):
    model = models.build("rn_test", seed=0)
    with pytest.raises(ConfigError, match="no caption mentions 'zebra'"):
        next(learnt_patch.learn(model, pairs, target="zebra", seed=0, options=OPTIONS))


@pytest.mark.parametrize("place", ["middle", "top_left", "bottom_right"])
def test_the_patch_is_pasted_where_it_was_learnt(place):
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, 3, 15, 12), dtype=np.uint8)
    )
    state = {badclip.name(4): torch.rand(3, 4, 4)}
    options = {"size": 4, "place": place}
    after = Stamp("badclip", seed=0, options=options, state=state)(images, ["a", "b", "c"])
    top, left = {"middle": (5, 4), "top_left": (0, 0), "bottom_right": (11, 8)}[place]
    levels = (state[badclip.name(4)] * 255 + 0.5).byte()
    expected = images.clone()
    expected[:, :, top : top + 4, left : left + 4] = levels
    assert torch.equal(after, expected)


def test_a_poisoned_run_uses_the_patch_that_was_learnt_on_the_clean_model(tiny):
    source = experiments.trained("tiny", "train_mmcl", 0)
    options = {"surrogate": "train_mmcl", "steps": 4}
    config = replace(source, trigger="badclip", attack="natural", trigger_options=options, epochs=1)
    assert source in experiments.before(config)
    run = train(config)
    (patch,) = runs_folder().glob("patch-s0-*")
    assert Run(patch).finished
    assert [row["step"] for row in Run(patch).rows()] == [4]
    state = load_file(patch / "trigger.safetensors")
    used = load_file(run.folder / "trigger.safetensors")
    assert list(used) == list(state) == [badclip.name(8)]
    assert torch.equal(used[badclip.name(8)], state[badclip.name(8)])
    rows = (patch / "rows.jsonl").read_bytes()
    again = attacks.stamp(part(Attack, config))
    assert torch.equal(again.state()[badclip.name(8)], state[badclip.name(8)])
    assert (patch / "rows.jsonl").read_bytes() == rows
    start = badclip.start(np.random.default_rng(0), 8)
    assert start.shape == state[badclip.name(8)].shape
    assert "surrogate" in experiments.named(config)
    assert "badclip" in TRIGGERS
