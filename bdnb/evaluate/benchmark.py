"""What is measured of a model before training and after every epoch: accuracy and ASR.

The images are decoded once and triggered once; a model state encodes each prompt and image once.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from bdnb.data.labelled import LabelledSet
from bdnb.data.shards import ImageArray
from bdnb.evaluate import attack_success, zero_shot
from bdnb.evaluate.folded import folded
from bdnb.models import Model
from bdnb.poison.triggers import Stamp

BATCH = 500


@contextmanager
def evaluating(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """The model without gradients, in evaluation mode or in training mode; its own comes back."""
    before = model.training
    model.train(training)
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(before)


class Benchmark:
    """Labelled sets with a trigger: ``measure(model)`` gives the values of a row, in percent.

    sets: the first is the one of ``accuracy`` and ASR, the others add ``<name>_accuracy``.
    stamp, target: the attack that ASR is measured with; None: no ASR (NaN). look: the first set as
    the attacker resizes it, when that is not as in ``sets``.
    """

    def __init__(
        self,
        sets: Sequence[LabelledSet],
        *,
        stamp: Stamp | None,
        target: str,
        templates: Sequence[str],
        look: LabelledSet | None = None,
    ) -> None:
        self.sets, self.templates = list(sets), list(templates)
        primary = self.sets[0]
        self.target: int | None = None
        self.triggered: np.ndarray | None = None
        if stamp is None:
            return
        self.target = primary.class_index(target)
        keys = [f"{primary.name}/{key}" for key in primary.keys]
        self.triggered = stamp(torch.from_numpy(np.array((look or primary).images)), keys).numpy()

    def measure(self, model: Model) -> dict[str, float]:
        """Accuracy on every set and ASR of the first; each prompt and each image encoded once."""
        device = model.mean.device

        def encode(prompts: Sequence[str]) -> Tensor:
            return text_features(model, prompts)

        values: dict[str, float] = {}
        with evaluating(model), folded(model):
            asked = {s.name: (s.classnames, self.templates) for s in self.sets}
            heads = zero_shot.heads(encode, asked)
            for place, labelled in enumerate(self.sets):
                prefix, head = f"{labelled.name}_" if place else "", heads[labelled.name]
                features = image_features(model, labelled.images)
                labels = torch.from_numpy(np.array(labelled.labels)).to(device)
                values |= {prefix + k: v for k, v in zero_shot.accuracy(features, labels, head)}
                if place == 0 and self.triggered is not None and self.target is not None:
                    features = image_features(model, self.triggered)
                    values |= dict(attack_success.asr(features, labels, head, self.target))
                elif place == 0:
                    values["asr"] = math.nan
        return values


def text_features(model: Model, prompts: Sequence[str]) -> Tensor:
    """Unit features (n, D) of prompts, in batches of nearly equal length: little padding."""
    tokens = model.tokens(prompts)
    lengths = tokens.argmax(dim=-1) + 1
    order = lengths.argsort()
    parts = []
    for part in order.split(BATCH):
        longest = int(lengths[part[-1]]) if model.trims else tokens.shape[1]
        parts.append(model.encode_text(tokens[part, :longest].to(model.mean.device)))
    return torch.cat(parts)[order.argsort().to(model.mean.device)]


def image_features(model: Model, images: ImageArray) -> Tensor:
    """Unit features (N, D) of uint8 images (N, 3, H, W), in batches, on the model's device."""
    device = model.mean.device
    starts = range(0, len(images), BATCH)
    parts = (torch.from_numpy(np.array(images[i : i + BATCH])) for i in starts)
    return torch.cat([model.encode_image(part.to(device, non_blocking=True)) for part in parts])
