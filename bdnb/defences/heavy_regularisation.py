"""CleanCLIP with strong L2 regularisation (Section 5; Appendix D.12)."""

from collections.abc import Iterator
from typing import Literal

from torch import Tensor

from bdnb import losses
from bdnb.config.options import Amount
from bdnb.data.batches import Batch, Batches
from bdnb.defences.registry import Setting, defence, run_fit, start
from bdnb.models import Model
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features


@defence("heavy_regularisation")
def heavy_regularisation(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    weight: Amount = 1.0,
    by: Literal["penalty", "decay"] = "penalty",
) -> Iterator[Epoch]:
    """Fine-tune with the run's loss and an L2 penalty on the decayed weights.

    weight: of the penalty. by: "penalty", added to the loss (paper), or "decay", AdamW's
    decoupled weight decay set to it (authors' command line).
    """
    loop = start(
        model,
        pairs,
        setting,
        weight_decay=weight if by == "decay" else None,
        used_tokens=by == "decay",
    )
    decayed = loop.optimizer.param_groups[0]["params"]

    def penalised(features: Features, batch: Batch) -> dict[str, Tensor]:
        parts = setting.loss(features, batch)
        penalty = losses.l2_penalty(decayed)
        return parts | {"loss_total": parts["loss_total"] + weight * penalty, "loss_l2": penalty}

    yield from run_fit(loop, pairs, setting, penalised if by == "penalty" else setting.loss)
