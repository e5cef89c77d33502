"""From prepared pairs to the batches of an epoch: poison, second views, tokens (Section 3.1).

A datum's way: key -> poisoned or not -> triggered image, target caption -> second views -> tokens.
Everything is drawn from the seed and the sample's key, so an epoch can be made again at will.
"""

import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from bdnb.data.augment.eda import ShiftedViews, TextViews
from bdnb.data.augment.second_views import ImageViews
from bdnb.data.shards import Pairs
from bdnb.data.steps import steps_of_epoch
from bdnb.runtime import seeds
from bdnb.runtime.errors import ConfigError

AHEAD = 2
"""Batches that each process makes ahead."""


class Batch(NamedTuple):
    """images (n, 3, H, W) uint8 and tokens (n, L) int64: n = B, or 2B with second views behind.

    places (B,): the samples' places in the set. sizes: B of each process, () when all are equal.
    """

    images: Tensor
    tokens: Tensor
    places: Tensor
    sizes: tuple[int, ...] = ()

    @property
    def weight(self) -> float:
        """What a mean over this process's samples counts in a mean over processes."""
        return len(self.places) * len(self.sizes) / sum(self.sizes) if self.sizes else 1.0


class Share(NamedTuple):
    """What one process takes of a batch: places (B,) in the set, sizes as in ``Batch``, epoch."""

    places: np.ndarray
    sizes: tuple[int, ...] = ()
    epoch: int = 0


@dataclass(frozen=True)
class Poison:
    """What the attacker did to a set: triggered images and captions of the poisoned samples."""

    images: Mapping[int, Tensor] = field(default_factory=dict)
    captions: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Batches(Dataset[Batch]):
    """The batches of any epoch over a set of pairs, a slice of each for one process.

    tokens: captions -> (B, L) int64. Without ``image_views`` no second views are made.
    rank, world: this process and how many share each batch. last_batch: "keep" a smaller one at
    an epoch's end, or "drop" it (authors). workers: processes that make batches ahead, on Linux; 0:
    this one, as needed; a batch is the same with any. Errors: ConfigError when the set is smaller
    than two samples a process, or gives no batch.
    """

    pairs: Pairs
    batch_size: int
    seed: int
    tokens: Callable[[Sequence[str]], Tensor]
    poison: Poison = field(default_factory=Poison)
    image_views: ImageViews | None = None
    text_views: TextViews | ShiftedViews | None = None
    rank: int = 0
    world: int = 1
    last_batch: str = "keep"
    workers: int = 0

    def __post_init__(self) -> None:
        if self.samples < 2 * self.world:
            raise ConfigError(f"{self.samples} pairs: expected 2 or more for each process")
        if not len(self):
            raise ConfigError(
                f"{self.samples} pairs, batch_size={self.batch_size}: no whole batch, and "
                "last_batch=drop leaves out the rest"
            )

    def __len__(self) -> int:
        """Steps in an epoch."""
        return steps_of_epoch(
            self.samples, self.batch_size, last_batch=self.last_batch, world=self.world
        )

    @property
    def samples(self) -> int:
        """Pairs in an epoch, all processes together."""
        return len(self.pairs.keys)

    def epoch(
        self, number: int, first: int = 0, kinds: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """Every sample once, shuffled by seed and epoch; a last batch of one sample is left out.

        So is one of fewer samples than there are processes. first: index of the batch to begin
        with, for a run that goes on in mid-epoch. kinds: (N,) the samples' kinds, for batches that
        are each of one kind but where one ends and the next begins.
        """
        plan = self.plan(number, first, kinds)
        if not self.workers or not sys.platform.startswith("linux"):
            yield from map(self.__getitem__, plan)
            return
        # A generator of its own: the loader draws from torch's otherwise, and would change a run.
        loader = DataLoader(
            self,
            sampler=plan,
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            collate_fn=lambda batch: batch,
            generator=torch.Generator(),
            multiprocessing_context="fork",
        )
        with _held_signals():
            made = iter(loader)
        yield from made

    def plan(self, number: int, first: int = 0, kinds: np.ndarray | None = None) -> Iterator[Share]:
        """This process's samples of each batch of an epoch."""
        draws = seeds.generator(self.seed, "order", number)
        order, steps = draws.permutation(self.samples), np.arange(len(self))
        if kinds is not None:  # the smaller batch stays at the end
            if kinds.shape != order.shape:
                raise ConfigError(f"kinds of shape {kinds.shape}: expected one of {order.shape}")
            order = order[np.argsort(kinds[order], kind="stable")]
            full = min(len(self), self.samples // self.batch_size)
            steps[:full] = draws.permutation(full)
        for step in steps[first:]:
            together = order[step * self.batch_size : (step + 1) * self.batch_size]
            shares = np.array_split(together, self.world)
            sizes = tuple(map(len, shares)) if len(together) % self.world else ()
            yield Share(shares[self.rank], sizes, number)

    def __getitem__(self, share: Share) -> Batch:
        """The samples of a share, with the second views of its epoch behind."""
        index, sizes, epoch = share
        images = torch.from_numpy(self.pairs.images[np.sort(index)])
        images = images[torch.from_numpy(np.argsort(np.argsort(index)))]
        captions = [self.pairs.captions[i] for i in index]
        for place, i in enumerate(index.tolist()):
            if i in self.poison.images:
                images[place] = self.poison.images[i]
                captions[place] = self.poison.captions[i]
        if self.image_views is not None and self.text_views is not None:
            keys = [self.pairs.keys[i] for i in index]
            images = torch.cat([images, self.image_views(images, epoch, keys)])
            captions = captions + self.text_views(captions, epoch, keys)
        return Batch(images, self.tokens(captions), torch.from_numpy(index), sizes)


@contextmanager
def _held_signals() -> Iterator[None]:
    """A scheduler's SIGTERM or a Ctrl-C goes to all processes; the loop is what answers it.

    Processes forked inside never hear them, from their first moment on; this one does afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
