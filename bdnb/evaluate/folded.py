"""BatchNorm folded into the convolution before it, for evaluation: one pass over memory less.

In: a model in evaluation mode; inside the context its image tower computes the same function, to
float32's rounding. The weights that training sees are not touched.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from open_clip.modified_resnet import ModifiedResNet
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bdnb.models import Model


@contextmanager
def folded(model: Model) -> Iterator[None]:
    """The model with a folded copy of its image tower, where that is one of CLIP's ResNets."""
    visual = model.clip.visual
    if isinstance(visual, ModifiedResNet):
        model.clip.visual = fold(visual)
    try:
        yield
    finally:
        model.clip.visual = visual


def fold(visual: ModifiedResNet) -> nn.Module:
    """A copy of the tower, in evaluation mode, without BatchNorm."""
    visual = copy.deepcopy(visual).eval()
    for module in visual.modules():
        for first, second in _pairs(module):
            setattr(
                module, first, fuse_conv_bn_eval(getattr(module, first), getattr(module, second))
            )
            setattr(module, second, nn.Identity())
    return visual


def _pairs(module: nn.Module) -> list[tuple[str, str]]:
    """Names of the convolutions of a module and of the BatchNorm that follows each."""
    names = [f"conv{i}" for i in (1, 2, 3) if hasattr(module, f"conv{i}")]
    if isinstance(module, nn.Sequential):
        follows = zip(list(module._modules), list(module._modules)[1:], strict=False)
        return [
            (a, b)
            for a, b in follows
            if isinstance(getattr(module, a), nn.Conv2d)
            and isinstance(getattr(module, b), nn.BatchNorm2d)
        ]
    return [(name, name.replace("conv", "bn")) for name in names]
