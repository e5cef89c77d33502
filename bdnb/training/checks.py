"""What numbers and metadata alone show to be wrong with a run, before anything is decoded or made.

In: single parameters of a run. Out: nothing, or ConfigError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch

from bdnb import models
from bdnb.config import parameters
from bdnb.data import datasets, decode, labelled
from bdnb.data.datasets import Dataset
from bdnb.evaluate.retrieval import check_left
from bdnb.poison import selection, targets
from bdnb.poison.stamps import Stamp
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root


class Known(NamedTuple):
    """What is known of a data set: its folder, pairs of each split, classes (none before that)."""

    folder: Path
    counts: dict[str, int]
    classes: list[str]


def known(name: str) -> Known:
    """Return what is known of a data set that is not made here. Errors: ConfigError."""
    data = Dataset(root() / "data" / parameters.checked_name(name, f"data={name!r}"))
    if (root() / "params" / name / "data.yaml").is_file():
        values = parameters.load(name, "data")
        if (shown := values.get("elsewhere", name)) != name:
            return known(shown)
        if not data.about:
            drawn = {"train": values.get("pairs"), "clean": values.get("cleaning_pairs")}
            return Known(data.folder, {split: count for split, count in drawn.items() if count}, [])
    elif not (data.folder / "train").is_dir():
        datasets.dataset(name)
    classes = [labelled.lines(data.folder / name / labelled.CLASSNAMES) for name in data.sets[:1]]
    return Known(data.folder, data.counts, classes[0] if classes else [])


@dataclass(frozen=True)
class Used:
    """The pairs that a run uses: of which set and split, how many (0: all), by which seed.

    model: open_clip's name; its size is that of the images. bad_share: as of ``Dataset``.
    """

    data: str
    split: str
    model: str
    pairs: int
    seed: int
    bad_share: float


def check_numbers(
    used: Used,
    *,
    counts: Mapping[str, int],
    target: str,
    victims: Sequence[str] = (),
    rate: float = 0,
) -> None:
    """Refuse counts above those of a data set's split, and a target or victim that is no class.

    counts: other numbers that cannot be larger, by parameter. target: "" where it is not known.
    rate: of all pairs, at least one. Errors: ConfigError.
    """
    there = known(used.data)
    most = there.counts.get(used.split)
    if most is not None and used.pairs > most:
        raise ConfigError(f"pairs={used.pairs}: {used.data} has {most}")
    pairs = used.pairs or most
    for name, value in counts.items():
        if pairs is not None and value > pairs:
            raise ConfigError(f"{name}={value}: above the {pairs} pairs there are")
    if rate and pairs and rate * pairs < 0.5:
        raise ConfigError(f"poison_rate={rate:g}: less than one of the {pairs} pairs there are")
    for what, name in (("target=", target), *(("victim=", victim) for victim in victims)):
        if there.classes and name:
            labelled.class_index(there.classes, name, where=used.data, what=what)


def check_mentions(
    used: Used,
    asked: Mapping[str, float],
    *,
    target: str,
    match: str,
    victims: tuple[str, ...] = (),
) -> None:
    """Refuse to poison more pairs than have captions that mention the target, or a victim.

    asked: parameter -> how many, or which share where that is below 1. Errors: ConfigError.
    """
    ((name, value),) = asked.items()
    if not value:
        return
    captions = _captions(used, used.split, target, match=match, first=used.pairs, victims=victims)
    if captions is None:
        return
    wanted = int(value * captions.least + 0.5) if name == "poison_rate" else int(value)
    if wanted > captions.mention:
        raise ConfigError(
            f"{name}={value:g}: {wanted} pairs to poison, but of {used.data}'s {captions.pairs} "
            f"captions {captions.mention} mention {'+'.join(victims) or target!r} (match={match!r})"
        )


def check_keys(used: Used, path: Path, *, count: int) -> None:
    """Refuse keys to poison that are none, not of the run's pairs, or not ``count`` (0: any)."""
    data, among = Dataset(known(used.data).folder, bad_share=used.bad_share), None
    if data.shards(used.split):
        captions, usable = data.captions(used.split, _size(used.model)[0])
        among = [key for key, _ in captions]
        if used.pairs:
            spare = 0 if usable else int(data.bad_share * len(among))
            among = selection.rank(among, used.seed, "train", used.pairs + spare)
    keys = selection.read_keys(path, among=among)
    if not keys or count not in (0, len(keys)):
        said = f", but poison_count={count}" if keys else "; expected one a line"
        raise ConfigError(f"poison_keys={str(path)!r}: {len(keys)} keys there{said}")


