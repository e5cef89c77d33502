"""CLP against its formula in plain loops, and what a threshold does."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from bdnb import models
from bdnb.defences.channels import conv_norms
from bdnb.defences.clp import clp, lipschitz


def test_a_channel_s_bound_is_the_largest_singular_value_of_its_scaled_kernel():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 3, bias=False), nn.BatchNorm2d(5)
    norm.running_var.copy_(torch.rand(5) + 0.1)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(5))
    kernel, gain = conv.weight.detach().double().numpy(), norm.weight.detach().double().numpy()
    std = np.sqrt(norm.running_var.double().numpy() + norm.eps)
    expected = [
        np.linalg.svd(kernel[c].reshape(3, 9) * abs(gain[c]) / std[c], compute_uv=False)[0]
        for c in range(5)
    ]
    np.testing.assert_allclose(lipschitz(conv, norm).numpy(), expected, rtol=1e-6)


def pruned(model) -> list[list[int]]:
    """The silent channels of each layer."""
    return [
        ((norm.weight == 0) & (norm.bias == 0)).nonzero().flatten().tolist()
        for _, norm in conv_norms(model)
    ]


@pytest.fixture
def model():
    made = models.build("rn_test", seed=0)
    with torch.no_grad():
        for _, norm in conv_norms(made):
            norm.weight.fill_(1.0)
            norm.bias.fill_(0.1)
        made.clip.visual.layer1[0].conv2.weight[5] *= 50
    return made


def test_a_channel_that_can_amplify_most_is_pruned_and_candidates_start_anew(model):
    setting, found = SimpleNamespace(), []
    for epoch in clp(model, [], setting, u=(1.0, 2.0, 1.0)):
        found.append((epoch.number, epoch.stats["pruned_channels"], pruned(epoch.model)))
    (first, many, strong), (_, few, mild), (last, again, same) = found
    assert (first, last) == (1, 3)
    assert many > few > 0
    assert (many, strong) == (again, same)
    layer = [norm for _, norm in conv_norms(model)].index(model.clip.visual.layer1[0].bn2)
    assert mild[layer] == [5]
    assert few == sum(map(len, mild))


def test_at_a_threshold_that_no_channel_reaches_the_weights_stay_as_they_were(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (epoch,) = clp(model, [], SimpleNamespace(), u=(1000.0,))
    assert epoch.stats["pruned_channels"] == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
