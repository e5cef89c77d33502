"""Defences: from a poisoned model and clean pairs to a candidate model after each epoch.

``@defence("name")`` adds one; its keyword-only parameters are the ``options`` of a cleaning run.
Every sweep, record, figure and table then works for it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from bdnb import losses, models
from bdnb.config.options import Amount, Count, Share, check_options
from bdnb.config.options import register as register_checked
from bdnb.config.recipes import CleanConfig
from bdnb.data.batches import Batch, Batches
from bdnb.data.labelled import openai_templates
from bdnb.defences import pseudo_labels
from bdnb.evaluate import zero_shot
from bdnb.evaluate.benchmark import evaluating, image_features
from bdnb.models import Model
from bdnb.runs import experiments
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import setup
from bdnb.training.fit import Epoch, fit, objective
from bdnb.training.loop import Features, Loop, Objective


@dataclass(frozen=True)
class Setting:
    """What a defence is given besides the model and the pairs.

    state: file where ``fit`` puts the run down between two epochs. classnames: of the primary
    labelled set, for labels by a zero-shot classifier. adam: optimiser state that comes with the
    poisoned model, for ``optimiser="authors"``.
    """

    config: CleanConfig
    accelerator: Accelerator
    state: Path
    classnames: tuple[str, ...] = ()
    adam: dict[str, Any] | None = None


Defence = Callable[..., Iterator[Epoch]]
DEFENCES: dict[str, Defence] = {}


def defence(name: str) -> Callable[[Defence], Defence]:
    """Register ``fn(model, pairs, setting, *, options...) -> Iterator[Epoch]`` under a name.

    Errors: ConfigError as ``config.options.register``.
    """

    def register(function: Defence) -> Defence:
        register_checked(DEFENCES, name, function, what="defence", takes="model, pairs, setting")
        return function

    return register


def check(config: CleanConfig) -> Defence:
    """The defence of a run. Errors: ConfigError for an unknown name or option."""
    plugins.load(config.code)
    if config.defence not in DEFENCES:
        raise ConfigError(
            f"defence={config.defence!r}: unknown. There are: {', '.join(DEFENCES)}; the book's "
            "page howto_defence adds one"
        )
    function = DEFENCES[config.defence]
    check_options(function, config.options, what=f"defence {config.defence!r}")
    return function


def start(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    extra: torch.nn.Module | None = None,
    weight_decay: float | None = None,
) -> Loop:
    """A training loop on the poisoned model with the run's optimiser and schedule.

    ``optimiser="authors"`` takes up the poisoned model's Adam moments *and its parameter groups*,
    so that the run's own weight decay is overwritten, as in the authors' code.
    """
    config = setting.config
    if weight_decay is not None:
        config = replace(config, weight_decay=weight_decay)
    steps = config.epochs * len(pairs)
    loop = Loop(model, config, steps=steps, accelerator=setting.accelerator, extra=extra)
    if config.optimiser == "authors":
        if setting.adam is None:
            raise ConfigError(
                "optimiser='authors': the poisoned model comes without its optimiser state; "
                "train it with optimiser_state=true"
            )
        loop.restore(setting.adam)
    return loop


def run_fit(
    loop: Loop, pairs: Batches, setting: Setting, loss: Objective, **hooks: Any
) -> Iterator[Epoch]:
    """``fit`` with the run's epochs and state file."""
    return fit(loop, pairs, loss, epochs=setting.config.epochs, state=setting.state, **hooks)


@defence("cleanclip")
def cleanclip(model: Model, pairs: Batches, setting: Setting) -> Iterator[Epoch]:
    """CleanCLIP: fine-tune with MMCL, SSL or both (Section 3.2; Bansal et al., 2023)."""
    loss = objective(setting.config, name=setting.config.loss)
    yield from run_fit(start(model, pairs, setting), pairs, setting, loss)


@defence("heavy_regularisation")
def heavy_regularisation(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    weight: Amount = 1.0,
    by: Literal["penalty", "decay"] = "penalty",
) -> Iterator[Epoch]:
    """CleanCLIP with strong L2 regularisation (Section 5; D.12).

    weight: of the penalty. by: "penalty", added to the loss (paper), or "decay", AdamW's
    decoupled weight decay set to it (authors' command line).
    """
    loss = objective(setting.config, name=setting.config.loss)
    loop = start(model, pairs, setting, weight_decay=weight if by == "decay" else None)
    decayed = loop.optimizer.param_groups[0]["params"]

    def penalised(features: Features, batch: Batch) -> dict[str, Tensor]:
        parts = loss(features, batch)
        penalty = losses.l2_penalty(decayed)
        return parts | {"loss_total": parts["loss_total"] + weight * penalty, "loss_l2": penalty}

    chosen = penalised if by == "penalty" else loss
    yield from run_fit(loop, pairs, setting, chosen)


