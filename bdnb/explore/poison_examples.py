"""Examples of what a training run's attacker does, for figures.

In: the parameters of a training run. Out: its first poisoned pairs, before and after; the same
images with each trigger.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bdnb import models
from bdnb.config.parameters import part
from bdnb.config.recipes import TrainConfig
from bdnb.data.datasets import dataset
from bdnb.poison.triggers import TRIGGERS
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks
from bdnb.training.attacks import Attack


class Examples(NamedTuple):
    """Poisoned pairs for a figure: images (N, 3, H, W) uint8 before and after, captions too."""

    images: Tensor
    triggered: Tensor
    captions: list[str]
    backdoor_captions: list[str]


def examples(config: TrainConfig, *, count: int = 8) -> Examples:
    """Return the first poisoned pairs of a training run, as the model gets to see them."""
    attack, side = part(Attack, config), models.Model(config.model).side
    data = dataset(config.data, stream=config.stream, bad_share=config.bad_share)
    pairs = data.training_pairs(side, seed=config.seed, count=config.pairs)
    resized = attacks.as_attacker_resizes(attack, data, "train", side=side)
    made = attacks.poison(attack, pairs, resized=resized, count=count)
    if not (index := list(made.images)):
        raise ConfigError(
            f"attack={config.attack!r}, poison_rate={config.poison_rate:g}: no pair is poisoned: "
            "there is nothing to show"
        )
    return Examples(
        torch.from_numpy(np.array(pairs.images[index])),
        torch.stack(list(made.images.values())),
        [pairs.captions[i] for i in index],
        list(made.captions.values()),
    )


def every_trigger(config: TrainConfig, *, count: int = 6) -> dict[str, np.ndarray]:
    """Return the same images (N, 3, H, W) uint8 as they are ("none") and with each trigger."""
    plain = examples(config, count=count).images
    keys = [str(i) for i in range(len(plain))]
    made = {"none": plain.numpy()}
    for name in plugins.of_run(TRIGGERS, config.code):
        attack = replace(part(Attack, config), trigger=name, trigger_options={})
        made[name] = attacks.stamp(attack)(plain, keys).numpy()
    return made
