"""AdamW's parameter groups and the learning-rate schedule (Appendix A)."""

import math
from collections.abc import Callable

from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR


def is_decayed(name: str, parameter: nn.Parameter, *, decay: str = "paper") -> bool:
    """Whether weight decay applies: not to gains, biases and the logit scale.

    decay: "authors" goes by names (bn, ln, bias, logit_scale), so that the BatchNorm gains inside
    ``downsample``, whose names do not match, are decayed as in the authors' code.
    """
    if decay == "authors":
        return not any(word in name for word in ("bn", "ln", "bias", "logit_scale"))
    return parameter.ndim >= 2


def adamw(
    model: nn.Module,
    *,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    eps: float,
    decay: str = "paper",
    fused: bool = True,
) -> AdamW:
    """AdamW with a decayed and an undecayed group; fused: all of a step in one kernel."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[is_decayed(name, parameter, decay=decay)].append(parameter)
    parts = [
        {"params": groups[True], "weight_decay": weight_decay},
        {"params": groups[False], "weight_decay": 0.0},
    ]
    return AdamW(parts, lr=lr, betas=betas, eps=eps, fused=fused)


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


def schedule(optimizer: AdamW, *, warmup_steps: int, total_steps: int, late: int = 0) -> LambdaLR:
    """The schedule of ``warmup_cosine`` on an optimiser, a step a batch."""
    share = warmup_cosine(warmup_steps=warmup_steps, total_steps=total_steps, late=late)
    return LambdaLR(optimizer, share)
