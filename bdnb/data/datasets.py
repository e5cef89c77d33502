"""A data set by name: its pairs to train and clean on, decoded or streamed, and its labelled sets.

``python -m bdnb.data.datasets NAME`` makes one that ``params/NAME/data.yaml`` describes.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bdnb.config import parameters
from bdnb.data import bad_samples, decode, emoji, labelled, shards, stream
from bdnb.data.index import index, indexed
from bdnb.data.labelled import CLASSNAMES, LabelledSet
from bdnb.data.shards import Pairs
from bdnb.poison import selection
from bdnb.runtime import project
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import storing


@dataclass(frozen=True)
class Dataset:
    """A data set under ``data/``: pre-training pairs, cleaning pairs, labelled sets.

    stream: how pre-training pairs are read; "no": decoded once; "yes": from their shards when asked
    for; "auto": that where they are too many. bad_share: share of samples that may be unusable.
    """

    folder: Path
    stream: str = "auto"
    bad_share: float = bad_samples.BAD_SHARE

    @property
    def about(self) -> dict[str, Any]:
        """What ``dataset.json`` says; ``{}`` for a set from elsewhere. Errors: ConfigError."""
        return emoji.read_index(self.folder) or {}

    @property
    def side(self) -> int:
        """The side in pixels that its images were made at; 224 for a set from elsewhere."""
        return int(self.about.get("config", {}).get("side", 224))

    @property
    def counts(self) -> dict[str, int]:
        """How many samples each part holds; of a set from the web, as img2dataset counted them."""
        if known := self.about.get("counts"):
            return dict(known)
        found = {name: shards.successes(self.shards(name)) for name in ("train", "clean")}
        return {name: count for name, count in found.items() if count is not None}

    @property
    def sets(self) -> list[str]:
        """The names of its labelled sets, the one of ``accuracy`` first; none before it is made."""
        there = sorted(p.parent.name for p in self.folder.glob(f"*/{CLASSNAMES}"))
        return sorted(there, key=lambda n: {"val": 0, "unseen": 1}.get(n, 2))

    def pairs(self, split: str, side: int, *, fit: str = "crop") -> Pairs:
        """Return the pairs of ``train`` or ``clean``, as (N, 3, side, side) uint8.

        Errors: ConfigError for a larger share of bad ones than ``bad_share``.
        """
        how = self.stream if split == "train" else "no"
        return _pairs(self.folder, split, side, fit, how, self.bad_share)

    def captions(self, split: str, side: int) -> tuple[Iterable[tuple[str, str]], bool]:
        """Return key and caption of each pair of a split, and whether each is known to be usable.

        Those of decoded or indexed pairs; before that they are read from the shards, without the
        images, some of which may turn out to be bad. Errors: ConfigError as ``shards.parts``.
        """
        tars, cache = self.shards(split), self.folder / "prepared"
        found = decode.decoded(tars, side, cache, field="txt") or indexed(tars, cache)
        if found is None:
            return shards.captions(tars), False
        return zip(found.keys, found.captions, strict=True), True

    def shards(self, split: str) -> list[Path]:
        """Return the tar shards of a split, in order; none before it is made."""
        return sorted((self.folder / split).glob("*.tar"))

    def training_pairs(self, side: int, *, seed: int, count: int = 0) -> Pairs:
        """Return the pairs that a run trains on: all there are, or the first ``count`` by seed."""
        pairs = self.pairs("train", side)
        if count > len(pairs.keys):
            raise ConfigError(f"pairs={count}: {self.folder} has {len(pairs.keys)} to train on")
        return subset(pairs, selection.rank(pairs.keys, seed, "train", count)) if count else pairs

    def labelled(self, side: int, *, fit: str = "crop") -> list[LabelledSet]:
        """Return the labelled sets, the first for ``accuracy``. Errors: ConfigError."""
        if not self.sets:
            raise ConfigError(
                f"{self.folder}: no labelled set to measure on: expected val/ with {CLASSNAMES} "
                "(CLIP_benchmark's wds layout); bdnb.data.imagenet makes one"
            )
        return [_labelled(self.folder, name, side, fit, self.bad_share) for name in self.sets]


@cache
def _pairs(folder: Path, split: str, side: int, fit: str, how: str, bad_share: float) -> Pairs:
    tars = sorted((folder / split).glob("*.tar"))
    if not tars:
        raise ConfigError(f"{folder / split}: no shards (*.tar) there")
    cache = folder / "prepared"
    with storing(folder):
        if how == "yes" or (how == "auto" and stream.too_large(tars, side, cache, fit=fit)):
            return stream.streamed(index(tars, cache, bad_share=bad_share), side=side, fit=fit)
        return decode.decode(tars, side, cache, field="txt", bad_share=bad_share, fit=fit)


@cache
def _labelled(folder: Path, name: str, side: int, fit: str, bad_share: float) -> LabelledSet:
    with storing(folder):
        return labelled.read_labelled(
            folder / name, side=side, cache=folder / "prepared", fit=fit, bad_share=bad_share
        )


def dataset(
    name: str, *, stream: str = "auto", bad_share: float = bad_samples.BAD_SHARE
) -> Dataset:
    """Return a data set by name, built first when ``params/<name>/data.yaml`` says how.

    stream, bad_share: as of ``Dataset``.
    ``elsewhere: NAME`` in that file: the scale's own set is that folder, which nothing here makes.
    Errors: ConfigError when it is neither there nor described.
    """
    folder = project.root() / "data" / name
    described = project.root() / "params" / name / "data.yaml"
    if described.is_file():
        values = parameters.load(name, "data")
        if (shown := values.pop("elsewhere", name)) != name:
            return dataset(shown, stream=stream, bad_share=bad_share)
        known = {"scale", "experiment"}
        config = parameters.make(
            emoji.EmojiData,
            {k: v for k, v in values.items() if k not in known},
            where=f"params/{name}/data.yaml",
        )
        with storing(folder):
            return Dataset(emoji.build(config, project.root()), stream, bad_share)
    if not (folder / "train").is_dir():
        raise ConfigError(
            f"data={name!r}: no params/{name}/data.yaml says how to make it, so expected a folder "
            f"data/{name}/ with train/ and clean/ (shards *.tar, as img2dataset writes them) and "
            "val/ (a labelled set, as CLIP_benchmark's wds_*); bdnb.data.web and "
            "bdnb.data.imagenet make them from CC3M, CC12M and ImageNet"
        )
    return Dataset(folder, stream, bad_share)


def subset(pairs: Pairs, keys: list[str]) -> Pairs:
    """Return the pairs of some keys, in the set's order; the set itself when these are all."""
    places = places_of(pairs, keys)
    return pairs if len(places) == len(pairs.keys) else pairs.take(sorted(places.values()))


def places_of(pairs: Pairs, keys: Iterable[str]) -> dict[str, int]:
    """Return where some of the pairs are in the set, by their keys."""
    wanted = set(keys)
    return {key: i for i, key in enumerate(pairs.keys) if key in wanted}


if __name__ == "__main__":
    with command():
        print(dataset(sys.argv[1]).folder)
