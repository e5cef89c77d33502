import math

import pytest
from torch import nn

from bdnb.training import optimiser


def test_gains_biases_and_the_logit_scale_are_not_decayed():
    model = nn.ModuleDict({"fc": nn.Linear(3, 2), "bn1": nn.BatchNorm1d(2)})
    model.logit_scale = nn.Parameter(nn.Parameter.__new__(nn.Parameter).new_zeros(()))
    decayed = {n for n, p in model.named_parameters() if optimiser.is_decayed(n, p)}
    assert decayed == {"fc.weight"}


def test_the_authors_names_miss_the_gains_inside_downsample():
    gain = nn.BatchNorm2d(2).weight
    name = "visual.layer1.0.downsample.1.weight"
    assert not optimiser.is_decayed(name, gain)
    assert optimiser.is_decayed(name, gain, decay="authors")
    assert not optimiser.is_decayed("visual.bn1.weight", gain, decay="authors")


def test_the_schedule_rises_linearly_and_falls_as_half_a_cosine():
    share = optimiser.warmup_cosine(warmup_steps=4, total_steps=12)
    assert [share(s) for s in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert share(4) == 1.0
    assert share(8) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert share(12) == pytest.approx(0, abs=1e-12)


def test_a_warm_up_longer_than_the_run_is_cut_to_it():
    share = optimiser.warmup_cosine(warmup_steps=50, total_steps=10)
    assert share(9) == 1.0


def test_parameter_groups_carry_their_decay():
    optimizer = optimiser.adamw(
        nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)),
        optimiser.Optimiser(lr=1e-3, weight_decay=0.1),
    )
    counted = [(len(g["params"]), g["weight_decay"]) for g in optimizer.param_groups]
    assert counted == [(1, 0.1), (3, 0.0)]


def test_the_authors_schedule_is_an_epoch_ahead():
    share = optimiser.warmup_cosine(warmup_steps=4, total_steps=40, late=10)
    plain = optimiser.warmup_cosine(warmup_steps=4, total_steps=40)
    assert [share(s) for s in range(30)] == [plain(s + 10) for s in range(30)]
    assert share(30) == pytest.approx(0, abs=1e-12)
    assert 0 < share(39) < 0.2
