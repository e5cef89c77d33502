"""CleanCLIP with a clustering loss that was no part of pre-training (Equation 3; Appendix D.11)."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from accelerate.utils import broadcast
from torch import Tensor

from bdnb import losses
from bdnb.config.options import Amount, Count
from bdnb.data.batches import Batch, Batches
from bdnb.data.shards import ImageArray
from bdnb.defences import pseudo_labels
from bdnb.defences.other_model import other_model
from bdnb.defences.registry import Before, Setting, defence, run_fit, start
from bdnb.evaluate import zero_shot
from bdnb.evaluate.benchmark import class_head, evaluating, image_features
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features, Loop


def _check(given: Mapping[str, Any], before: Before) -> None:
    if given.get("labels") == "classifier" and not given.get("classifier"):
        raise ConfigError(
            "labels='classifier' needs classifier=NAME:TAG, a weights file's path, or a training "
            "experiment of the scale"
        )


@defence("deep_cluster", check=_check)
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
    head: Literal["renewed", "once"] = "renewed",
    head_bias: bool = False,
    head_lr: float | None = None,
    head_decay: float | None = None,
) -> Iterator[Epoch]:
    """Fine-tune with the run's loss and a linear head's cross-entropy on pseudo-labels.

    labels: k-means on the model's own image features before every epoch, or a zero-shot
    ``classifier`` (``NAME:TAG`` of open_clip, a weights file or a training experiment), once.
    lookup: an image's cluster is that of the start of the epoch, or the centroid nearest to its
    features in the batch (authors). features: of the model in evaluation or training mode
    (authors) are clustered. head: drawn anew whenever labels are made (paper), or once in a run.
    head_bias: as in the authors' code. head_lr, head_decay: of the head; None: the encoder's. A
    ``head_lr`` stays as it is to the end: a head drawn anew late in a run must learn as well.
    A row's ``loss_deep_cluster_chance`` is ln k, the loss of a head that knows nothing.
    Errors: ConfigError.
    """
    images, device, fixed = pairs.pairs.images, setting.accelerator.device, labels == "classifier"
    k = len(setting.classnames) if fixed else min(k, len(images))
    width = model.clip.text_projection.shape[-1]
    linear = pseudo_labels.ClusterHead(width, k, seed=setting.seed, bias=head_bias)
    given = {"lr": head_lr, "weight_decay": head_decay}
    own = {name: value for name, value in given.items() if value is not None}
    loop = start(model, pairs, setting, extra=linear, extra_options=own, used_tokens=True)
    found = loop.kept
    if fixed:
        found["labels"] = classifier_labels(classifier, images, setting)

    def before_epoch(epoch: int, loop: Loop) -> None:
        if not fixed:
            with evaluating(model, training=features == "train"):
                seen = image_features(model, images)
            made = pseudo_labels.kmeans(
                seen, k=k, iterations=iterations, seed=setting.seed + epoch
            )._asdict()
            found.update(broadcast({name: values.to(device) for name, values in made.items()}))
        if epoch == 1 or not (fixed or head == "once"):
            linear.renew(seed=setting.seed, epoch=epoch)
            for parameter in linear.parameters():
                loop.optimizer.state.pop(parameter, None)

    def clustered(embedded: Features, batch: Batch) -> dict[str, Tensor]:
        parts = setting.loss(embedded, batch)
        image = embedded.image[: len(batch.places)]
        if lookup == "batch" and not fixed:
            wanted = (image.detach() @ found["centroids"].T).argmax(dim=1)
        else:
            wanted = found["labels"][batch.places.to(image.device)]
        term = losses.deep_cluster(linear(image), wanted) * batch.weight
        total = parts["loss_total"] + weight * term
        return parts | {"loss_total": total, "loss_deep_cluster": term}

    for epoch in run_fit(loop, pairs, setting, clustered, before_epoch=before_epoch):
        yield epoch._replace(stats=epoch.stats | {"loss_deep_cluster_chance": math.log(k)})


def classifier_labels(name: str, images: ImageArray, setting: Setting) -> Tensor:
    """Return labels (N,) of the cleaning images by another model, zero-shot (Section 5).

    Errors: ConfigError.
    """
    other = other_model(name, setting)
    with evaluating(other):
        head = class_head(other, setting.classnames, targets.templates())
        return zero_shot.predictions(image_features(other, images), head)[:, 0]
