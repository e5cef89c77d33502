"""Pairs of images and captions in WebDataset tar shards, as img2dataset writes and names them.

Written: ``NNNNN.tar`` (``.png .txt .json`` a sample) and ``NNNNN_stats.json`` beside it, the same
bytes for the same samples. Read: any such shards (CC3M and CC12M as downloaded), streamed or
decoded once.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from bdnb.data import bad_samples, decode
from bdnb.runtime.errors import ConfigError

SHARD_SIZE = 1000
"""Samples a shard."""

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
    """One tar shard: the same bytes for the same samples, whoever writes it and when.

    Returns: the number of samples. Errors: ConfigError for a key with a dot or a slash in it,
    where WebDataset would split it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in samples:
            key = sample["__key__"]
            if not key or "." in key or "/" in key:
                raise ConfigError(f"{path}: key {key!r}: expected a name without '.' and '/'")
            for extension, value in sample.items():
                if extension != "__key__":
                    data = _bytes(value)
                    member = tarfile.TarInfo(f"{key}.{extension}")
                    member.size, member.mode, member.mtime = len(data), 0o644, 0
                    tar.addfile(member, io.BytesIO(data))
            count += 1
    return count


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True)
    return str(value).encode("utf-8")


def write_pair_shard(folder: Path, number: int, samples: Iterable[Sample]) -> int:
    """Shard ``number`` of pairs and its ``_stats.json``. Returns: the number of samples.

    samples: ``__key__``, ``png`` or ``jpg`` bytes, ``txt`` caption, ``json`` dict. The statistics
    are img2dataset's, the duration left at 0 so that the file is the same each time.
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


def write_pairs(folder: Path, samples: Iterable[Sample], *, shard_size: int = SHARD_SIZE) -> int:
    """All samples as shards 00000.tar, 00001.tar, ... Returns: the number of samples."""
    stream, count, number = iter(samples), 0, 0
    while chunk := list(islice(stream, shard_size)):
        count += write_pair_shard(folder, number, chunk)
        number += 1
    return count


def pair(key: str, image: bytes, caption: str, *, side: int, **more: Any) -> dict[str, Any]:
    """A sample of a pair as img2dataset writes it.

    image: PNG bytes of a side x side image. more: further values of the ``.json``.
    """
    about: dict[str, Any] = {"key": key, "caption": caption}
    about |= {"status": "success", "error_message": None}
    about |= {"width": side, "height": side, "original_width": side, "original_height": side}
    about["sha256"] = hashlib.sha256(image).hexdigest()
    return {"__key__": key, "json": about | more, "png": image, "txt": caption}


def tars(folder: Path) -> list[Path]:
    """The tar shards of a folder, in order. Errors: ConfigError when there are none."""
    found = sorted(folder.glob("*.tar"))
    if not found:
        raise ConfigError(f"{folder}: no tar shards (*.tar) there")
    return found


def read_pairs(shards: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Pairs as they come, not decoded: ``__key__``, ``jpg|png|webp`` bytes, ``txt`` str, ``json``.

    Errors: ConfigError naming a shard that is missing or damaged, or a sample without caption.
    """
    for sample in decode.samples(shards):
        if "txt" not in sample:
            raise ConfigError(f"sample {sample['__key__']!r} of {sample['__url__']}: no .txt")
        about = {k: v for k, v in sample.items() if k == "__key__" or k in decode.EXTENSIONS}
        about["txt"] = sample["txt"].decode("utf-8")
        yield about | ({"json": json.loads(sample["json"])} if "json" in sample else {})


def prepare(
    shards: Sequence[Path],
    side: int,
    cache: Path,
    *,
    bad_share: float = bad_samples.BAD_SHARE,
    fit: str = "crop",
) -> Pairs:
    """Pairs decoded and resized once, then read from ``cache`` while the shards do not change.

    side: of the images, in pixels. cache: folder for decoded files, which sets may share.
    bad_share: share of samples that may be unreadable. fit: "crop" or "squash" to the square.
    Errors: ConfigError, as ``decode.decode``.
    """
    found = decode.decode(shards, side, cache, field="txt", bad_share=bad_share, fit=fit)
    return Pairs(found.images, found.texts, found.keys, found.bad)
