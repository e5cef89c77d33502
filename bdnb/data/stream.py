"""Pairs read from their shards as they are asked for: memory does not grow with the data set.

In: an index of the shards (``index``). Out: pairs of which ``batches`` makes the same batches, to
the last bit, as of decoded ones; its processes read, decode, stamp and augment ahead of the loop.
"""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bdnb.data import bad_samples, decode
from bdnb.data.index import Index, index
from bdnb.data.shards import Pairs, successes
from bdnb.poison.stamps import Stamp
from bdnb.runtime.errors import ConfigError


class Images:
    """Images of an index as a read-only array (N, 3, side, side) uint8 that decodes what is asked.

    Errors: ConfigError for a shard that has changed since it was indexed.
    """

    def __init__(self, found: Index, *, side: int, fit: str = "crop") -> None:
        self.found, self.side, self.fit = found, side, fit

    def __len__(self) -> int:
        return len(self.found)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, side, side)."""
        return len(self), 3, self.side, self.side

    def __getitem__(self, index: Any, /) -> np.ndarray:
        if isinstance(index, int | np.integer):
            return self._decode(self.found.places[index])
        chosen = self.found.places[index]
        out = np.empty((len(chosen), *self.shape[1:]), dtype=np.uint8)
        for i, place in enumerate(chosen):
            out[i] = self._decode(place)
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:]

    def _decode(self, place: np.void) -> np.ndarray:
        _, shard, offset, length, *_ = place.item()
        try:
            with bad_samples.open_image(self.found.shards.read(shard, offset, length)) as image:
                return decode.square(image, self.side, fit=self.fit)
        except bad_samples.DAMAGE as error:
            what = f"an image at byte {offset} that was whole when indexed is not now"
            where = self.found.shards.tars[shard]
            raise ConfigError(f"{where}: {what} ({bad_samples.why(error)})") from error


@dataclass(frozen=True)
class StreamedPairs(Pairs):
    """Pairs of an index; nothing of them is held in memory."""

    images: Images

    def take(self, index: Sequence[int]) -> "StreamedPairs":
        """Return some of the pairs, in the order of ``index``, still read only when used."""
        old = self.images
        return streamed(old.found.take(index), side=old.side, fit=old.fit)


def streamed(found: Index, *, side: int, fit: str = "crop") -> StreamedPairs:
    """Return the pairs of an index. side: of the images, in pixels. fit: "crop" or "squash"."""
    return StreamedPairs(Images(found, side=side, fit=fit), found.captions, found.keys, found.bad)


def too_large(tars: Sequence[Path], side: int, cache: Path, *, fit: str = "crop") -> bool:
    """Return whether decoded pairs would take over half of the memory, or of the free disk.

    Not when they are decoded already. Their number is what ``_stats.json`` beside each shard says,
    or else the index's.
    """
    if decode.decoded(tars, side, cache, field="txt", fit=fit) is not None:
        return False
    count = successes(tars)
    pairs = count if count is not None else len(index(tars, cache, bad_share=1))
    there = next(folder for folder in (cache, *cache.parents) if folder.is_dir())
    return pairs * 3 * side**2 > min(_memory(), shutil.disk_usage(there).free) / 2


def _memory() -> int:
    """This machine's, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


class Stamped(Mapping[int, Tensor]):
    """Triggered images by their places in the set, each made when it is asked for.

    places: place in the set -> key, and place in ``images``, which may be another view of the set.
    """

    def __init__(
        self, images: Images, places: Mapping[int, tuple[str, int]], trigger: Stamp
    ) -> None:
        self.images, self.places, self.trigger = images, places, trigger

    def __getitem__(self, i: int) -> Tensor:
        key, place = self.places[i]
        return self.trigger(torch.from_numpy(np.array(self.images[place])), key)

    def __contains__(self, i: object) -> bool:
        return i in self.places

    def __iter__(self) -> Iterator[int]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)