def check_natural(used: Used, *, target: str, match: str) -> None:
    """Refuse natural captions of the target where no caption mentions it. Errors: ConfigError."""
    found = _captions(used, used.split, target, match=match, first=used.pairs)
    if found and not found.mention:
        raise ConfigError(
            f"none of {used.data}'s {found.pairs} captions mentions {target!r} (match={match!r})"
        )


def check_held_out(used: Used, *, count: int, cleaned: int | None, target: str) -> None:
    """Refuse retrieval on more clean pairs than are left, or on captions that do not differ.

    count: pairs that it is measured on; 0: none. cleaned: those that clean the model; None: all.
    target: some captions mention it, some do not; "": not known. Errors: ConfigError.
    """
    if not count:
        return
    if (most := known(used.data).counts.get("clean")) is not None:
        check_left(most, count=count, used=most if cleaned is None else cleaned)
    found = _captions(used, "clean", target, first=-count) if target else None
    if found and found.mention in (0, found.pairs):
        raise ConfigError(
            f"retrieval={count}: {found.mention} of {found.pairs} captions mention {target!r}; "
            "expected some that do and some that do not"
        )


class Captions(NamedTuple):
    """Captions of the pairs that a run may use, and how many of them mention its target or victim.

    least: pairs that there are if as many images as are allowed turn out to be bad.
    """

    pairs: int
    mention: int
    least: int


def _captions(
    used: Used,
    split: str,
    target: str,
    *,
    first: int,
    match: str = "word",
    victims: tuple[str, ...] = (),
) -> Captions | None:
    """Count captions without decoding an image; None before the data set is there.

    first: the first pairs in the seed's order, or the last where it is negative; 0: all.
    """
    data = Dataset(known(used.data).folder, bad_share=used.bad_share)
    if not (tars := data.shards(split)):
        return None
    order = (used.seed if first else 0, "clean" if split == "clean" else "train")
    shape = tuple(decode.shape_of(tars))
    return _counted(data, split, shape, _size(used.model)[0], order, first, target, match, victims)


@lru_cache(maxsize=16)
def _counted(
    data: Dataset,
    split: str,
    _: tuple[object, ...],
    side: int,
    order: tuple[int, str],
    first: int,
    target: str,
    match: str,
    victims: tuple[str, ...],
) -> Captions:
    """Kept by the shards' times: a grid asks for the same many times."""
    captions, usable = data.captions(split, side)
    keys, pool = [], set()
    for key, caption in captions:
        keys.append(key)
        if victims:
            named = selection.is_victim(caption, victims, target, match=match)
        else:
            named = targets.mentions(caption, target, match=match)
        if named:
            pool.add(key)
    spare = 0 if usable else int(data.bad_share * len(keys))
    least = abs(first) or len(keys) - spare
    if first:  # as many more as may be bad: whichever are, those in question are among these
        ranked = selection.rank(keys, *order)
        keys = ranked[: first + spare] if first > 0 else ranked[first - spare :]
        pool &= set(keys)
    return Captions(len(keys), len(pool), least)


def check_trigger(stamp: Stamp, model: str) -> None:
    """Put a trigger on two images of a model's size. Errors: ConfigError where it does not fit."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(256, (2, 3, *_size(model)), generator=draws, dtype=torch.uint8)
    stamp(images, ["0", "1"])


def _size(model: str) -> tuple[int, int]:
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def check_weights(path: Path, model: str) -> None:
    """Refuse weights that cannot be read, are of another model, or are not finite.

    model: open_clip's name. Errors: ConfigError.
    """
    _load(path, path.stat().st_mtime_ns, models.check_name(model))


@cache
def _load(path: Path, _: int, model: str) -> None:
    """Kept by the file's time: a grid asks for the same weights many times."""
    weights = models.load(model, path).clip.state_dict()
    bad = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if bad:
        raise ConfigError(f"{path}: {len(bad)} weights are not finite numbers, {bad[0]} the first")
