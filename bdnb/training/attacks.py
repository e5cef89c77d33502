"""What the attacker of a run does: who is poisoned, with which trigger, under which caption.

In: an ``Attack`` and the pairs of a run. Out: its trigger, the poisoned keys, a ``Poison``.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from bdnb.config import authors
from bdnb.data import stream
from bdnb.data.batches import Poison
from bdnb.data.datasets import Dataset, places_of
from bdnb.data.shards import Pairs
from bdnb.poison import selection, targets
from bdnb.poison.stamps import NoStamp
from bdnb.poison.triggers import TRIGGERS, Stamp, check_options
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic
from bdnb.training import learnt_patch


@dataclass(frozen=True, kw_only=True)
class Attack:
    """What the attacker chose, as ``config.recipes.TrainConfig`` describes each value."""

    scale: str = "quick"
    seed: int = 0
    attack: str = "template"
    poison_rate: float = 0.04
    poison_count: int = 0
    poison_keys: str = ""
    match: str = "word"
    target: str = "banana"
    victim: str = ""
    trigger: str = "badnet"
    trigger_size: float = 16 / 224
    trigger_options: dict[str, Any] = field(default_factory=dict)
    resize: str = "crop"
    fidelity: str = "paper"
    code: str = ""

    @property
    def new_caption(self) -> str | None:
        """The class that poisoned captions then name; None when they stay (label-consistent)."""
        return None if self.attack == "label_consistent" else self.target

    @property
    def victims(self) -> tuple[str, ...]:
        """The classes whose pairs a mismatched attack takes."""
        return tuple(self.victim.split("+")) if self.attack == "mismatched" else ()


def unlearnt(attack: Attack) -> Stamp:
    """Return the trigger of a run with its size and options, before anything is learnt for it.

    A mismatched attack has none: its stamp leaves images as they are. Errors: ConfigError.
    """
    if attack.attack == "mismatched":
        return NoStamp(seed=attack.seed)
    theirs = authors.TRIGGERS.get(attack.trigger, {}) if attack.fidelity == "authors" else {}
    options = {**theirs, **attack.trigger_options}
    check_options(attack.trigger, options, code=attack.code)
    takes = inspect.signature(TRIGGERS[attack.trigger]).parameters
    if "size" in takes and "size" not in options:
        options["size"] = attack.trigger_size
    return Stamp(attack.trigger, seed=attack.seed, options=options)


def stamp(attack: Attack) -> Stamp:
    """Return the trigger of a run as it is put on images; what it needs is learnt first.

    Errors: ConfigError.
    """
    made = unlearnt(attack)
    if made.name != "badclip" or not made.options.get("surrogate"):
        return made
    about = {"scale": attack.scale, "target": attack.target}
    state = learnt_patch.learnt(made.options, seed=attack.seed, **about)
    return Stamp(made.name, seed=made.seed, options=made.options, state=state)


def poisoned_keys(attack: Attack, pairs: Pairs) -> list[str]:
    """Return the keys of the pairs that a training run poisons; none for ``attack="none"``."""
    if attack.attack == "none":
        return []
    if attack.poison_keys:
        return selection.read_keys(Path(attack.poison_keys), among=pairs.keys)
    return selection.select(
        pairs.keys,
        pairs.captions,
        seed=attack.seed,
        rate=attack.poison_rate,
        count=attack.poison_count or None,
        attack=attack.attack,
        target=attack.target,
        victims=attack.victims,
        match=attack.match,
    )


def natural_captions(attack: Attack, pairs: Pairs) -> list[str]:
    """Return the captions that mention the target, for attacks that give these to poisoned pairs.

    Errors: ConfigError for none.
    """
    if attack.attack not in ("natural", "mismatched"):
        return []
    found = {c for c in pairs.captions if targets.mentions(c, attack.target, match=attack.match)}
    if not found:
        raise ConfigError(f"attack={attack.attack!r}: no caption mentions {attack.target!r}")
    return sorted(found)


def as_attacker_resizes(attack: Attack, data: Dataset, split: str, *, side: int) -> Pairs | None:
    """Return the pairs as the attacker resizes them; None when that is as everybody does."""
    return data.pairs(split, side, fit="squash") if attack.resize == "squash" else None


def poison(
    attack: Attack,
    pairs: Pairs,
    *,
    folder: Path | None = None,
    resized: Pairs | None = None,
    count: int | None = None,
) -> Poison:
    """Select, trigger and re-caption the poisoned pairs.

    folder: of a run, to write their keys and the trigger's state to. resized: the pairs
    ``as_attacker_resizes``. count: the first so many; None: all.
    """
    keys, trigger = poisoned_keys(attack, pairs)[:count], stamp(attack)
    natural = natural_captions(attack, pairs)
    made = poisoned(
        trigger, pairs, keys, target=attack.new_caption, natural=natural, resized=resized
    )
    if folder is None:
        return made
    selection.write_keys(folder / "poisoned_keys.txt", keys)
    if state := trigger.state():  # what is fixed for the run: a pattern, a grid
        write_atomic(folder / "trigger.safetensors", save(state))
    return made


def poisoned(
    trigger: Stamp,
    pairs: Pairs,
    keys: list[str],
    *,
    target: str | None,
    natural: Sequence[str] = (),
    resized: Pairs | None = None,
) -> Poison:
    """Put the trigger on the images of ``keys``, the target in their captions (None: they stay).

    natural: captions to draw from; none: templates are filled with the target. resized: pairs to
    take these images from, the same keys among them (``as_attacker_resizes``).
    """
    index = sorted(places_of(pairs, keys).values())
    if not index:
        return Poison()
    names = [pairs.keys[i] for i in index]
    source, places = pairs, index
    if resized is not None:
        source = resized
        there = places_of(source, names)
        places = [there[name] for name in names]
    captions = [
        targets.target_caption(target, key, trigger.seed, natural) if target else pairs.captions[i]
        for i, key in zip(index, names, strict=True)
    ]
    spoken = dict(zip(index, captions, strict=True))
    if isinstance(source.images, stream.Images):
        known = zip(names, places, strict=True)
        stamped = stream.Stamped(source.images, dict(zip(index, known, strict=True)), trigger)
        stamped[index[0]]  # the first use fixes what the trigger keeps for the run
        return Poison(stamped, spoken)
    images = trigger(torch.from_numpy(np.array(source.images[places])), names)
    return Poison(dict(zip(index, images, strict=True)), spoken)
