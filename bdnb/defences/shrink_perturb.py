"""Shrink and perturb the weights, then CleanCLIP (Section 5; Appendix D.13; Ash & Adams, 2020)."""

from collections.abc import Iterable, Iterator
from typing import Literal

import torch
from torch import Tensor

from bdnb import models
from bdnb.config.options import Amount, Share
from bdnb.data.batches import Batches
from bdnb.defences.cleanclip import cleanclip
from bdnb.defences.registry import Setting, defence
from bdnb.models import Model
from bdnb.runtime import seeds
from bdnb.training.fit import Epoch

Noise = Literal["gaussian", "fresh"]


@defence("shrink_perturb")
def shrink_perturb(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    shrink: Share = 0.9,
    perturb: Amount = 1e-3,
    noise: Noise = "gaussian",
) -> Iterator[Epoch]:
    """Shrink and perturb the weights once, then fine-tune with the run's loss."""
    shrink_perturb_(model, shrink=shrink, perturb=perturb, noise=noise, seed=setting.seed)
    yield from cleanclip(model, pairs, setting)


@defence("screen")
def screen(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    shrink: Share = 0.9,
    perturb: Amount = 1e-3,
    noise: Noise = "gaussian",
) -> Iterator[Epoch]:
    """Shrink and perturb, and no cleaning: the one candidate that ``pick`` may choose (D.13)."""
    shrink_perturb_(model, shrink=shrink, perturb=perturb, noise=noise, seed=setting.seed)
    yield Epoch(1, model, {"step": 0})


def shrink_perturb_(
    model: Model, *, shrink: float, perturb: float, noise: Noise = "gaussian", seed: int
) -> None:
    """Set theta to shrink * theta + perturb * p, in place.

    noise: "gaussian", p ~ N(0, 1), so that perturb is sigma (paper); "fresh", p a new random
    initialisation of the model (authors' code). Buffers (BatchNorm statistics) stay.
    """
    parameters = dict(model.clip.named_parameters())
    if noise == "fresh":
        other = models.build(model.name, seed=seeds.integer(seed, "perturb"))
        fresh = dict(other.clip.named_parameters())
        drawn: Iterable[Tensor] = (fresh[name] for name in parameters)
    else:
        draws = torch.Generator().manual_seed(seeds.integer(seed, "perturb"))
        drawn = (torch.randn(p.shape, generator=draws) for p in parameters.values())
    with torch.no_grad():
        for parameter, p in zip(parameters.values(), drawn, strict=True):
            parameter.mul_(shrink).add_(p.to(parameter.device), alpha=perturb)
