"""Where every pair lies in its shards, found in one pass: keys and places; no pixels kept.

The pass reads each image once, so that what cannot be used is known, counted and named before a
run begins. It takes about 100 bytes a pair. What it leaves is memory-mapped: it costs disk, not
memory, however large the set is.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bdnb.data import bad_samples, decode, shards
from bdnb.runtime import progress
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import begin, building, discard, marked, replacing, write_atomic
from bdnb.runtime.parallel import cores, parallel

FORMAT = 2
"""Version of the index's files: another one is made anew."""

PARTS = "index of single shards"
"""Mark of the folder that a pass keeps what it has read in, until it is through."""

OPEN = 256
"""Shards that a process holds open."""

PLACE = [("shard", "u4"), ("image", "u8"), ("bytes", "u4"), ("caption", "u8"), ("letters", "u4")]
"""Of a pair, behind its key: its shard's number, offset and bytes in it of image and caption."""


class Shards:
    """Tar shards, held open to read any bytes of them."""

    def __init__(self, tars: Sequence[Path]) -> None:
        self.tars = tars
        self._files: dict[int, BinaryIO] = {}

    def read(self, shard: int, offset: int, length: int) -> bytes:
        """Return some bytes of a shard."""
        if shard not in self._files:
            if len(self._files) >= OPEN:
                self._files.pop(next(iter(self._files))).close()
            self._files[shard] = self.tars[shard].open("rb")
        return os.pread(self._files[shard].fileno(), length, offset)


class Words(Sequence[str]):
    """``count`` words, each made by ``word`` of its place when it is asked for."""

    def __init__(self, count: int, word: Callable[[int], str]) -> None:
        self.places, self.word = range(count), word

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: Any) -> Any:
        found = self.places[i]
        return self.word(found) if isinstance(found, int) else [*map(self.word, found)]


@dataclass(frozen=True)
class Index:
    """The pairs of some shards, in their order, those left out that cannot be used.

    places: (N,) key and PLACE, a read-only memory map. bad: key -> why.
    """

    shards: Shards
    places: np.ndarray
    bad: dict[str, str]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def keys(self) -> Words:
        """The N keys."""
        keys = np.asarray(self.places["key"])
        return Words(len(self), lambda i: bytes(keys[i]).decode())

    @property
    def captions(self) -> Words:
        """The N captions, read from the shards."""

        def caption(i: int) -> str:
            _, shard, _, _, offset, length = self.places[i].item()
            return self.shards.read(shard, offset, length).decode("utf-8").strip()

        return Words(len(self), caption)

    def take(self, index: Sequence[int]) -> "Index":
        """Return some of the pairs, in the order of ``index``."""
        return replace(self, places=self.places[np.asarray(index, dtype=np.int64)])


def index(
    tars: Sequence[Path],
    cache: Path,
    *,
    bad_share: float = bad_samples.BAD_SHARE,
    workers: int = 0,
) -> Index:
    """Return the index of shards, made once.

    cache: folder for its files, which sets may share. workers: processes; 0: one for each core.
    Errors: ConfigError for a missing or damaged shard, a key that comes twice, or a share of bad
    samples above ``bad_share``.
    """
    if (found := indexed(tars, cache)) is None:
        with building(_folder(tars, cache), "index of shards") as made:
            if indexed(tars, cache) is None:
                parts = cache / f".{decode.name_of(tars)}-index.shards"
                if not marked(parts, PARTS):
                    begin(parts, PARTS)
                _write(made, parts, tars, min(workers or cores(), len(tars)))
                discard(parts, PARTS)
        found = indexed(tars, cache)
    assert found is not None
    bad_samples.report(found.bad, len(found), bad_share, where=str(tars[0].parent))
    return found


def indexed(tars: Sequence[Path], cache: Path) -> Index | None:
    """Return what ``index`` would find there; None where it has to read the shards."""
    folder = _folder(tars, cache)
    if not (folder / "index.json").is_file():
        return None
    about = json.loads((folder / "index.json").read_text("utf-8"))
    if about["mark"] != decode.mark_of(tars, FORMAT):
        return None
    places = np.load(folder / "places.npy", mmap_mode="r")
    return Index(Shards(tuple(tars)), places, about["bad"])


def _folder(tars: Sequence[Path], cache: Path) -> Path:
    return cache / f"{decode.name_of(tars)}-index"


def _write(made: Path, parts: Path, tars: Sequence[Path], workers: int) -> None:
    """Scan the shards, several at a time, into two files. Errors: ConfigError for a key twice.

    parts: folder of what shards have given, from where a pass that was cut off goes on.
    """
    found, bad, bad_in = [], dict[str, str](), dict[str, int]()
    with progress.bar(total=len(tars), desc="indexing: ", unit=" shards", leave=False) as bar:
        for number, part in enumerate(parallel(partial(_part, parts=parts), tars, workers)):
            with np.load(part) as kept:
                rows, dropped = kept["rows"], json.loads(str(kept["bad"]))
            rows["shard"] = number
            for key in dropped.keys() & bad_in.keys():
                raise _twice(tars[number], key, tars[bad_in[key]])
            found.append(rows)
            bad |= dropped
            bad_in |= dict.fromkeys(dropped, number)
            bar.update()
    places = np.concatenate(found)
    order = np.argsort(places["key"], kind="stable")
    keys = places["key"][order]
    for twice in np.flatnonzero(keys[1:] == keys[:-1]):
        first, second = (tars[places["shard"][i]] for i in order[twice : twice + 2])
        raise _twice(second, keys[twice].decode(), first)
    for key, number in bad_in.items():
        at = np.searchsorted(keys, key.encode())
        if at < len(keys) and keys[at] == key.encode():
            first, second = sorted((number, places["shard"][order[at]]))
            raise _twice(tars[second], key, tars[first])
    with replacing(made / "places.npy") as beside, beside.open("wb") as file:
        np.save(file, places)
    about = {"mark": decode.mark_of(tars, FORMAT), "pairs": len(places), "bad": bad}
    write_atomic(made / "index.json", json.dumps(about))


def _twice(tar: Path, key: str, first: Path) -> ConfigError:
    where = f"comes twice, first in {first.name}; keys tell samples apart"
    return ConfigError(f"{tar}: key {key!r} {where}")


def _part(tar: Path, parts: Path) -> Path:
    """Return the file of what a shard gives, scanned unless that is there; a changed shard is."""
    path = parts / f"{decode.mark_of([tar], FORMAT)}.npz"
    if not path.is_file():
        rows, bad = scan(tar)
        with replacing(path) as beside, beside.open("wb") as file:
            np.savez(file, rows=rows, bad=np.array(json.dumps(bad)))
    return path


def scan(tar: Path) -> tuple[np.ndarray, dict[str, str]]:
    """Return the pairs of a shard, (N,) key and PLACE, and why others cannot be used, by key.

    Each image is read whole, small where the format allows. Errors: ConfigError for a shard that
    is damaged or holds a key twice.
    """
    rows, bad = [], dict[str, str]()
    for sample in shards.parts(tar):
        key = sample["__key__"]
        try:
            caption, words = sample.get("txt", (0, None))
            bad_samples.text(words, "txt")
            offset, data = sample[shards.extension(sample)]
            with bad_samples.open_image(data) as image:
                image.draft(None, (1, 1))
                image.load()
        except bad_samples.DAMAGE as error:
            bad[key] = bad_samples.why(error)
            continue
        rows.append((key.encode(), 0, offset, len(data), caption, len(words)))
    width = max((len(row[0]) for row in rows), default=1)
    return np.array(rows, dtype=[("key", f"S{width}"), *PLACE]), bad
