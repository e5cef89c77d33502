"""The column of every row that says how far the weights have moved."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdnb import models
from bdnb.defences.distance import from_start
from bdnb.models.used_tokens import use_only_
from bdnb.training.fit import Epoch


def distance(model, change) -> float:
    def candidates():
        with torch.no_grad():
            change(model)
        yield Epoch(1, model, {"step": 1})

    (epoch,) = from_start(model, candidates())
    assert epoch.stats["step"] == 1
    return epoch.stats["distance"]


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0, 2))
def test_scaling_all_weights_moves_them_by_that_share(share):
    def scale(model):
        for name, weight in model.clip.named_parameters():
            if not name.startswith("logit_"):
                weight.mul_(1 + share)

    assert distance(models.build("rn_test", seed=0), scale) == pytest.approx(share, abs=1e-5)


def test_neither_statistics_nor_the_logit_scale_count():
    def change(model):
        model.clip.visual.bn1.running_mean.add_(7)
        model.clip.logit_scale.add_(1)

    assert distance(models.build("rn_test", seed=0), change) == 0


def test_tokens_that_are_trained_alone_count_as_in_the_whole_table():
    def change(model):
        model.clip.token_embedding.weight.mul_(1.5)

    whole, used = models.build("rn_test", seed=0), models.build("rn_test", seed=0)
    every = torch.arange(whole.clip.token_embedding.num_embeddings)
    assert distance(used, lambda m: change(m) or use_only_(m.clip, every)) == pytest.approx(
        distance(whole, change), rel=1e-5
    )


def test_another_architecture_has_no_distance():
    other = models.build("rn_tiny32", seed=0)
    (epoch,) = from_start(models.build("rn_test", seed=0), iter([Epoch(1, other, {})]))
    assert math.isnan(epoch.stats["distance"])
