"""Where pairs lie in the space of embeddings: images and captions in, points in a plane out."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bdnb.data.batches import Batches, Share
from bdnb.evaluate import predictions
from bdnb.evaluate.benchmark import BATCH, evaluating, folded, text_features
from bdnb.models import Model


class Seen(NamedTuple):
    """Unit features (N, D) of poisoned pairs in one model."""

    images: Tensor
    triggered: Tensor
    captions: Tensor
    backdoor_captions: Tensor

    @property
    def pull(self) -> float:
        """Mean cosine of triggered image and attacker's caption, less that with the true one."""
        to_attacker = (self.triggered * self.backdoor_captions).sum(dim=1)
        return float((to_attacker - (self.triggered * self.captions).sum(dim=1)).mean())


def seen(
    model: Model,
    images: Tensor,
    triggered: Tensor,
    captions: Sequence[str],
    backdoor_captions: Sequence[str],
) -> Seen:
    """Return the features of N pairs: images (N, 3, S, S) uint8 with and without the trigger."""
    with evaluating(model):
        texts = [text_features(model, list(one)) for one in (captions, backdoor_captions)]
    both = [predictions.seen(model, one.numpy()) for one in (images, triggered)]
    return Seen(*both, *texts)


def planes(models: list[Seen]) -> list[dict[str, np.ndarray]]:
    """Each model's features (N, 2) in the plane that all of them share, by their names.

    The plane is that of the first two principal components of all models' features together, the
    mean of images and the mean of captions each taken away (the two lie apart in any CLIP).
    """
    centred = []
    for one in models:
        image, text = one.images.mean(dim=0), one.captions.mean(dim=0)
        middle = {"images": image, "triggered": image, "captions": text}
        middle["backdoor_captions"] = text
        whole = {name: (part - middle[name]).cpu() for name, part in one._asdict().items()}
        centred.append({name: part.numpy().astype(np.float64) for name, part in whole.items()})
    every = np.concatenate([part for one in centred for part in one.values()])
    axes = np.linalg.svd(every - every.mean(axis=0), full_matrices=False)[2][:2]
    # The sign of a component is arbitrary: what is largest points up.
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    return [{name: part @ axes.T for name, part in one.items()} for one in centred]


def pair_features(model: Model, batches: Batches) -> tuple[Tensor, Tensor]:
    """Return unit features (N, D) of the images and of the captions of a run, poison included."""
    plain = replace(batches, image_views=None, text_views=None)
    starts = range(0, batches.samples, BATCH)
    made = []
    with evaluating(model), folded(model):
        for start in starts:
            places = np.arange(start, min(start + BATCH, batches.samples))
            batch, device = plain[Share(places)], model.mean.device
            image = model.encode_image(batch.images.to(device))
            made.append((image, model.encode_text(batch.tokens.to(device))))
    image, text = (torch.cat(one) for one in zip(*made, strict=True))
    return image, text
