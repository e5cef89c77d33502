"""Kernels for small models on a CPU compute what the usual ones do: features, losses, gradients."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdnb import models
from bdnb.models import packed_text, text_tower
from bdnb.models.pointwise import PointwiseConv2d, take_products_

WORDS = st.integers(1, 90)


@pytest.fixture(scope="module")
def model():
    return models.build("rn_test", seed=0)


def gradients(module, work):
    module.zero_grad()
    work().backward()
    return {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None}


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(WORDS, min_size=1, max_size=9), behind=st.integers(0, 5))
def test_captions_of_any_lengths_have_the_usual_features_and_gradients(model, lengths, behind):
    tokens = model.tokens([" ".join(["banana"] * n) for n in lengths])
    tokens = torch.nn.functional.pad(tokens, (0, min(behind, 77 - tokens.shape[1])))
    weights = torch.randn(len(tokens), 1, generator=torch.Generator().manual_seed(0))
    ways = [lambda e=e: e(model.clip, tokens) for e in (packed_text.encode, text_tower.encode)]
    torch.testing.assert_close(ways[0](), ways[1](), rtol=1e-5, atol=1e-5)
    ours, usual = (gradients(model.clip, lambda w=way: (w() * weights).sum()) for way in ways)
    assert set(ours) == set(usual)
    for name, gradient in usual.items():
        rounding = 2e-5 * max(1.0, float(gradient.abs().max()))  # one word's row sums many tokens
        torch.testing.assert_close(ours[name], gradient, rtol=0, atol=rounding, msg=name)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("side", [1, 4])
def test_a_1x1_convolution_is_the_same_function(side, bias):
    torch.manual_seed(0)
    usual = torch.nn.Conv2d(6, 10, 1, bias=bias).to(memory_format=torch.channels_last)
    ours = torch.nn.Sequential(torch.nn.Conv2d(6, 10, 1, bias=bias))
    ours[0].load_state_dict(usual.state_dict())
    take_products_(ours)
    assert type(ours[0]) is PointwiseConv2d
    images = torch.randn(5, 6, side, side).to(memory_format=torch.channels_last)
    weights = torch.randn(5, 10, side, side)
    torch.testing.assert_close(ours(images), usual(images))
    assert ours(images).is_contiguous(memory_format=torch.channels_last)
    wanted = gradients(usual, lambda: (usual(images) * weights).sum())
    found = gradients(ours[0], lambda: (ours(images) * weights).sum())
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient)


def test_convolutions_with_a_stride_padding_or_groups_stay_as_they_are():
    others = [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3}]
    kept = torch.nn.Sequential(
        *(torch.nn.Conv2d(4, 4, **({"kernel_size": 1} | other)) for other in others)
    )
    take_products_(kept)
    assert {type(module) for module in kept} == {torch.nn.Conv2d}


def test_only_who_asks_for_them_has_them(model):
    usual = models.build("rn_test", seed=0)
    usual.lay_out()
    assert not usual.packed
    assert not any(isinstance(module, PointwiseConv2d) for module in usual.modules())
    usual.lay_out(kernels="small")
    assert usual.packed
    assert any(isinstance(module, PointwiseConv2d) for module in usual.modules())


def test_a_tower_of_other_blocks_is_not_packed(model, monkeypatch):
    monkeypatch.setattr(packed_text, "ResidualAttentionBlock", torch.nn.Linear)
    assert not packed_text.packs(model.clip)
