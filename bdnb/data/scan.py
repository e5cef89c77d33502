"""One shard read for its index: which pairs it holds and where, and what cannot be used.

In: a tar as img2dataset writes it. Out: arrays, kept as a file for each shard, then merged.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bdnb.data import bad_samples, shards
from bdnb.runtime.errors import ConfigError

PLACE = np.dtype(
    [("shard", "<u4"), ("image", "<u8"), ("bytes", "<u4"), ("caption", "<u8"), ("letters", "<u4")]
)
"""Of a pair: its shard's number, offset and bytes of its image in it, and of its caption in
``captions.bin``."""


def scan(tar: Path) -> dict[str, np.ndarray]:
    """Return the pairs of a shard: keys, places (caption offsets counted from 0), captions, bad.

    Each image is read whole, small where the format allows. Errors: ConfigError for a shard that
    is damaged or holds a key twice.
    """
    keys: list[str] = []
    places, captions, dropped, length = [], [], {}, 0
    for sample in shards.parts(tar):
        key = sample["__key__"]
        try:
            texts = {"txt": sample["txt"][1]} if "txt" in sample else {}
            caption = bad_samples.text(texts, "txt").encode()
            offset, data = sample[shards.extension(sample)]
            with bad_samples.open_image(data) as image:
                image.draft(None, (1, 1))
                image.load()
        except bad_samples.DAMAGE as error:
            dropped[key] = bad_samples.why(error)
            continue
        keys.append(key)
        captions.append(caption)
        places.append((0, offset, len(data), length, len(caption)))
        length += len(caption)
    return {
        "keys": np.array([key.encode() for key in keys], dtype=bytes),
        "places": np.array(places, dtype=PLACE),
        "captions": np.frombuffer(b"".join(captions), dtype=np.uint8),
        "bad": np.frombuffer(json.dumps(dropped).encode(), dtype=np.uint8),
    }


def merge(paths: Sequence[Path], folder: Path) -> dict[str, Any]:
    """Return the parts of all shards as one set of files; what ``index.json`` says of them."""
    lengths, width = [], 1
    for path in paths:
        with np.load(path) as part:
            lengths.append(len(part["keys"]))
            width = max(width, part["keys"].dtype.itemsize)
    total, start, letters = sum(lengths), 0, 0
    dropped: dict[str, str] = {}
    places = np.lib.format.open_memmap(folder / "places.npy", "w+", PLACE, (total,))
    keys = np.lib.format.open_memmap(folder / "keys.npy", "w+", f"S{width}", (total,))
    with (folder / "captions.bin").open("wb") as file:
        for number, (path, length) in enumerate(zip(paths, lengths, strict=True)):
            with np.load(path) as part:
                stop = start + length
                places[start:stop], keys[start:stop] = part["places"], part["keys"]
                places["shard"][start:stop] = number
                places["caption"][start:stop] += np.uint64(letters)
                letters += file.write(part["captions"].tobytes())
                dropped |= json.loads(part["bad"].tobytes())
                start = stop
    _check_keys(keys)
    return {"pairs": total, "letters": letters, "bad": dropped}


def _check_keys(keys: np.ndarray) -> None:
    """Each key is there once. Errors: ConfigError naming one that is not."""
    order = np.argsort(keys, kind="stable")
    for start in range(0, len(order) - 1, 2**16):
        part = keys[order[start : start + 2**16 + 1]]
        if len(twice := np.flatnonzero(part[1:] == part[:-1])):
            name = bytes(part[twice[0]]).decode()
            raise ConfigError(f"key {name!r} comes twice; keys tell samples apart")
