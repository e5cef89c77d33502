"""AdamW's parameter groups and the learning-rate schedule (Appendix A)."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


@dataclass(frozen=True, kw_only=True)
class Optimiser:
    """AdamW and its learning-rate schedule, as ``config.recipes`` describes each value.

    lr: the peak. fused: all of a step in one kernel.
    """

    lr: float
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    decay: str = "paper"
    fused: bool = True
    warmup_steps: int = 0
    schedule: str = "paper"


def is_decayed(name: str, parameter: nn.Parameter, *, decay: str = "paper") -> bool:
    """Whether weight decay applies: not to gains, biases and the logit scale.

    decay: "authors" goes by names (bn, ln, bias, logit_scale), so that the BatchNorm gains inside
    ``downsample``, whose names do not match, are decayed as in the authors' code.
    """
    if decay == "authors":
        return not any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
    return parameter.ndim >= 2


def adamw(model: nn.Module, settings: Optimiser) -> AdamW:
    """Return AdamW with a decayed and an undecayed group of a model's parameters."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        groups[is_decayed(name, parameter, decay=settings.decay)].append(parameter)
    parts = [
        {"params": groups[True], "weight_decay": settings.weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
    betas = (settings.beta1, settings.beta2)
    return AdamW(parts, lr=settings.lr, betas=betas, eps=settings.eps, fused=settings.fused)


def warmup_cosine(*, warmup_steps: int, total_steps: int, late: int = 0) -> Callable[[int], float]:
    """Share of the peak rate at a step: linear up to 1, then half a cosine down to 0.

    late: steps that the counter is ahead, one epoch's in the authors' code: a warm-up shorter than
    an epoch never happens, and the rate is 0 an epoch before the end and rises again a little.
    """
    warmup_steps = min(warmup_steps, total_steps)

    def share(step: int) -> float:
        step += late
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        rest = (step - warmup_steps) / max(1, total_steps - warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * (rest if late else min(1.0, rest))))

    return share


def schedule(
    optimizer: AdamW, *, warmup_steps: int, total_steps: int, late: int = 0, constant: int = 0
) -> LambdaLR:
    """The schedule of ``warmup_cosine`` on an optimiser, a step a batch.

    constant: parameter groups, the last so many, that keep their learning rate.
    """
    share = warmup_cosine(warmup_steps=warmup_steps, total_steps=total_steps, late=late)
    follow = len(optimizer.param_groups) - constant
    return LambdaLR(optimizer, [share] * follow + [lambda _: 1.0] * constant)
