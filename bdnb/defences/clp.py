"""CLP: prune the channels that can amplify most; no data (Zheng et al. 2022, arXiv 2208.03111)."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdnb.config.options import Positive
from bdnb.data.batches import Batches
from bdnb.defences.channels import check_resnet, conv_norms, prune_
from bdnb.defences.registry import Setting, defence
from bdnb.models import Model
from bdnb.training.fit import Epoch


def lipschitz(conv: nn.Conv2d, norm: _BatchNorm) -> Tensor:
    """Upper bounds (C,) of the channels' Lipschitz constants, BatchNorm's scale included.

    The largest singular value of a channel's kernel (inputs x places), times ``|gain| / std``.
    """
    assert norm.running_var is not None
    kernels = conv.weight.detach().flatten(start_dim=2)
    scale = norm.weight.detach().abs() / (norm.running_var + norm.eps).sqrt()
    return torch.linalg.matrix_norm(kernels.cpu().double(), ord=2) * scale.cpu().double()


@defence("clp", check=check_resnet)
def clp(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    u: tuple[Positive, ...] = (5.0, 4.0, 3.0, 2.5, 2.0, 1.5),
) -> Iterator[Epoch]:
    """Silence the channels above mean + u * std of their layer's; a candidate for each u.

    u: from mild to strong; the paper's is 3. Neither pairs nor classes are looked at, nothing is
    trained, and each candidate starts from the backdoored weights. Errors: ConfigError without
    ResNet.
    """
    first = deepcopy(model.clip.state_dict())
    for number, threshold in enumerate(u, start=1):
        model.clip.load_state_dict(first)
        count = 0
        for conv, norm in conv_norms(model):
            bounds = lipschitz(conv, norm)
            above = bounds > bounds.mean() + threshold * bounds.std()
            prune_(norm, above.to(norm.weight.device))
            count += int(above.sum())
        yield Epoch(number, model, {"step": 0, "clp_u": threshold, "pruned_channels": count})
