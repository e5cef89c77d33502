"""InverTune (Sun et al. 2025, arXiv 2506.12411): invert the trigger, then silence what it excites.

The neurons whose mean activation an inverted trigger changes most are tuned to be alike with it and
without, while the embeddings of clean images stay where they were.
"""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdnb.config.options import Amount, Count, Positive, Share
from bdnb.data.batches import Batch, Batches
from bdnb.defences import pseudo_labels
from bdnb.defences.channels import check_resnet, outputs, stages
from bdnb.defences.registry import Before, Setting, defence, run_fit, start
from bdnb.defences.trigger_inversion import classes, inverted, put_on, suspected_target
from bdnb.evaluate.benchmark import class_head, evaluating
from bdnb.models import Model
from bdnb.models.sync_batchnorm import untracked
from bdnb.poison import targets
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features


def _check(given: Mapping[str, Any], before: Before) -> None:
    check_resnet(given, before)
    if before.micro_batch:
        raise ConfigError("invertune with micro_batch: activations of a whole batch are needed")


@defence("invertune", check=_check)
def invertune(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    images: Count = 256,
    area: Share = 0.03,
    steps: Count = 200,
    inversion_lr: Positive = 0.01,
    keep: Amount = 0.5,
    stage_count: Count = 3,
) -> Iterator[Epoch]:
    """Find target and trigger, then minimise ``align + keep * |z - z_backdoored|`` on clean images.

    images: clean images to invert on. area: of the universal patch that betrays the target. steps,
    inversion_lr: of Adam for patch and trigger each. keep: weight of the clean embeddings.
    stage_count: stages tuned, those that the trigger moves most. A row has ``found_target`` (a
    class name), ``inverted_asr`` (percent of clean images that the inverted trigger takes there,
    before tuning) and ``mask_share`` (mean of the mask). Unlike the authors', tuning goes over all
    clean pairs with the run's schedule and weight decay (theirs: 1e-4) and no clipping, not over
    one batch 200 times; BatchNorm counts clean images alone, and weight decay shrinks the text
    tower, which they leave alone; the run's loss is not used. Errors: ConfigError without ResNet,
    and with micro_batch.
    """
    model.to(setting.accelerator.device).eval()
    device = setting.accelerator.device
    with evaluating(model):
        made = class_head(model, setting.classnames, targets.templates())
    head = made.clone()  # made in inference mode, where no gradient goes through
    some = torch.from_numpy(np.array(pairs.pairs.images[:images])).to(device) / 255
    options: dict[str, Any] = {"steps": steps, "lr": inversion_lr, "seed": setting.seed}
    target = suspected_target(model, some, head, area=area, **options)
    mask, trigger = inverted(model, some, head, target, **options)
    taken = classes(model, put_on(some, mask, trigger), head) == target
    told: dict[str, Any] = {  # a word among the numbers
        "found_target": setting.classnames[target],
        "inverted_asr": 100 * taken.float().mean().item(),
        "mask_share": mask.mean().item(),
    }
    frozen = deepcopy(model).requires_grad_(False)
    with outputs(stages(model)) as seen:
        with torch.no_grad():
            model.encode_image(255 * some)
            clean = means(seen)
            model.encode_image(255 * put_on(some, mask, trigger))
        neurons = critical(clean, means(seen), count=stage_count, seed=setting.seed)

        def tuned(features: Features, batch: Batch) -> dict[str, Tensor]:
            own = batch.images[: len(batch.places)].to(device)
            clean = means(seen, len(own))
            with setting.accelerator.autocast():
                with untracked(model):  # BatchNorm counts clean images alone
                    model.encode_image(255 * put_on(own / 255, mask, trigger))
                with torch.no_grad():
                    before = frozen.encode_image(own)
            align = alignment(clean, means(seen), neurons)
            held = (features.image[: len(own)] - before).norm()
            unused = 0 * (features.text.sum() + features.scale)  # a gradient of 0, for DDP
            total = align + keep * held + unused
            return {"loss_total": total, "loss_align": align, "loss_keep": held}

        for epoch in run_fit(start(model, pairs, setting), pairs, setting, tuned):
            yield epoch._replace(stats=epoch.stats | told)


def means(seen: Mapping[str, Tensor], count: int | None = None) -> dict[str, Tensor]:
    """Return the mean activation (C, H, W) of each stage, over the first ``count`` images."""
    return {name: value[:count].float().mean(dim=0) for name, value in seen.items()}


def critical(
    clean: Mapping[str, Tensor], triggered: Mapping[str, Tensor], *, count: int, seed: int
) -> dict[str, Tensor]:
    """Return a mask (C, H, W) of critical neurons for the ``count`` stages that change most.

    A stage's change is ``|clean - triggered| / |clean|`` of mean activations; its critical neurons
    are those in the upper of two k-means clusters of ``abs(clean - triggered)``.
    """
    moved = {name: ((clean[name] - triggered[name]).norm() / clean[name].norm()) for name in clean}
    chosen = sorted(moved, key=lambda name: -moved[name].item())[:count]
    masks = {}
    for name in chosen:
        change = (clean[name] - triggered[name]).abs()
        points = change.flatten()[:, None]
        found = pseudo_labels.kmeans(points, k=2, seed=seed, spherical=False)
        upper = found.labels == found.centroids[:, 0].argmax()
        masks[name] = upper.view(change.shape).to(change)
    return masks


def alignment(
    clean: Mapping[str, Tensor], triggered: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> Tensor:
    """Return the sum over stages of ``|M (clean - triggered)| / |M clean|``, M the masks."""
    terms = []
    for name, mask in masks.items():
        apart, size = (mask * (clean[name] - triggered[name])).norm(), (mask * clean[name]).norm()
        terms.append(apart / size.clamp_min(1e-6))
    return torch.stack(terms).sum()
