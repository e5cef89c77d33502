"""Fine-pruning (Liu et al. 2018, arXiv 1805.12185), with NAD (Li et al. 2021, arXiv 2101.05930).

Channels that clean images leave silent are pruned, then the model is fine-tuned. NAD: meanwhile
its attention maps are held to those of a teacher, a copy that has been fine-tuned already.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb.config.options import Amount, Positive, Share
from bdnb.data.batches import Batch, Batches
from bdnb.data.shards import Pairs
from bdnb.defences.channels import check_resnet, outputs, prune_, resnet, stages
from bdnb.defences.registry import Before, Setting, defence, run_fit, start
from bdnb.evaluate.benchmark import BATCH, evaluating, image_features, text_features
from bdnb.models import Model
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch, fit
from bdnb.training.loop import Features


def _check(given: Mapping[str, Any], before: Before) -> None:
    check_resnet(given, before)
    if given.get("nad") and before.micro_batch:
        raise ConfigError("nad with micro_batch: activations of a whole batch are needed")


@defence("fine_pruning", check=_check)
def fine_pruning(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    fall: Share = 0.1,
    step: Positive = 0.02,
    nad: Amount = 0.0,
) -> Iterator[Epoch]:
    """Prune as ``prune_silent_``, then minimise ``loss + nad * attention_loss``.

    fall: how much of the matching accuracy on clean pairs pruning may cost; 0: prune nothing (NAD
    alone). step: share of the channels pruned at once. nad: weight of the attention maps; NAD's own
    is 500 to 1000. The teacher has the run's loss and epochs, too, and its steps count in ``step``.
    Pruned channels stay silent: they have no gradient. Errors: ConfigError.
    """
    pruned = prune_silent_(model, pairs.pairs, fall=fall, step=step) if fall else 0
    extra = {"pruned_channels": pruned}
    if not nad:
        loop = start(model, pairs, setting, used_tokens=True)
        for epoch in run_fit(loop, pairs, setting, setting.loss):
            yield epoch._replace(stats=epoch.stats | extra)
        return
    teacher, taught = deepcopy(model), 0.0
    loop, hook = start(teacher, pairs, setting), setting.loss.before_epoch
    for epoch in fit(loop, pairs, setting.loss, epochs=setting.epochs, before_epoch=hook):
        taught = epoch.stats["step"]
    teacher.requires_grad_(False).eval()
    with outputs(stages(teacher)) as wanted, outputs(stages(model)) as found:

        def distilled(features: Features, batch: Batch) -> dict[str, Tensor]:
            own = dict(found)
            with torch.no_grad(), setting.accelerator.autocast():
                teacher.encode_image(batch.images.to(features.image.device))
            parts = setting.loss(features, batch)
            term = attention_loss(own, wanted) * batch.weight
            return parts | {"loss_total": parts["loss_total"] + nad * term, "loss_nad": term}

        loop = start(model, pairs, setting, used_tokens=True)
        for epoch in run_fit(loop, pairs, setting, distilled):
            more = {"step": epoch.stats["step"] + taught}
            yield epoch._replace(stats=epoch.stats | extra | more)


def attention_loss(student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
    """Return the sum over stages of the mean squared difference of attention maps.

    Activations (B, C, H, W) by stage. A map is the sum of the channels' squares, (B, H*W), of unit
    length. Mean over places, as the weights that NAD gives are for.
    """
    terms = [F.mse_loss(attention_map(x), attention_map(teacher[k])) for k, x in student.items()]
    return torch.stack(terms).sum()


def attention_map(activation: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H*W) of unit length: where the stage is active."""
    return F.normalize(activation.float().square().sum(dim=1).flatten(start_dim=1), dim=1)


def prune_silent_(model: Model, pairs: Pairs, *, fall: float, step: float) -> int:
    """Silence the channels of the last 3x3 convolution that clean images excite least, in place.

    ``step`` of them at a time, as long as the share of images whose own caption is the nearest
    stays above ``1 - fall`` of what it was, among the first 500 pairs: the defender has no labels.
    Returns how many are pruned. Errors: ConfigError without ResNet.
    """
    block = resnet(model).layer4[-1]
    images, captions = pairs.images[:BATCH], pairs.captions[:BATCH]
    with evaluating(model), outputs({"last": block.act2}) as found:
        texts = text_features(model, captions)

        def matching() -> float:
            cosines = image_features(model, images) @ texts.T
            own = cosines.diagonal() >= cosines.amax(dim=1) - 1e-6  # equal captions are both right
            return own.float().mean().item()

        least = (1 - fall) * matching()
        order = found["last"].float().mean(dim=(0, 2, 3)).argsort().tolist()
        at_once, count = max(1, round(step * len(order))), 0
        while count + at_once <= len(order):
            before = {name: value.clone() for name, value in block.bn2.state_dict().items()}
            prune_(block.bn2, torch.tensor(order[count : count + at_once]))
            if matching() < least:
                block.bn2.load_state_dict(before)
                break
            count += at_once
    return count
