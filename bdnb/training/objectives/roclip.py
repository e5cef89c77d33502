"""RoCLIP (Yang, Gao and Mirzasoleiman 2023, arXiv 2303.06854): captions from a pool, at times.

Every few epochs an image learns from the caption in a varying pool that it is nearest to, not from
its own, so that a poisoned pair is seldom seen together.
"""

import torch
from torch import Tensor

from bdnb import losses
from bdnb.config.options import Count
from bdnb.training.objectives.registry import Embedded, objective


def nearest(features: Tensor, pool: Tensor) -> Tensor:
    """Return for each unit feature (B, D) the one of a pool (P, D) with the highest cosine."""
    with torch.autocast(features.device.type, enabled=False):
        found: Tensor = pool[(features.detach().float() @ pool.T).argmax(dim=1)]
    return found


def take_in(batch: Embedded, name: str, features: Tensor, size: int) -> Tensor:
    """Return the pool as it was, and add a batch to it, the oldest leaving; its first is itself."""
    new = features.detach().float()
    pool = batch.kept.get(name, new)
    batch.kept[name] = torch.cat([new, pool])[:size] if name in batch.kept else new[:size]
    return pool


@objective("roclip", second_views=True)
def roclip(batch: Embedded, *, pool: Count = 21845, every: Count = 2) -> dict[str, Tensor]:
    """MMCL of augmented pairs; in every ``every``-th epoch with the pool's captions.

    pool: captions, the latest there were (the authors' size; 2 % of their pairs). There the
    captions of the batch get a gradient of zero, as in the authors' code. Theirs fills the pool in
    those epochs alone, from random vectors, and sees augmented pairs only; here BatchNorm counts
    the originals, too.
    """
    image, text = batch.image_view, batch.text_view
    known = take_in(batch, "pool", text, pool)
    if batch.epoch % every:
        return {"mmcl": losses.mmcl(image, text, batch.scale)}
    matched = nearest(image, known)
    return {"mmcl": losses.mmcl(image, matched, batch.scale) + 0 * text.sum()}
