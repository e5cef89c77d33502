"""What a model answers to images and captions: its nearest classes, and what a caption retrieves.

uint8 images, class names and captions in; names with shares, or indices with similarities out.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from torch import Tensor

from bdnb.evaluate import zero_shot
from bdnb.evaluate.benchmark import class_head, evaluating, image_features, text_features
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.runtime.errors import ConfigError

Answer = list[tuple[str, float]]
"""Class names with the model's share for each (percent), the largest first."""


class Found(NamedTuple):
    """Places of the images that a caption retrieves, nearest first, and their cosines."""

    places: list[int]
    cosines: list[float]


@lru_cache(maxsize=16)
def head(model: Model, classnames: tuple[str, ...], templates: str = "openai") -> Tensor:
    """Class embeddings (C, D), unit, as accuracy and ASR are measured with them; kept."""
    with evaluating(model):
        return class_head(model, classnames, targets.templates(templates))


def top(
    model: Model,
    images: np.ndarray,
    classnames: Sequence[str],
    *,
    templates: str = "openai",
    k: int = 5,
) -> list[Answer]:
    """The model's k nearest classes of each image with their share of the softmax, in percent.

    images: (N, 3, S, S) uint8, S the model's side. Errors: ConfigError for no classes or images.
    """
    classes = head(model, tuple(classnames), templates)
    with evaluating(model):
        scale = model.clip.logit_scale.float().exp()
        logits = scale * zero_shot.similarities(image_features(model, images), classes)
    shares, places = logits.softmax(dim=1).mul(100).topk(min(k, len(classnames)), dim=1)
    return [
        [(classnames[place], share) for place, share in zip(*row, strict=True)]
        for row in zip(places.tolist(), shares.tolist(), strict=True)
    ]


def retrieve(model: Model, caption: str, features: Tensor, *, k: int = 8) -> Found:
    """The k images nearest to a caption. features: (N, D), unit, of ``image_features``.

    Errors: ConfigError for an empty caption.
    """
    if not caption.strip():
        raise ConfigError("no caption: type one, such as: a photo of a banana")
    with evaluating(model):
        cosines = zero_shot.similarities(features, text_features(model, [caption]))[:, 0]
    values, places = cosines.topk(min(k, len(features)))
    return Found(places.tolist(), values.tolist())


def seen(model: Model, images: np.ndarray) -> Tensor:
    """Unit features (N, D) of uint8 images (N, 3, S, S), without gradients."""
    with evaluating(model):
        return image_features(model, images)
