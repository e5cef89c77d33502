"""BatchNorm over the batch of all processes, so that several compute what one does with all of it.

torch's ``SyncBatchNorm`` is for GPUs; what is here computes the same on any device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SharedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d whose mean and variance in training are those of all processes together."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape; B may differ between processes."""
        if not self.training or dist.get_world_size() == 1:
            return super().forward(x)
        wide = x.float()
        own = torch.tensor([x.numel() / x.shape[1]], device=x.device)
        total = _Sum.apply(torch.cat([wide.sum((0, 2, 3)), own]))
        count, mean = total[-1].detach(), (total[:-1] / total[-1]).view(1, -1, 1, 1)
        centred = wide - mean
        variance = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats:
            self._track(mean.detach().flatten(), variance.detach() * count / (count - 1))
        scale = (self.weight * (variance + self.eps).rsqrt()).view(1, -1, 1, 1)
        return (centred * scale + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics, as BatchNorm does (variance unbiased)."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


class _Sum(torch.autograd.Function):
    """The sum over processes; backward sums the gradients, as each process has a loss of all."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total


def share_(model: nn.Module, device: torch.device) -> None:
    """Let every BatchNorm2d of a model see the batch of all processes; parameters stay the same."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            # The class alone is other: parameters and buffers stay those that others refer to.
            module.__class__ = SharedBatchNorm2d


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """Leave the running statistics of BatchNorm as they are, in training mode, too."""
    found = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    for module in found:
        module.track_running_stats = False
    try:
        yield
    finally:
        for module in found:
            module.track_running_stats = True
