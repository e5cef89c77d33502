import numpy as np
import pytest
import torch

from bdnb import models
from bdnb.defences import channels
from bdnb.runtime.errors import ConfigError


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def test_each_convolution_has_the_batch_norm_that_sees_its_output():
    model = models.build("rn_test", seed=0)
    pairs = channels.conv_norms(model)
    convolutions = [m for m in model.clip.visual.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(pairs) == len(convolutions)
    seen = {}
    for conv, norm in pairs:
        conv.register_forward_hook(lambda m, _, out: seen.update({m: out}))
        norm.register_forward_hook(lambda m, given, _: seen.update({m: given[0]}))
    model.eval()
    with torch.no_grad():
        model.encode_image(torch.from_numpy(images(2)))
    assert all(seen[conv] is seen[norm] for conv, norm in pairs)


def test_a_vision_transformer_has_no_channels_to_prune():
    with pytest.raises(ConfigError, match="vit_tiny32: expected a ResNet image tower"):
        channels.conv_norms(models.build("vit_tiny32", seed=0))


def test_pruned_channels_are_silent_and_without_gradient():
    norm, x = torch.nn.BatchNorm2d(4), torch.randn(8, 4, 3, 3)
    channels.prune_(norm, torch.tensor([1, 3]))
    out = torch.relu(norm(x))
    (out.sum() + out.square().sum()).backward()
    assert not out[:, [1, 3]].any()
    assert out[:, [0, 2]].any()
    assert not norm.weight.grad[[1, 3]].any()
    assert not norm.bias.grad[[1, 3]].any()


def test_statistics_counted_anew_are_those_of_the_images_under_the_weights_as_they_are():
    model = models.build("rn_test", seed=0).eval()
    given = images(12)
    with torch.no_grad():
        model.clip.visual.conv1.weight.mul_(3.0)
        pixels = (torch.from_numpy(given).double() - model.mean.double()) / model.std.double()
        conv = model.clip.visual.conv1
        out = torch.nn.functional.conv2d(pixels, conv.weight.double(), stride=2, padding=1)
    momentum = model.clip.visual.bn1.momentum
    channels.recompute_batch_norm_(model, given)
    norm = model.clip.visual.bn1
    torch.testing.assert_close(
        norm.running_mean.double(), out.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        norm.running_var.double(), out.var(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    assert norm.momentum == momentum
    assert not model.training


def test_no_batch_of_one_image_is_counted(monkeypatch):
    """At the last stage an image has one place: BatchNorm of a single image would fail."""
    monkeypatch.setattr(channels, "BATCH", 4)
    channels.recompute_batch_norm_(models.build("rn_test", seed=0), images(9))
