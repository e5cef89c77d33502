"""What is measured of a model before training and after every epoch: accuracy and ASR.

The images are decoded once and triggered once; a model state encodes each prompt and image once.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bdnb.data.labelled import LabelledSet
from bdnb.data.shards import ImageArray
from bdnb.evaluate import retrieval, zero_shot
from bdnb.evaluate.retrieval import HeldOut
from bdnb.models import Model
from bdnb.poison.triggers import Stamp
from bdnb.runtime.errors import ConfigError

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


@contextmanager
def folded(model: Model) -> Iterator[None]:
    """The model, in evaluation mode, with BatchNorm folded into the convolution before it.

    In a copy of its image tower, where that is one of CLIP's ResNets: the same function to
    float32's rounding, one pass over memory less.
    """
    visual = model.clip.visual
    if isinstance(visual, ModifiedResNet):
        model.clip.visual = copy.deepcopy(visual).eval()
        for module in [*model.clip.visual.modules()]:
            for (first, conv), (second, norm) in pairwise([*module.named_children()]):
                if isinstance(norm, _BatchNorm) and isinstance(conv, nn.Conv2d):
                    setattr(module, first, fuse_conv_bn_eval(conv, norm))
                    setattr(module, second, nn.Identity())
    try:
        yield
    finally:
        model.clip.visual = visual


class Benchmark:
    """Labelled sets with a trigger: ``measure(model)`` gives the values of a row, in percent.

    sets: the first is the one of ``accuracy`` and ASR, the others add ``<name>_accuracy``.
    stamp, target: the attack that ASR is measured with; None: no ASR (NaN). resized: the first
    set as the attacker resizes it, when that is not as in ``sets``. held_out: pairs for recall and
    retrieval ASR, or None. victims: the classes whose images ASR is counted on; none: all but the
    target.
    """

    def __init__(
        self,
        sets: Sequence[LabelledSet],
        *,
        stamp: Stamp | None,
        target: str,
        templates: Sequence[str],
        resized: LabelledSet | None = None,
        held_out: HeldOut | None = None,
        victims: Sequence[str] = (),
    ) -> None:
        self.sets, self.templates, self.held_out = list(sets), list(templates), held_out
        primary = self.sets[0]
        self.target: int | None = None
        self.triggered: np.ndarray | None = None
        self.triggered_pairs: np.ndarray | None = None
        if stamp is None:
            return
        self.target = primary.class_index(target)
        keys = [f"{primary.name}/{key}" for key in primary.keys]
        wanted = [primary.class_index(victim) for victim in victims] or primary.labels
        self.attacked = np.flatnonzero(np.isin(primary.labels, wanted))
        if (primary.labels[self.attacked] == self.target).all():
            others = " or ".join(victims) or f"other classes than {target!r}"
            raise ConfigError(f"{primary.name}: no image of {others}: no ASR without them")
        images = np.array((resized or primary).images)
        self.triggered = stamp(torch.from_numpy(images), keys).numpy()[self.attacked]
        if held_out is not None:
            self.mentions = held_out.mentions(target)
            self.attacked_pairs = held_out.attacked(target, victims)
            self.triggered_pairs = held_out.triggered(stamp)[self.attacked_pairs]

    def measure(self, model: Model) -> dict[str, float]:
        """Accuracy on every set and ASR of the first; each prompt and each image encoded once."""
        device = model.mean.device
        names = list(dict.fromkeys(name for s in self.sets for name in s.classnames))
        place_of = {name: place for place, name in enumerate(names)}
        values: dict[str, float] = {"test_images": len(self.sets[0])}
        with evaluating(model), folded(model):
            every = class_head(model, names, self.templates)
            for place, labelled in enumerate(self.sets):
                prefix = f"{labelled.name}_" if place else ""
                head = every[[place_of[name] for name in labelled.classnames]]
                features = image_features(model, labelled.images)
                labels = torch.from_numpy(np.array(labelled.labels)).to(device)
                values |= {prefix + k: v for k, v in zero_shot.accuracy(features, labels, head)}
                if place == 0 and self.triggered is not None and self.target is not None:
                    features = image_features(model, self.triggered)
                    true = labels[torch.from_numpy(self.attacked).to(device)]
                    values |= dict(zero_shot.asr(features, true, head, self.target))
                elif place == 0:
                    values["asr"] = math.nan
            if self.held_out is not None:
                values |= self._retrieval(model, self.held_out)
        return values

    def _retrieval(self, model: Model, held_out: HeldOut) -> dict[str, float]:
        """Recall and, where the attack is known, retrieval ASR."""
        texts, owner = text_features(model, held_out.captions), held_out.owner
        values = dict(retrieval.recall(image_features(model, held_out.images), texts, owner))
        if self.triggered_pairs is not None:
            triggered = image_features(model, self.triggered_pairs)
            own = owner[self.attacked_pairs]
            values |= dict(retrieval.attack(triggered, texts, own, self.mentions))
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


def class_head(model: Model, classnames: Sequence[str], templates: Sequence[str]) -> Tensor:
    """Class embeddings (C, D) as of ``zero_shot.head``, by the model's text tower."""
    return zero_shot.head(lambda prompts: text_features(model, prompts), classnames, templates)


def image_features(model: Model, images: ImageArray) -> Tensor:
    """Unit features (N, D) of uint8 images (N, 3, H, W), in batches, on the model's device."""
    device = model.mean.device
    starts = range(0, len(images), BATCH)
    parts = (torch.from_numpy(np.array(images[i : i + BATCH])) for i in starts)
    return torch.cat([model.encode_image(part.to(device, non_blocking=True)) for part in parts])
