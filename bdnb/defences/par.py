"""PAR, Perturb and Recover (Singh, Croce and Hein 2024, arXiv 2412.00727): away from where it was.

The embeddings of clean pairs are pushed away from those of a frozen copy of the backdoored model,
up to a distance, while MMCL holds image and caption together. No self-supervision.
"""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

from bdnb.config.options import Amount
from bdnb.data.batches import Batch, Batches
from bdnb.defences.registry import Setting, defence, run_fit, start
from bdnb.models import Model
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features


def distance(features: Tensor, frozen: Tensor) -> Tensor:
    """Mean squared distance of unit features (B, D) from the frozen model's: 0 to 4."""
    return (features - frozen).square().sum(dim=1).mean()


def below(distance: Tensor, tau: float) -> Tensor:
    """The distance where it is at most tau, else 0: there is nothing more to push for."""
    return distance * (distance.detach() <= tau)


@defence("par")
def par(
    model: Model, pairs: Batches, setting: Setting, *, tau: Amount = 2.15, weight: Amount = 0.5
) -> Iterator[Epoch]:
    """Minimise ``loss - weight * (below(d_image) + below(d_text))``; the logit scale stays.

    The run's loss should be ``mmcl``, as in the paper. tau: squared distance that is enough; the
    paper's 2.15 is a cosine of -0.075. weight: of both terms. The copy is in evaluation mode, the
    model in training mode. Not here: the paper's noise and erased squares on images. Over several
    processes the distance is that of each one's share of the batch.
    """
    frozen = deepcopy(model).to(setting.accelerator.device).requires_grad_(False).eval()

    def perturbed(features: Features, batch: Batch) -> dict[str, Tensor]:
        n, device = len(batch.places), features.image.device
        with torch.no_grad(), setting.accelerator.autocast():
            image, text, *_ = frozen(batch.images[:n].to(device), batch.tokens[:n].to(device))
        held = features.scale.detach() + 0 * features.scale  # a gradient of 0, for DDP
        parts = setting.loss(features._replace(scale=held), batch)
        away = {"image": distance(features.image[:n], image)}
        away["text"] = distance(features.text[:n], text)
        pushed = sum(below(one, tau) for one in away.values()) * batch.weight
        total = parts["loss_total"] - weight * pushed
        return parts | {"loss_total": total} | {f"loss_away_{k}": v for k, v in away.items()}

    yield from run_fit(start(model, pairs, setting, used_tokens=True), pairs, setting, perturbed)
