"""Channels and stages of a ResNet image tower, and BatchNorm's statistics.

For the defences that prune, compare activations, or change weights without training.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bdnb.data.shards import ImageArray
from bdnb.defences.registry import Before
from bdnb.evaluate.benchmark import BATCH
from bdnb.models import Model
from bdnb.runtime.errors import ConfigError


def resnet(model: Model) -> ModifiedResNet:
    """Return the image tower. Errors: ConfigError for one that is no ResNet of CLIP's."""
    if not isinstance(model.clip.visual, ModifiedResNet):
        raise _no_resnet(model.name)
    return model.clip.visual


def _no_resnet(name: str) -> ConfigError:
    return ConfigError(f"model {name}: expected a ResNet image tower, such as RN50's")


def check_resnet(options: Mapping[str, Any], before: Before) -> None:
    """Refuse a model without a ResNet of CLIP's before anything is trained. Errors: ConfigError."""
    about = open_clip.get_model_config(before.model) if before.model else None
    if about and not isinstance(about["vision_cfg"].get("layers"), list):  # blocks of each stage
        raise _no_resnet(before.model)


def conv_norms(model: Model) -> list[tuple[nn.Conv2d, _BatchNorm]]:
    """Return each convolution of a ResNet with the BatchNorm behind it. Errors: ConfigError."""
    children = (pairwise(module.children()) for module in resnet(model).modules())
    return [
        (conv, norm)
        for pairs in children
        for conv, norm in pairs
        if isinstance(conv, nn.Conv2d) and isinstance(norm, _BatchNorm)
    ]


@torch.no_grad()
def prune_(norm: _BatchNorm, channels: Tensor) -> None:
    """Silence channels: gain and bias 0. Where a ReLU follows, they have no gradient either."""
    norm.weight[channels] = 0
    norm.bias[channels] = 0


def stages(model: Model) -> dict[str, nn.Module]:
    """Return the four stages of the image tower by name. Errors: ConfigError."""
    return {name: getattr(resnet(model), name) for name in ("layer1", "layer2", "layer3", "layer4")}


@contextmanager
def outputs(modules: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Yield a mapping that holds the last output of each module, by name."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        return modules[name].register_forward_hook(lambda _, __, out: found.update({name: out}))

    hooks = [keep(name) for name in modules]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def recompute_batch_norm_(model: Model, images: ImageArray) -> None:
    """Set BatchNorm's statistics to the mean of those of batches of images (N, 3, H, W) uint8.

    Weights that no training step made have other activations than the ones that were counted.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    kept, mode = [norm.momentum for norm in norms], model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over batches
    model.train()
    bounds = np.linspace(0, len(images), -(-len(images) // BATCH) + 1).astype(int).tolist()
    for first, last in pairwise(bounds) if norms else ():
        batch = torch.from_numpy(np.array(images[first:last]))
        model.encode_image(batch.to(model.mean.device))
    model.train(mode)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
