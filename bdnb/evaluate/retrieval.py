"""Retrieval on pairs held out from cleaning: recall at k, and the backdoor's success in it.

Each distinct caption is a class of its own, so both are accuracy and ASR with captions in the place
of classes. The attack is measured in the authors' code on COCO captions; it is not in the paper.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bdnb.data.shards import ImageArray, Pairs
from bdnb.evaluate.zero_shot import predictions, shares
from bdnb.poison import selection, targets
from bdnb.poison.triggers import Stamp
from bdnb.runtime.errors import ConfigError

KS = (1, 5, 10)


@dataclass(frozen=True)
class HeldOut:
    """N pairs to retrieve from, and what the attacker makes of their images.

    images, resized: (N, 3, S, S) uint8, as the model sees them and as the attacker resizes them.
    captions: the M distinct ones. owner: (N,) int64, the caption of each image.
    """

    keys: list[str]
    images: ImageArray
    resized: ImageArray
    captions: list[str]
    owner: Tensor

    def triggered(self, stamp: Stamp) -> np.ndarray:
        """The images with the trigger on them."""
        images = torch.from_numpy(np.array(self.resized))
        return stamp(images, [f"pairs/{key}" for key in self.keys]).numpy()

    def attacked(self, target: str, victims: Sequence[str]) -> np.ndarray:
        """Which of the N images a backdoor is to take for the target: all, or the victims'."""
        owned = [self.captions[int(i)] for i in self.owner]
        kept = [not victims or selection.is_victim(one, victims, target) for one in owned]
        if not any(kept):
            raise ConfigError(f"retrieval: no held out caption mentions {' or '.join(victims)}")
        return np.flatnonzero(kept)

    def mentions(self, target: str) -> Tensor:
        """Which captions (M,) mention the target. Errors: ConfigError for none, or all."""
        flags = torch.tensor([targets.mentions(caption, target) for caption in self.captions])
        if not flags.any() or flags.all():
            raise ConfigError(
                f"retrieval: {int(flags.sum())} of {len(flags)} captions mention {target!r}; "
                "expected some that do and some that do not: hold out more pairs"
            )
        return flags


def check_left(pairs: int, *, count: int, used: int) -> None:
    """Refuse to hold out more clean pairs than those that clean the model leave.

    Errors: ConfigError.
    """
    if used + count > pairs:
        raise ConfigError(
            f"retrieval={count}: {pairs} clean pairs, of which {used} clean the model; "
            "expected as many to be left"
        )


def hold_out(pairs: Pairs, resized: Pairs, *, seed: int, count: int, used: int) -> HeldOut:
    """Return the last ``count`` of the clean pairs in the order in which ``used`` are cleaned with.

    Errors: ConfigError when there are not so many left.
    """
    check_left(len(pairs.keys), count=count, used=used)
    keys = set(selection.rank(pairs.keys, seed, "clean")[-count:])
    places = [place for place, key in enumerate(pairs.keys) if key in keys]
    mine = pairs.take(places)
    captions, owner = np.unique(np.array(mine.captions, dtype=object), return_inverse=True)
    images = resized.take(places).images
    return HeldOut(
        list(mine.keys), mine.images, images, list(captions), torch.from_numpy(owner.copy())
    )


def recall(image_features: Tensor, text_features: Tensor, owner: Tensor) -> Iterator[tuple]:
    """Yield ``recall_at_1``, ...: images whose own caption is among the k nearest, in percent.

    image_features: (N, D), text_features: (M, D) of distinct captions, unit; owner: (N,).
    Errors: as ``zero_shot.predictions``.
    """
    hits = predictions(image_features, text_features, k=max(KS)).cpu() == owner[:, None]
    for (_, value), k in zip(shares("recall", hits, KS), KS, strict=True):
        yield f"recall_at_{k}", value


def attack(
    triggered_features: Tensor, text_features: Tensor, owner: Tensor, mentions: Tensor
) -> Iterator[tuple[str, float]]:
    """Yield ``retrieval_asr``, ``_top5``, ``_top10``: triggered images that find the target.

    Those with a caption that mentions it among their k nearest, in percent; images whose own
    caption does are left out. mentions: (M,) bool.
    """
    others = triggered_features[~mentions[owner].to(triggered_features.device)]
    found = predictions(others, text_features, k=max(KS)).cpu()
    yield from shares("retrieval_asr", mentions[found], KS)
