"""What the attacker of a run does: who is poisoned, with which trigger, under which caption.

In: a ``TrainConfig`` and its pairs. Out: a ``Poison``, its keys, and examples for figures.
"""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from bdnb import models
from bdnb.config import authors
from bdnb.config.recipes import TrainConfig
from bdnb.data import stream
from bdnb.data.batches import Poison
from bdnb.data.datasets import Dataset, dataset, places_of, training_pairs
from bdnb.data.shards import Pairs
from bdnb.poison import selection, targets
from bdnb.poison.triggers import TRIGGERS, Stamp, check_options
from bdnb.runtime import plugins
from bdnb.runtime.files import write_atomic


def stamp(attack: TrainConfig) -> Stamp:
    """The trigger of a run with its size and options. Errors: ConfigError."""
    plugins.load(attack.code)
    theirs = authors.TRIGGERS.get(attack.trigger, {}) if attack.fidelity == "authors" else {}
    options = {**theirs, **attack.trigger_options}
    check_options(attack.trigger, options)
    takes = inspect.signature(TRIGGERS[attack.trigger]).parameters
    if "size" in takes and "size" not in options:
        options["size"] = attack.trigger_size
    return Stamp(attack.trigger, seed=attack.seed, options=options)


def poisoned_keys(config: TrainConfig, pairs: Pairs) -> list[str]:
    """The keys of the pairs that a training run poisons; none for ``attack="none"``."""
    if config.attack == "none":
        return []
    if config.poison_keys:
        return selection.read_keys(Path(config.poison_keys), among=pairs.keys)
    by_count = config.poison_count > 0
    return selection.select(
        pairs.keys,
        pairs.captions,
        seed=config.seed,
        rate=None if by_count else config.poison_rate,
        count=config.poison_count if by_count else None,
        attack=config.attack,
        target=config.target,
        match=config.match,
    )


def look(config: TrainConfig, data: Dataset, split: str, *, side: int) -> Pairs | None:
    """The pairs as the attacker resizes them; None when that is as everybody does."""
    if config.resize != "squash":
        return None
    how = config.stream if split == "train" else "no"
    return data.pairs(split, side, fit="squash", stream=how, bad_share=config.bad_share)


def poison(config: TrainConfig, pairs: Pairs, *, folder: Path, look: Pairs | None = None) -> Poison:
    """Select, trigger and re-caption the poisoned pairs; their keys are written with the run."""
    keys, trigger = poisoned_keys(config, pairs), stamp(config)
    keep = config.attack == "label_consistent"
    made = poisoned(trigger, pairs, keys, target=None if keep else config.target, look=look)
    selection.write_keys(folder / "poisoned_keys.txt", keys)
    save_trigger(trigger, folder)
    return made


class Examples(NamedTuple):
    """Poisoned pairs for a figure: images (N, 3, H, W) uint8 before and after, captions too."""

    images: Tensor
    triggered: Tensor
    captions: list[str]
    backdoor_captions: list[str]


def examples(config: TrainConfig, *, count: int = 8) -> Examples:
    """The first poisoned pairs of a training run, as the model gets to see them."""
    data, side = dataset(config.data), models.Model(config.model).side
    pairs = training_pairs(config, data, side=side)
    keys = poisoned_keys(config, pairs)[:count]
    keep = config.attack == "label_consistent"
    made = poisoned(
        stamp(config),
        pairs,
        keys,
        target=None if keep else config.target,
        look=look(config, data, "train", side=side),
    )
    index = list(made.images)
    return Examples(
        torch.from_numpy(np.array(pairs.images[index])),
        torch.stack(list(made.images.values())),
        [pairs.captions[i] for i in index],
        list(made.captions.values()),
    )


def every_trigger(config: TrainConfig, *, count: int = 6) -> dict[str, np.ndarray]:
    """The same images (N, 3, H, W) uint8 as they are ("none") and with each trigger, by name."""
    plain = examples(config, count=count).images
    keys = [str(i) for i in range(len(plain))]
    made = {"none": plain.numpy()}
    for name in TRIGGERS:
        one = replace(config, trigger=name, trigger_options={})
        made[name] = stamp(one)(plain, keys).numpy()
    return made


def poisoned(
    trigger: Stamp,
    pairs: Pairs,
    keys: list[str],
    *,
    target: str | None,
    look: Pairs | None = None,
) -> Poison:
    """The trigger on the images of ``keys``, the target in their captions (None: captions stay).

    look: pairs to take these images from instead, the same keys among them.
    """
    index = sorted(places_of(pairs, keys).values())
    if not index:
        return Poison()
    names = [pairs.keys[i] for i in index]
    there = {} if look is None else places_of(look, names)
    source, places = pairs, index
    if look is not None:
        source, places = look, [there[name] for name in names]
    captions = [
        targets.template_caption(target, key, trigger.seed) if target else pairs.captions[i]
        for i, key in zip(index, names, strict=True)
    ]
    spoken = dict(zip(index, captions, strict=True))
    if isinstance(source.images, stream.Images):
        place, name = dict(zip(index, places, strict=True)), dict(zip(index, names, strict=True))
        stamped = stream.Stamped(source.images, place, name, trigger)
        stamped[index[0]]  # the first use fixes what the trigger keeps for the run
        return Poison(stamped, spoken)
    images = trigger(torch.from_numpy(np.array(source.images[places])), names)
    return Poison(dict(zip(index, images, strict=True)), spoken)


def save_trigger(trigger: Stamp, folder: Path) -> None:
    """Keep what is fixed for the run (a pattern, a grid) beside its rows."""
    if state := trigger.state():
        write_atomic(folder / "trigger.safetensors", save(state))
