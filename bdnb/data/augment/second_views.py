"""Second views of images for SSL: AutoAugment, or crops; those of captions are in ``eda``.

In: a batch of uint8 images, its epoch and its samples' keys; out: one new view of each. A view
depends on the run's seed, the epoch and the sample's own key, never on the batch.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import AutoAugment, InterpolationMode

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import uniforms

POLICIES = ("autoaugment", "crop_flip", "none")
SMALLEST = 0.3
"""Share of an image's area that ``crop_flip`` keeps at least."""
CHUNK = 2**22
"""Values worked on at a time: keeps copies small, changes no byte."""
MOVES = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
"""Operations that take each pixel from another place, the same place in every image."""


class ImageViews:
    """AutoAugment (Cubuk et al. 2019) with the ImageNet policy of torchvision, a batch at a time.

    One of 25 sub-policies for each image: two operations, each with its probability, strength and
    a random sign, nearest-neighbour and black outside, as ``torchvision``'s ``AutoAugment`` with
    its defaults does one image at a time. Images that drew the same operation share a call.

    policy: ``autoaugment``; ``crop_flip``: a random square crop, mirrored half the time, as in
    SimCLR and its kin, colours as they are; or ``none``: the view is the image.
    Errors: ConfigError for another policy.
    """

    def __init__(self, seed: int, *, policy: str = "autoaugment") -> None:
        if policy not in POLICIES:
            raise ConfigError(f"policy={policy!r}: expected one of {', '.join(POLICIES)}")
        self.seed, self.policy = seed, policy

    def __call__(self, images: Tensor, epoch: int, keys: Sequence[str]) -> Tensor:
        """A new view of each image, (B, 3, H, W) uint8 with its B keys; same shape and device.

        Errors: ConfigError for another shape or type.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or len(keys) != len(images):
            found = f"{images.dtype} {tuple(images.shape)} and {len(keys)} keys"
            raise ConfigError(f"image views: expected uint8 (B, 3, H, W) and B keys, found {found}")
        if self.policy == "none":
            return images.clone()
        if self.policy == "crop_flip":
            return crop_flip(images, uniforms(self.seed, "image crop", epoch, keys, 4))
        drawn = torch.from_numpy(choose(uniforms(self.seed, "image view", epoch, keys, 5)))
        step = max(1, CHUNK // max(1, images[:1].numel()))
        out = torch.empty_like(images)
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            first, second = drawn[:, part]
            out[part] = apply(second, apply(first, images[part]))
        return out


def crop_flip(images: Tensor, draws: np.ndarray) -> Tensor:
    """Return a random crop of each image, made as large as the image, mirrored half the time.

    images: (B, 3, H, W) uint8. draws: (B, 4) in [0, 1): area from ``SMALLEST`` to all, place of the
    crop down and right, mirror. Bilinear.
    """
    area, down, right, mirror = torch.from_numpy(draws).float().unbind(1)
    size = (SMALLEST + (1 - SMALLEST) * area).sqrt()
    move = torch.zeros(len(images), 2, 3)
    move[:, 0, 0] = size * torch.where(mirror < 0.5, -1.0, 1.0)
    move[:, 1, 1] = size
    move[:, :, 2] = (1 - size[:, None]) * (2 * torch.stack([right, down], dim=1) - 1)
    grid = F.affine_grid(move, list(images.shape), align_corners=False).to(images.device)
    cut = F.grid_sample(images.float(), grid, padding_mode="border", align_corners=False)
    return cut.round().to(torch.uint8)


def apply(numbers: Tensor, images: Tensor) -> Tensor:
    """Return each image after the operation whose number it drew, -1 for none.

    numbers: (B,) int64, places in ``operations``. images: (B, 3, H, W) uint8. Images with the same
    number are brought together, so that each operation is called once.
    """
    order = numbers.argsort(stable=True)
    found, counts = numbers.unique(return_counts=True)
    groups = images.index_select(0, order.to(images.device)).split(counts.tolist())
    known = [*operations(*images.shape[-2:]), ("Identity", 0.0)]
    drawn = [known[int(number)] for number in found]
    done = [operate(*named, group) for named, group in zip(drawn, groups, strict=True)]
    return torch.cat(done).index_select(0, order.argsort().to(images.device))


@lru_cache(maxsize=1)
def _torchvision() -> AutoAugment:
    """The transform whose table and operations are used."""
    return AutoAugment(interpolation=InterpolationMode.NEAREST)


Drawable = tuple[str, int | None, bool]
"""An operation, the index of its strength, and whether its sign is turned."""


@lru_cache(maxsize=1)
def _table() -> tuple[list[Drawable], np.ndarray, np.ndarray]:
    """The policy: operations, their numbers (25, 2, 2) and probabilities (25, 2).

    By sub-policy, first or second operation, and (numbers only) whether the sign is turned.
    """
    transform = _torchvision()
    names: dict[Drawable, int] = {}
    numbers = np.empty((len(transform._policies), 2, 2), dtype=np.int64)
    odds = np.empty((len(transform._policies), 2))
    for i, policy in enumerate(transform._policies):
        for step, (name, probability, index) in enumerate(policy):
            odds[i, step] = probability
            for turned in (False, True):
                signed = turned and transform._AUGMENTATION_SPACE[name][1]
                numbers[i, step, int(turned)] = names.setdefault((name, index, signed), len(names))
    return list(names), numbers, odds


def choose(draws: np.ndarray) -> np.ndarray:
    """Return (2, B): the number of each image's first and second operation, -1 for none.

    draws: (B, 5) in [0, 1): sub-policy, whether each of the two is applied, the sign of each.
    """
    _, numbers, odds = _table()
    policy = (draws[:, 0] * len(odds)).astype(np.int64)
    steps = np.arange(2)[:, None]
    applied = draws[:, 1:3].T < odds[policy].T
    turned = (draws[:, 3:5].T < 0.5).astype(np.int64)
    return np.where(applied, numbers[policy, steps, turned], -1)


@lru_cache(maxsize=16)
def operations(height: int, width: int) -> list[tuple[str, float]]:
    """Return each numbered operation and its signed strength on images of that size."""
    found = []
    for name, index, turned in _table()[0]:
        strengths = _torchvision()._AUGMENTATION_SPACE[name][0](10, height, width)
        strength = 0.0 if strengths is None else float(strengths[index])
        found.append((name, -strength if turned else strength))
    return found


def operate(name: str, strength: float, images: Tensor) -> Tensor:
    """Apply one operation to all images, (B, 3, H, W) uint8: torchvision's result.

    Moves take a table of places that torchvision made; solarising avoids a slow ``where``.
    """
    if name == "Solarize":
        bright = images >= 255 * strength
        return images ^ bright.to(torch.uint8).mul_(255)
    if name not in MOVES:
        return _torchvision_apply(name, strength, images)
    source, inside = _sources(name, strength, *images.shape[-2:])
    flat = images.flatten(2)
    moved = flat.gather(2, source.to(images.device).expand(flat.shape))
    return (moved * inside.to(images.device)).view_as(images)


def _torchvision_apply(name: str, strength: float, images: Tensor) -> Tensor:
    transform = _torchvision()
    return transform._apply_image_or_video_transform(
        images, name, strength, interpolation=transform.interpolation, fill=transform._fill
    )


@lru_cache(maxsize=256)
def _sources(name: str, strength: float, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(H*W,) each: the pixel that every pixel is taken from, and 0 where that is outside.

    Found by moving an image whose values are 1 + the pixels' numbers, which float32 holds exactly.
    """
    numbered = torch.arange(1, height * width + 1, dtype=torch.float32).view(1, 1, height, width)
    moved = _torchvision_apply(name, strength, numbered).flatten().long()
    return (moved - 1).clamp(min=0), (moved > 0).to(torch.uint8)
