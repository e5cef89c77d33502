"""Zero-shot classification: class embeddings from prompts, accuracy, attack success (Section 4).

In: a text encoder, class names and templates; features of images, with a trigger for attack
success: how often they are taken for the target class. Out: (name, percent).
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb.losses import REMEDY, NonFiniteLoss
from bdnb.poison.targets import fill
from bdnb.runtime.errors import ConfigError

ROWS = 8192
"""Images whose scores are held at once."""


def head(
    encode_text: Callable[[list[str]], Tensor],
    classnames: Sequence[str],
    templates: Sequence[str],
    *,
    batch: int = 1024,
) -> Tensor:
    """Class embeddings (C, D), unit: the mean over templates of unit embeddings, renormalised.

    encode_text: n prompts -> (n, D). batch: prompts encoded at once, though never fewer than
    those of one class. Errors: ConfigError without classes or templates, for a bad template.
    """
    if not classnames or not templates:
        raise ConfigError(f"{len(classnames)} classes, {len(templates)} templates: expected some")
    at_once = max(1, batch // len(templates))
    means = []
    with torch.inference_mode():
        for start in range(0, len(classnames), at_once):
            names = classnames[start : start + at_once]
            prompts = [fill(template, name) for name in names for template in templates]
            features = F.normalize(encode_text(prompts).float(), dim=-1)
            means.append(features.view(len(names), len(templates), -1).mean(dim=1))
    return F.normalize(torch.cat(means), dim=-1)


def predictions(image_features: Tensor, head: Tensor, *, k: int = 1) -> Tensor:
    """The k nearest classes of each image, nearest first: (N, min(k, C)) int64.

    image_features: (N, D), head: (C, D), on one device.
    Errors: ConfigError when there are no images or widths differ; NonFiniteLoss for
    embeddings that are not finite: a diverged model has neither an accuracy nor an ASR.
    """
    if not len(image_features):
        raise ConfigError("no images to classify")
    if image_features.shape[1] != head.shape[1]:
        widths = f"{image_features.shape[1]} and {head.shape[1]}"
        raise ConfigError(f"features and class embeddings of widths {widths}: expected equal")
    if not (image_features.isfinite().all() and head.isfinite().all()):
        raise NonFiniteLoss(f"embeddings are not finite: the model has diverged. {REMEDY}")
    k = min(k, len(head))
    chunks = image_features.split(ROWS)
    return torch.cat([similarities(chunk, head).topk(k, dim=1).indices for chunk in chunks])


def similarities(features: Tensor, head: Tensor) -> Tensor:
    """Products (N, C) of features (N, D) and head (C, D), float32 in spite of any autocast.

    In bf16 one image in twenty has two classes in first place that only rounding makes equal.
    """
    with torch.autocast(features.device.type, enabled=False):
        return features.float() @ head.float().T


def accuracy(
    image_features: Tensor,
    labels: Tensor,
    head: Tensor,
    *,
    topk: Sequence[int] = (1, 5, 10),
) -> Iterator[tuple[str, float]]:
    """Top-k accuracy in percent: ``accuracy``, ``accuracy_top5``, ``accuracy_top10``.

    image_features: (N, D) unit; labels: (N,) int64; head: (C, D) unit. With fewer than k
    classes, top-k counts them all, so it is 100.
    Errors: as ``predictions``; ConfigError for labels outside 0..C-1.
    """
    labels = check_labels(labels, len(image_features), len(head)).to(image_features.device)
    hits = predictions(image_features, head, k=max(topk)) == labels[:, None]
    yield from shares("accuracy", hits, topk)


def asr(
    triggered_features: Tensor,
    labels: Tensor,
    head: Tensor,
    target: int,
    *,
    topk: Sequence[int] = (1, 5, 10),
) -> Iterator[tuple[str, float]]:
    """Yield attack success in percent, counted both ways, and accuracy in spite of the trigger.

    triggered_features: (N, D) unit; labels: (N,) int64, the true classes; head: (C, D) unit;
    target: class index.
    Names: ``asr``, ``asr_top5``, ``asr_top10`` with images of the target class left out (the
    authors' figures); ``asr_all``, top-1 over all images (the paper's words);
    ``triggered_accuracy``, top-1 against the true label over all images. With fewer than k
    classes, top-k counts them all. Errors: as ``accuracy``; ConfigError for a target
    that is no class, or when every image is of the target class.
    """
    if not 0 <= target < len(head):
        raise ConfigError(f"target={target}: expected 0..{len(head) - 1}, the classes there are")
    labels = check_labels(labels, len(triggered_features), len(head)).to(triggered_features.device)
    found = predictions(triggered_features, head, k=max(topk))
    others = labels != target
    if not others.any():
        raise ConfigError(f"every image is of the target class {target}: no ASR without them")
    yield from shares("asr", found[others] == target, topk)
    yield from shares("asr_all", found == target, (1,))
    yield from shares("triggered_accuracy", found == labels[:, None], (1,))


def shares(name: str, hits: Tensor, topk: Sequence[int]) -> Iterator[tuple[str, float]]:
    """For each k the percentage of rows with a hit among their first k columns.

    hits: (N, K) bool. Names: ``name`` for k = 1, else ``name_top{k}``.
    """
    for k in topk:
        count = int(hits[:, :k].any(dim=1).sum())
        yield (name if k == 1 else f"{name}_top{k}"), 100 * count / len(hits)


def check_labels(labels: Tensor, images: int, classes: int) -> Tensor:
    """The labels, if there is one for each image and each names a class. Errors: ConfigError."""
    if labels.shape != (images,):
        raise ConfigError(f"labels of shape {tuple(labels.shape)} for {images} images")
    if images and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        span = f"{int(labels.min())}..{int(labels.max())}"
        raise ConfigError(f"labels {span}: expected 0..{classes - 1}, the classes there are")
    return labels
