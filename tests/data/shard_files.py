"""Shards of pairs as tests write and read them."""

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

from bdnb.data import decode, shards


def write_pairs(folder: Path, samples: Iterable[shards.Sample], *, shard_size: int = 1000) -> int:
    """Write all samples as shards 00000.tar, 00001.tar, ... Returns: their number."""
    stream, written = iter(samples), 0
    for number in count():
        if not (chunk := list(islice(stream, shard_size))):
            return written
        written += shards.write_pair_shard(folder, number, chunk)
    raise AssertionError


def read_pairs(tars: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Yield pairs: ``__key__``, bytes of the image, ``txt`` as text, ``json`` as a dict."""
    for sample in shards.samples(tars):
        about = {name: value for name, value in sample.items() if name != "__url__"}
        yield about | {"txt": sample["txt"].decode(), "json": json.loads(sample["json"])}


def tars(folder: Path) -> list[Path]:
    """The tar shards of a folder, in order."""
    return sorted(folder.glob("*.tar"))


def decoded(tars: Sequence[Path], side: int, cache: Path, **options: Any) -> shards.Pairs:
    """The pairs of shards, decoded once."""
    return decode.decode(tars, side, cache, field="txt", **options)
