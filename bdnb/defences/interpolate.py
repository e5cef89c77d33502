"""Weight interpolation from the backdoored towards a cleaned model (WiSE-FT, arXiv 2109.01903).

``theta(alpha) = (1 - alpha) * backdoored + alpha * cleaned``: a model on the line for each alpha.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path

from torch import Tensor

from bdnb.config.options import Share
from bdnb.data.batches import Batches
from bdnb.defences.channels import recompute_batch_norm_
from bdnb.defences.cleanclip import cleanclip
from bdnb.defences.other_model import other_model
from bdnb.defences.registry import Setting, defence
from bdnb.models import Model
from bdnb.models.weights import check_shapes
from bdnb.training.fit import Epoch

Tensors = Mapping[str, Tensor]


def mixed(first: Tensors, last: Tensors, alpha: float) -> Tensors:
    """Return (1 - alpha) * first + alpha * last of each tensor of numbers; the last's of counts."""
    return {
        name: value.lerp(last[name].to(value), alpha) if value.is_floating_point() else last[name]
        for name, value in first.items()
    }


@defence("interpolate")
def interpolate(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    clean_model: str = "",
    alphas: tuple[Share, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
) -> Iterator[Epoch]:
    """Go step by step to a cleaned model; a candidate for each alpha.

    clean_model: any cleaned or clean model, as ``other_model`` takes it; empty: the one that
    CleanCLIP makes here with the run's loss, learning rate and epochs.
    alphas: from 0, the backdoored weights, to 1. BatchNorm's statistics are counted anew on the
    clean images for each. Errors: ConfigError for a model of another architecture.
    """
    step = 0.0
    if clean_model:
        other = other_model(clean_model, setting)
    else:
        other = deepcopy(model)
        for epoch in cleanclip(other, pairs, setting):
            step = epoch.stats["step"]
    first, last = deepcopy(model.clip.state_dict()), other.clip.state_dict()
    check_shapes(model, last, Path(clean_model))
    model.to(setting.accelerator.device)
    for number, alpha in enumerate(alphas, start=1):
        model.clip.load_state_dict(mixed(first, last, alpha))
        recompute_batch_norm_(model, pairs.pairs.images)
        yield Epoch(number, model, {"step": step, "alpha": alpha})
