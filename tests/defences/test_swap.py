"""Swapped towers: laws of the rotation, and that a model swapped with itself is itself."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from bdnb import models
from bdnb.defences.swap import procrustes, rotate_text_, swap
from bdnb.runtime.errors import ConfigError

CAPTIONS = tuple(f"a photo of {i} cats" for i in range(40))


@pytest.fixture
def pairs():
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 32, 32), dtype=np.uint8)
    return SimpleNamespace(pairs=SimpleNamespace(images=images, captions=CAPTIONS))


@pytest.fixture
def setting():
    return SimpleNamespace(accelerator=Accelerator(cpu=True), scale="quick", seed=0)


def saved(model, path):
    models.save_weights(model, path, about={})
    return str(path)


def encoded(model):
    model.eval()
    images = torch.randint(
        0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(3)
    )
    with torch.no_grad():
        return model.encode_image(images), model.encode_text(model.tokens(CAPTIONS[:5]))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), width=st.integers(2, 12))
def test_a_rotated_space_is_turned_back(seed, width):
    draws = torch.Generator().manual_seed(seed)
    target = F.normalize(torch.randn(5 * width, width, generator=draws, dtype=torch.float64), dim=1)
    turn = torch.linalg.qr(torch.randn(width, width, generator=draws, dtype=torch.float64))[0]
    found = procrustes(target @ turn.T, target)
    assert torch.allclose(found.T @ found, torch.eye(width, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(target @ turn.T @ found, target, atol=1e-9)


def test_turning_the_text_tower_turns_its_features():
    model = models.build("rn_test", seed=0)
    text = encoded(model)[1]
    turn = torch.linalg.qr(torch.randn(text.shape[1], text.shape[1]))[0]
    rotate_text_(model, turn)
    assert torch.allclose(encoded(model)[1], text @ turn, atol=1e-5)


@pytest.mark.parametrize("backdoored", ["image", "text", "both"])
def test_a_model_swapped_with_itself_is_itself(tmp_path, pairs, setting, backdoored):
    model = models.build("rn_test", seed=0)
    before = encoded(model)
    name = saved(model, tmp_path / "same.safetensors")
    (epoch,) = swap(model, pairs, setting, clean_model=name, backdoored=backdoored)
    for now, then in zip(encoded(epoch.model), before, strict=True):
        assert torch.allclose(now, then, atol=1e-4)
    assert epoch.stats["aligned"] == pytest.approx(1, abs=1e-5)


def test_each_tower_comes_from_the_model_asked_for(tmp_path, pairs, setting):
    clean = models.build("rn_test", seed=1)
    name, (clean_image, clean_text) = saved(clean, tmp_path / "clean.safetensors"), encoded(clean)
    own_image, own_text = encoded(models.build("rn_test", seed=0))
    wanted = {
        "image": (own_image, clean_text),
        "text": (clean_image, own_text),
        "both": (own_image, own_text),
        "neither": (clean_image, clean_text),
    }
    for backdoored, (image, text) in wanted.items():
        model = models.build("rn_test", seed=0)
        given = {"clean_model": name, "backdoored": backdoored, "align": "none"}
        (epoch,) = swap(model, pairs, setting, **given)
        now = encoded(epoch.model)
        assert torch.allclose(now[0], image, atol=1e-5)
        assert torch.allclose(now[1], text, atol=1e-5)


def test_a_rotation_brings_the_spaces_closer(tmp_path, pairs, setting):
    name = saved(models.build("rn_test", seed=1), tmp_path / "clean.safetensors")
    aligned = {}
    for align in ("rotation", "none"):
        (epoch,) = swap(
            models.build("rn_test", seed=0), pairs, setting, clean_model=name, align=align
        )
        aligned[align] = epoch.stats["aligned"]
    assert aligned["rotation"] > aligned["none"]


def test_a_swap_needs_a_model_of_the_same_kind(tmp_path, pairs, setting):
    model = models.build("rn_test", seed=0)
    other = saved(models.build("rn_tiny32", seed=0), tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="rn_tiny32, expected rn_test"):
        next(swap(model, pairs, setting, clean_model=other))
