"""Where every pair lies in its shards, found in one pass: keys, captions, places; no pixels kept.

The pass reads each image once, so that what cannot be used is known, counted and named before a
run begins. Its files are memory-mapped: they cost disk, not memory, however large the set is.
"""

import hashlib
import json
import multiprocessing
import os
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from bdnb.data import bad_samples, decode, scan
from bdnb.runtime import progress
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, begin, check_ours, discard, replacing

FORMAT = 1
"""Version of the index's files: another one is made anew."""

INDEX, PARTS, HALF = "index of shards", "parts of an index", "index being made"
"""What the marks say of the index, of what the pass has found so far, of what is being merged."""


class Keys(Sequence[str]):
    """The keys of an index, each made a str when it is asked for. found: (N,) bytes."""

    def __init__(self, found: np.ndarray) -> None:
        self.found = found

    def __len__(self) -> int:
        return len(self.found)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [key.decode() for key in self.found[i].tolist()]
        return bytes(self.found[i]).decode()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), 4096):
            yield from self[start : start + 4096]


class Captions(Sequence[str]):
    """The captions of an index, each read when it is asked for. places: (N,) PLACE."""

    def __init__(self, places: np.ndarray, letters: np.ndarray) -> None:
        self.places, self.letters = places, letters

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        place = self.places[i]
        start = int(place["caption"])
        return self.letters[start : start + int(place["letters"])].tobytes().decode("utf-8")


@dataclass(frozen=True)
class Index:
    """The pairs of some shards, in their order, those left out that cannot be used.

    places: (N,) PLACE, a read-only memory map. bad: key -> why.
    """

    tars: tuple[Path, ...]
    places: np.ndarray
    keys: Keys
    captions: Captions
    bad: dict[str, str]

    def __len__(self) -> int:
        return len(self.places)


def cores() -> int:
    """Cores that this process may use."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return allowed or 1


def index(
    tars: Sequence[Path],
    cache: Path,
    *,
    bad_share: float = bad_samples.BAD_SHARE,
    workers: int = 0,
) -> Index:
    """The index of shards, made once; a pass that was cut off goes on with the next shard.

    cache: folder for its files, which sets may share. workers: processes; 0: one for each core.
    Errors: ConfigError for a missing or damaged shard, a key that comes twice, or a share of bad
    samples above ``bad_share``.
    """
    if not tars:
        raise ConfigError("no tar shards to index")
    mark = hashlib.sha256(json.dumps([FORMAT, decode.shape_of(tars)]).encode()).hexdigest()
    folder = cache / f"{decode.name_of(tars)}-index"
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f".{folder.name}.lock"):
        if (found := _load(folder, tars, mark)) is None:
            _make(folder, tars, mark, workers or cores())
            found = _load(folder, tars, mark)
    assert found is not None
    bad_samples.report(found.bad, len(found), bad_share, where=str(tars[0].parent))
    return found


def _make(folder: Path, tars: Sequence[Path], mark: str, workers: int) -> None:
    """Scan the shards, several at a time, and merge what was found. Leaves nothing half-made."""
    parts, beside = folder.with_name(f".{folder.name}.parts"), folder.with_name(f".{folder.name}")
    check_ours(folder, INDEX, known=_older(folder))
    check_ours(parts, PARTS)
    if not (parts / MARK).is_file():
        begin(parts, PARTS)
    begin(beside, HALF)
    with _processes(min(workers, len(tars))) as each:
        scanned = each(partial(_scan_once, parts), tars)
        paths = []
        with progress.bar(total=len(tars), desc="indexing: ", unit=" shards", leave=False) as bar:
            for path in scanned:
                paths.append(path)
                bar.update()
    made = beside / "index"
    begin(made, INDEX)
    about = scan.merge(paths, made) | {"mark": mark}
    (made / "index.json").write_text(json.dumps(about), "utf-8")
    discard(folder, INDEX, known=_older(folder))
    os.replace(made, folder)
    discard(beside, HALF)
    discard(parts, PARTS)


def _older(folder: Path) -> bool:
    """Whether a folder is what a version without marks wrote: these files and no others."""
    files = {"index.json", "places.npy", "keys.npy", "captions.bin", MARK}
    if not (folder / "index.json").is_file() or {p.name for p in folder.iterdir()} - files:
        return False
    return b'"mark": ' in (folder / "index.json").read_bytes()


@contextmanager
def _processes(workers: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A ``map`` over processes; forked ones, which start at once and import no script."""
    if workers == 1 or not sys.platform.startswith("linux"):
        yield map
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork")) as pool:
        try:
            yield pool.map
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _scan_once(parts: Path, tar: Path) -> Path:
    """What ``scan`` finds in a shard, kept in a file that a later pass uses again."""
    state = tar.stat() if tar.is_file() else None
    size, time = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    path = parts / f"{tar.stem}-{size}-{time}.npz"
    try:
        with np.load(path) as found:
            found["keys"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, **scan.scan(tar))
    return path


def _load(folder: Path, tars: Sequence[Path], mark: str) -> Index | None:
    if not (folder / "index.json").is_file():
        return None
    about = json.loads((folder / "index.json").read_text("utf-8"))
    if about["mark"] != mark:
        return None
    places = np.load(folder / "places.npy", mmap_mode="r")
    keys = np.load(folder / "keys.npy", mmap_mode="r")
    path = folder / "captions.bin"
    empty = np.zeros(0, dtype=np.uint8)
    letters = np.memmap(path, dtype=np.uint8, mode="r") if about["letters"] else empty
    return Index(tuple(tars), places, Keys(keys), Captions(places, letters), about["bad"])
