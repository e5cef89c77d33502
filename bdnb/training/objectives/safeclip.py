"""SafeCLIP (Yang, Gao and Mirzasoleiman 2024, arXiv 2310.05862): only safe pairs see MMCL.

Image and caption are first trained apart; then pairs that agree in the model learn together, and
the others apart. Which are safe is told by a mixture of two normal distributions of cosines.
"""

from collections.abc import Sequence

import torch
from accelerate.utils import broadcast
from torch import Tensor

from bdnb import losses
from bdnb.config.options import Amount, Count, Number, Share
from bdnb.data.batches import Batches
from bdnb.evaluate.detectors.agreement import agreeing
from bdnb.evaluate.embedding import pair_features
from bdnb.training.loop import Loop
from bdnb.training.objectives.registry import Embedded, objective
from bdnb.training.objectives.roclip import nearest, take_in


def safe_pairs(cosines: Tensor, share: float, *, sure: float) -> Tensor:
    """Return which pairs (N,) are safe: surely, or the ``share`` of all that agree best.

    share: 0: all of which the probability to be of those that agree is ``sure`` or more.
    """
    probability = agreeing(cosines)
    if not share:
        return probability >= sure
    # Of those that are all but sure to agree the probability is 1: the higher cosine goes first.
    order = torch.argsort(cosines.cpu(), descending=True, stable=True)
    order = order[torch.argsort(probability[order], descending=True, stable=True)]
    safe = torch.zeros(len(cosines), dtype=torch.bool)
    safe[order[: round(share * len(cosines))]] = True
    return safe


def before_epoch(
    epoch: int,
    loop: Loop,
    batches: Batches,
    *,
    in_modal_epochs: int,
    slow_epochs: int,
    slow: float,
    sure: float,
    growth: float,
    most: float,
    **_: object,
) -> None:
    """Say which pairs are safe in the epoch: at first none, then all but slowly, then some.

    They are ``loop.kept["kinds"]``, so that batches are of one kind and MMCL has its negatives.
    """
    slowly = in_modal_epochs < epoch <= in_modal_epochs + slow_epochs
    loop.scale_lr(slow if slowly else 1.0)
    device, count = loop.accelerator.device, batches.samples
    if epoch <= in_modal_epochs + slow_epochs:
        loop.kept["kinds"] = torch.full((count,), slowly, device=device)
        return
    image, text = pair_features(loop.model, batches)
    before = loop.kept.get("share")
    share = 0.0 if before is None else min(before.item() + growth, most)
    safe = safe_pairs((image * text).sum(dim=1), share, sure=sure)
    loop.kept["kinds"] = broadcast(safe.to(device))
    loop.kept["share"] = loop.kept["kinds"].double().mean()


@objective("safeclip", second_views=True, before_epoch=before_epoch)
def safeclip(
    batch: Embedded,
    *,
    bank: Count = 44032,
    in_modal_epochs: Number = 5,
    slow_epochs: Number = 1,
    slow: Amount = 0.01,
    sure: Share = 0.9,
    growth: Share = 0.01,
    most: Share = 0.85,
) -> dict[str, Tensor]:
    """MMCL over a batch's safe pairs, the in-modal loss over its others.

    bank: latest embeddings of each modality, among which a neighbour is looked for; the size is
    that of Huang et al. 2025, by default 256 in the authors' code. First ``in_modal_epochs``
    without MMCL, then ``slow_epochs`` of MMCL at ``slow`` times the learning rate. sure:
    probability of a safe pair when pairs are first judged; from then on their share grows by
    ``growth`` an epoch up to ``most``. Other values as the authors', whose epochs are 32.

    As theirs, batches are wholly safe or wholly not (but for one an epoch). Their schedule begins
    anew after the slow epochs. They augment both views, to judge, too; here one is the original,
    whose trigger is whole. Their banks take in what the in-modal loss sees; here every pair, in
    every epoch.
    """
    safe = batch.kept["kinds"][batch.places]
    near_image = nearest(batch.image, take_in(batch, "bank_image", batch.image, bank))
    near_text = nearest(batch.text, take_in(batch, "bank_text", batch.text, bank))
    across = [(batch.image, batch.text_view), (batch.text, batch.image_view)]
    within = [(batch.image_view, near_image), (batch.text_view, near_text)]
    return {
        "mmcl": mean_over(safe, across, batch.scale),
        "in_modal": mean_over(~safe, within, batch.scale),
    }


def mean_over(rows: Tensor, sides: Sequence[tuple[Tensor, Tensor]], scale: Tensor) -> Tensor:
    """Return the mean InfoNCE of the sides over some rows (B,) of a batch; 0 for none."""
    if not rows.any():
        return sum((0 * a.sum() for a, _ in sides), 0 * scale)
    terms = [losses.info_nce(queries[rows], keys[rows], scale) for queries, keys in sides]
    return torch.stack(terms).mean()