@defence("shrink_perturb")
def shrink_perturb(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    shrink: Share = 0.9,
    perturb: Amount = 1e-3,
    noise: Literal["gaussian", "fresh"] = "gaussian",
) -> Iterator[Epoch]:
    """Shrink and perturb the weights, then CleanCLIP (Section 5; Ash & Adams, 2020; D.13)."""
    models.shrink_perturb(
        model, shrink=shrink, perturb=perturb, noise=noise, seed=setting.config.seed
    )
    yield from cleanclip(model, pairs, setting)


@defence("screen")
def screen(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    shrink: Share = 0.9,
    perturb: Amount = 1e-3,
    noise: Literal["gaussian", "fresh"] = "gaussian",
) -> Iterator[Epoch]:
    """Shrink and perturb, and no cleaning: the one candidate that ``pick`` may choose (D.13)."""
    models.shrink_perturb(
        model, shrink=shrink, perturb=perturb, noise=noise, seed=setting.config.seed
    )
    yield Epoch(1, model, {"step": 0})


@defence("deep_cluster")
def deep_cluster(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    labels: Literal["kmeans", "classifier"] = "kmeans",
    k: Count = 1000,
    iterations: Count = 20,
    weight: Amount = 1.0,
    classifier: str = "",
    lookup: Literal["epoch", "batch"] = "epoch",
    features: Literal["eval", "train"] = "eval",
) -> Iterator[Epoch]:
    """CleanCLIP with a clustering loss that was not part of pre-training (Equation 3; D.11).

    labels: k-means on the model's own image features before every epoch, or a zero-shot
    ``classifier`` (``NAME:TAG`` of open_clip), once. The linear head is renewed with the labels.
    lookup: an image's cluster is that of the start of the epoch, or the centroid nearest to its
    features in the batch (authors). features: of the model in evaluation or training mode
    (authors) are clustered. Errors: ConfigError.
    """
    config, images = setting.config, pairs.pairs.images
    seed, fixed = config.seed, None
    if labels == "classifier":
        fixed = classifier_labels(classifier, pairs, setting)
        k = len(setting.classnames)
    width = model.clip.text_projection.shape[-1]
    head = pseudo_labels.ClusterHead(width, min(k, len(images)), seed=seed)
    loop = start(model, pairs, setting, extra=head)
    found = loop.kept
    found |= {} if fixed is None else {"labels": fixed.to(setting.accelerator.device)}

    def renew(epoch: int, loop: Loop) -> None:
        if fixed is None:
            with evaluating(model, training=features == "train"):
                seen = image_features(model, images)
            made = pseudo_labels.kmeans(
                seen, k=head.out_features, iterations=iterations, seed=seed + epoch
            )
            on_device = {n: t.to(setting.accelerator.device) for n, t in made._asdict().items()}
            found.update(broadcast(on_device))
        head.renew(seed=seed, epoch=epoch)
        for parameter in head.parameters():
            loop.optimizer.state.pop(parameter, None)

    loss = objective(config, name=config.loss)

    def clustered(embedded: Features, batch: Batch) -> dict[str, Tensor]:
        parts = loss(embedded, batch)
        image = embedded.image[: len(batch.places)]
        if lookup == "batch" and fixed is None:
            wanted = (image.detach() @ found["centroids"].T).argmax(dim=1)
        else:
            wanted = found["labels"][batch.places.to(image.device)]
        term = losses.deep_cluster(head(image), wanted) * batch.weight
        return parts | {
            "loss_total": parts["loss_total"] + weight * term,
            "loss_deep_cluster": term,
        }

    yield from run_fit(loop, pairs, setting, clustered, before_epoch=renew)


def classifier_labels(name: str, pairs: Batches, setting: Setting) -> Tensor:
    """Labels (N,) of the cleaning images by another model, zero-shot (Section 5)."""
    if not name:
        raise ConfigError(
            "labels='classifier' needs classifier=NAME:TAG, a weights file's path, or a training "
            "experiment of the scale"
        )
    config = setting.config
    if experiments.is_experiment(config.scale, name):
        name = str(setup.kept_weights(experiments.trained(config.scale, name, config.seed)))
    other = models.load_any(name).to(setting.accelerator.device)

    def encode(prompts: list[str]) -> Tensor:
        return other.encode_text(other.tokens(prompts).to(setting.accelerator.device))

    with evaluating(other):
        head = zero_shot.head(encode, setting.classnames, openai_templates())
        parts = torch.from_numpy(np.array(pairs.pairs.images)).split(500)
        images = (part.to(setting.accelerator.device) for part in parts)
        return pseudo_labels.zero_shot_labels(images, encode_image=other.encode_image, head=head)
