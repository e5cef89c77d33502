import open_clip
import pytest
import torch
from open_clip.modified_resnet import AttentionPool2d

from bdnb import models
from bdnb.models.attention_pool import MeanPool, take_mean_only_


@pytest.mark.parametrize("side", [1, 7])
def test_output_and_gradients_are_open_clip_s(side):
    torch.manual_seed(0)
    theirs = AttentionPool2d(side, 48, 4, 24)
    ours = AttentionPool2d(side, 48, 4, 24)
    ours.load_state_dict(theirs.state_dict())
    take_mean_only_(ours)
    assert type(ours) is MeanPool
    one, two = (
        torch.randn(5, 48, side, side, generator=torch.Generator().manual_seed(1)) for _ in "ab"
    )
    weights = torch.randn(5, 24)
    (theirs(one.requires_grad_()) * weights).sum().backward()
    (ours(two.requires_grad_()) * weights).sum().backward()
    torch.testing.assert_close(ours(two), theirs(one))
    torch.testing.assert_close(two.grad, one.grad)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_the_package_s_resnets_pool_so_and_have_open_clip_s_weights():
    model = models.build("rn_test", seed=0)
    assert type(model.clip.visual.attnpool) is MeanPool
    plain = open_clip.create_model("rn_test", load_weights=False)
    assert list(plain.state_dict()) == list(model.clip.state_dict())
