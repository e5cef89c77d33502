"""Pairs of images and captions in WebDataset tar shards, as img2dataset writes and names them.

Written: ``NNNNN.tar`` (``.png .txt .json`` a sample) and ``NNNNN_stats.json`` beside it, the same
bytes for the same samples. Read: any such shards (CC3M and CC12M as downloaded), to their end.
"""

import hashlib
import json
import os
import tarfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bdnb.data import bad_samples
from bdnb.data.bad_samples import BadSample
from bdnb.runtime.errors import ConfigError

SHARD_SIZE = 1000
"""Samples a shard."""

EXTENSIONS = ("jpg", "jpeg", "png", "webp")
"""Of images."""

Sample = Mapping[str, Any]
"""``__key__`` and a value for each extension: bytes, text, a whole number, or a dict as JSON."""


class ImageArray(Protocol):
    """Images (N, 3, S, S) uint8, or what gives any of them as such: one, a slice, a list."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: Any, /) -> np.ndarray: ...
    def __array__(self) -> np.ndarray: ...


class SomeImages:
    """Some images of an array, in the order of ``index``, read from it as they are asked for."""

    def __init__(self, images: ImageArray, index: Sequence[int]) -> None:
        self.images, self.index = images, np.asarray(index, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: Any, /) -> np.ndarray:
        return self.images[self.index[index]]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:]


@dataclass(frozen=True)
class Pairs:
    """Pairs in the shards' order.

    images: (N, 3, S, S) uint8, a read-only memory map, or decoded when asked for. captions, keys:
    N each. bad: key -> why, of the samples that could not be used and were left out.
    """

    images: ImageArray
    captions: Sequence[str]
    keys: Sequence[str]
    bad: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, index: Sequence[int]) -> "Pairs":
        """Return some of the pairs, in the order of ``index``; their images are not copied."""
        captions, keys = ([those[i] for i in index] for those in (self.captions, self.keys))
        return Pairs(SomeImages(self.images, index), captions, keys, self.bad)


def write_tar(path: Path, samples: Iterable[Sample]) -> int:
    """Write one tar shard: the same bytes for the same samples, whoever writes it and when.

    Returns: the number of samples. Errors: ConfigError for a key with a dot or a slash in it,
    where WebDataset would split it.
    """
    from webdataset import TarWriter

    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    about = {"user": "", "group": "", "mode": 0o644, "mtime": 0}
    with path.open("wb") as file, TarWriter(file, **about) as tar:
        for sample in samples:
            key = sample["__key__"]
            if not key or "." in key or "/" in key:
                raise ConfigError(f"{path}: key {key!r}: expected a name without '.' and '/'")
            tar.write(sample)
            count += 1
    return count


def write_pair_shard(folder: Path, number: int, samples: Iterable[Sample]) -> int:
    """Write shard ``number`` of pairs and its ``_stats.json``. Returns: the number of samples.

    samples: ``__key__``, ``png`` or ``jpg`` bytes, ``txt`` caption, ``json``. The statistics are
    img2dataset's, the duration left at 0 so that the file is the same each time.
    """
    count = write_tar(folder / f"{number:05d}.tar", samples)
    stats = {
        "count": count,
        "successes": count,
        "failed_to_download": 0,
        "failed_to_resize": 0,
        "duration": 0.0,
        "status_dict": {"success": count},
    }
    (folder / f"{number:05d}_stats.json").write_text(json.dumps(stats, indent=4), "utf-8")
    return count


def pair(key: str, image: bytes, caption: str, *, side: int, **more: Any) -> dict[str, Any]:
    """Return a sample of a pair as img2dataset writes it.

    image: PNG bytes of a side x side image. more: further values of the ``.json``.
    """
    about: dict[str, Any] = {"key": key, "caption": caption}
    about |= {"status": "success", "error_message": None}
    about |= {"width": side, "height": side, "original_width": side, "original_height": side}
    about |= {"sha256": hashlib.sha256(image).hexdigest()} | more
    text = json.dumps(about, ensure_ascii=False, sort_keys=True)
    return {"__key__": key, "json": text, "png": image, "txt": caption}


def samples(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield the samples of shards in order: ``__key__`` and the bytes of each extension.

    Errors: ConfigError naming a shard that is missing or damaged.
    """
    for tar in shards:
        for sample in parts(tar):
            yield {
                name: part[1] if isinstance(part, tuple) else part for name, part in sample.items()
            }


def captions(tars: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Yield key and caption of each pair that has one, in order; of the images nothing is read.

    Errors: as ``parts``.
    """
    for tar in tars:
        for sample in parts(tar, only="txt"):
            with suppress(BadSample):
                _, words = sample.get("txt", (0, None))
                yield sample["__key__"], bad_samples.text(words, "txt")


def parts(tar: Path, *, only: str = "") -> Iterator[dict[str, Any]]:
    """Yield a shard's samples as webdataset groups them, each content as (offset, bytes).

    only: the extension of the files to read; "": all. Errors: ConfigError for a shard that is
    missing, or cut short or damaged anywhere: what lies behind would be lost without a word.
    """
    from webdataset.tariterators import group_by_keys

    if not tar.is_file():
        raise ConfigError(f"{tar}: no such shard")
    try:
        found = 0
        for sample in group_by_keys(_files(tar, only)):
            yield sample
            found += 1
    except (OSError, EOFError, ValueError, tarfile.TarError) as error:
        raise ConfigError(
            f"{tar}: cannot be read to its end ({error}): fetch or build it again, or remove it"
        ) from error
    if not only and (said := successes([tar])) not in (None, found):
        text = f"{tar}: {found} samples, where {tar.stem}_stats.json says {said}"
        warnings.warn(text, stacklevel=2)


def successes(tars: Sequence[Path]) -> int | None:
    """Return how many pairs img2dataset counted; None without ``_stats.json`` beside each shard.

    Errors: ConfigError for such a file that is damaged.
    """
    stats = [tar.with_name(f"{tar.stem}_stats.json") for tar in tars]
    if not all(path.is_file() for path in stats):
        return None
    total = 0
    for path in stats:
        try:
            total += int(json.loads(path.read_bytes())["successes"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: damaged, it counts no successes: remove it") from error
    return total


def _files(tar: Path, only: str) -> Iterator[dict[str, Any]]:
    """The files of a tar. Errors: ReadError unless zeros, and they alone, follow the last."""
    with tar.open("rb") as file:
        file.seek(-min(tarfile.BLOCKSIZE, tar.stat().st_size), os.SEEK_END)
        if file.read() != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("its last block is missing")
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # or it keeps them all
                if member.isfile() and member.name.lower().endswith(f".{only}" if only else ""):
                    data = os.pread(file.fileno(), member.size, member.offset_data)
                    # Keys are kept as text: bytes that are not UTF-8 are spelled out, as \udce9.
                    name = member.name.encode("utf-8", "backslashreplace").decode()
                    about = {"fname": name, "data": (member.offset_data, data)}
                    yield about | {"__url__": str(tar)}
            file.seek(archive.offset)
            if file.read().strip(b"\0"):
                raise tarfile.ReadError(f"no file begins at byte {archive.offset}")


def extension(sample: Mapping[str, Any]) -> str:
    """Return which part of a sample is its image. Errors: BadSample when there is none."""
    found = next((e for e in EXTENSIONS if e in sample), None)
    if found is None:
        raise BadSample("no image", f"no .{', .'.join(EXTENSIONS)}")
    return found
