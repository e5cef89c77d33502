"""Triggers of the paper and of the authors' code: the BadNet patch of Section 3.1 and others."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb.config.options import Amount, Share, Size
from bdnb.poison.stamps import Draws, pixels, trigger
from bdnb.runtime.errors import ConfigError

Place = Literal[
    "random", "four_corners", "top_left", "top_right", "bottom_left", "bottom_right", "middle"
]
PlaceRange = Literal["full", "authors"]


@trigger("badnet")
def badnet(
    images: Tensor,
    draws: Draws,
    *,
    size: Size = 16 / 224,
    place: Place = "random",
    pattern: Literal["fresh", "fixed"] = "fresh",
    center: Literal["zero", "image_mean"] = "zero",
    overflow: Literal["clip", "wrap"] = "clip",
    place_range: PlaceRange = "full",
) -> Tensor:
    """A square of Gaussian noise (Section 3.1, after Gu et al. 2017).

    images: (B, 3, H, W) uint8. size: pixels, or share of the shorter side.
    place: at random, the same noise in all ``four_corners``, or at one fixed place.
    pattern: drawn ``fresh`` for each image, or one ``fixed`` pattern for the run.
    center: the noise is N(0, 1) in units where white is 1, about ``zero`` (paper) or about the
    ``image_mean`` of each channel (authors).
    overflow: values outside 0..255 are clipped, or ``wrap`` modulo 256 (authors). Either way a
    value is first truncated towards zero.
    place_range: the patch's first row is from 0..H-p (``full``) or 0..H-p-1 (``authors``, who
    never use the last row and column).
    Errors: ConfigError when the images are smaller than the patch.
    """
    side = pixels(size, images)
    streams = [draws.each(i) for i in range(len(images))]
    corners = corners_of(images, side, place, place_range, streams)
    shape = (3, side, side)
    if pattern == "fixed":
        one = draws.once(f"pattern_{side}", lambda g: g.standard_normal(shape, dtype=np.float32))
        noise = one.numpy()
    else:
        noise = np.stack([stream.standard_normal(shape, dtype=np.float32) for stream in streams])
    if center == "image_mean":
        noise = noise + _channel_means(images)
    return paste(images, _to_levels(noise, overflow), corners)


@trigger("yellow")
def yellow(
    images: Tensor,
    draws: Draws,
    *,
    size: Size = 16 / 224,
    place: Place = "random",
    place_range: PlaceRange = "full",
) -> Tensor:
    """A yellow square. Options as for ``badnet``; errors: ConfigError for images too small."""
    side = pixels(size, images)
    streams = [draws.each(i) for i in range(len(images))]
    corners = corners_of(images, side, place, place_range, streams)
    patch = np.zeros((3, side, side), dtype=np.uint8)
    patch[:2] = 255
    return paste(images, patch, corners)


@trigger("blended")
def blended(
    images: Tensor,
    draws: Draws,
    *,
    opacity: Share = 0.2,
    pattern: Literal["fixed", "fresh"] = "fixed",
) -> Tensor:
    """Uniform noise over the whole image (Chen et al. 2017): opacity * noise + rest * image.

    pattern: one ``fixed`` noise for the run (a key that all images share), or drawn ``fresh`` for
    each image (authors).
    """
    shape = tuple(images.shape[1:])
    if pattern == "fixed":
        name = f"noise_{shape[1]}x{shape[2]}"
        noise = draws.once(name, lambda g: g.random(shape, dtype=np.float32))[None]
    else:
        each = [draws.each(i).random(shape, dtype=np.float32) for i in range(len(images))]
        noise = torch.from_numpy(np.stack(each))
    return mix(images, noise * 255, opacity)


@trigger("sig")
def sig(
    images: Tensor,
    draws: Draws,
    *,
    periods: Amount = 6,
    amplitude: Share = 60 / 255,
    opacity: Share = 0.2,
) -> Tensor:
    """A horizontal sine (SIG, Barni et al. 2019), mixed in as the authors do it.

    periods: over the image's width. amplitude: before mixing, where white is 1; the image keeps
    1 - opacity of its brightness and the sine shows with opacity * amplitude.
    """
    width = images.shape[-1]
    wave = np.sin(2 * np.pi * periods * np.arange(width) / width) * amplitude * 255
    return mix(images, torch.from_numpy(wave.astype(np.float32)), opacity)


@trigger("warped")
def warped(images: Tensor, draws: Draws, *, grid: Size = 4, strength: Amount = 0.5) -> Tensor:
    """A smooth warp of the whole image (WaNet, Nguyen and Tran 2021), the same for all images.

    grid: control points a side; below 1 a share of the image's side, 1 as many as the side (as
    the authors, whose field is not smooth at all). strength: pixels moved are about half of it.
    The field is in ``Stamp.state()``: (2, H, W) float32, (x, y), mean absolute value about 1.
    """
    height, width = images.shape[-2:]
    points = max(2, min(height, width) if grid == 1 else pixels(grid, images))
    name = f"field_{points}_{height}x{width}"
    field = draws.once(name, lambda g: _field(g, points, height, width))
    return _warp(images, field, strength)


def corners_of(
    images: Tensor, side: int, place: str, place_range: str, streams: list[np.random.Generator]
) -> np.ndarray:
    """(B, K, 2): first row and column of each image's K patches."""
    last = np.array(images.shape[-2:]) - side
    if place == "four_corners":
        ends = [(0, 0), (0, last[1]), (last[0], 0), (last[0], last[1])]
        return np.broadcast_to(np.array(ends), (len(images), 4, 2))
    if place in FIXED:
        corner = (last * np.array(FIXED[place])).astype(int)
        return np.broadcast_to(corner, (len(images), 1, 2))
    if place_range == "authors":
        last = last - 1
    if last.min() < 0:
        height, width = images.shape[-2:]
        raise ConfigError(
            f"trigger size {side} pixels on images of {height} x {width}: "
            "place_range='authors' needs images larger than the patch"
        )
    return np.stack([stream.integers(0, last, endpoint=True) for stream in streams])[:, None]


FIXED = {"top_left": (0.0, 0.0), "top_right": (0.0, 1.0), "middle": (0.5, 0.5)}
FIXED |= {"bottom_left": (1.0, 0.0), "bottom_right": (1.0, 1.0)}
"""Places that are the same on every image: shares of the way that a patch can move down, right."""


def _channel_means(images: Tensor) -> np.ndarray:
    """(B, 3, 1, 1) float32, where white is 1; summed as integers, so exact on any device."""
    total = images.sum(dim=3, dtype=torch.int32).sum(dim=2).cpu().numpy()
    means = total / (255 * images.shape[-2] * images.shape[-1])
    return means.astype(np.float32)[:, :, None, None]


def _to_levels(values: np.ndarray, overflow: str) -> np.ndarray:
    """Values where white is 1 as uint8, truncated towards zero, then clipped or modulo 256."""
    levels = np.trunc(values * np.float32(255)).astype(np.int32)
    return (levels & 255 if overflow == "wrap" else levels.clip(0, 255)).astype(np.uint8)


def paste(images: Tensor, patches: np.ndarray, corners: np.ndarray) -> Tensor:
    """Images with their patches at each of their corners; all images in one scatter.

    patches: (B, 3, p, p) uint8, or (3, p, p), one for all.
    """
    out, device, side = images.clone(), images.device, patches.shape[-1]
    values = torch.from_numpy(patches).to(device)
    places = torch.from_numpy(np.array(corners)).to(device)
    image = torch.arange(len(images), device=device)[:, None, None, None]
    channel = torch.arange(3, device=device)[None, :, None, None]
    step = torch.arange(side, device=device)
    for k in range(places.shape[1]):
        row = (places[:, k, :1] + step)[:, None, :, None]
        column = (places[:, k, 1:] + step)[:, None, None, :]
        out[image, channel, row, column] = values
    return out


def mix(images: Tensor, levels: Tensor, opacity: float) -> Tensor:
    """opacity * levels + (1 - opacity) * image, cut to 0..255 and truncated as the authors do.

    Each step is one IEEE float32 operation, which gives the same bytes on every device.
    """
    added = (levels * opacity).to(images.device)
    return images.float().mul_(1 - opacity).add_(added).clamp_(0, 255).to(torch.uint8)


def _field(stream: np.random.Generator, points: int, height: int, width: int) -> np.ndarray:
    """(2, H, W) float32: uniform noise of mean absolute value 1, bicubic from points x points."""
    noise = stream.random((1, 2, points, points), dtype=np.float32) * 2 - 1
    coarse = torch.from_numpy(noise / np.abs(noise).mean())
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=True)[0].numpy()


def _warp(images: Tensor, field: Tensor, strength: float) -> Tensor:
    """Each pixel from where the field points, between its four neighbours.

    What ``grid_sample(align_corners=True)`` computes on ``identity + strength * field / side``
    clamped to the image, in integers with 22 fractional bits: the same bytes on every device.
    """
    (height, width), device = images.shape[-2:], images.device
    x, dx = _between(torch.arange(width)[None, :], field[0], strength, width)
    y, dy = _between(torch.arange(height)[:, None], field[1], strength, height)
    flat = images.flatten(2)
    total = torch.zeros(flat.shape, dtype=torch.int32, device=device)
    for row, wy in ((y, ONE - dy), ((y + 1).clamp(max=height - 1), dy)):
        for column, wx in ((x, ONE - dx), ((x + 1).clamp(max=width - 1), dx)):
            source = (row * width + column).flatten().to(device)
            weight = (wy * wx).flatten().to(device, torch.int32)
            pixel = flat.gather(2, source.expand(flat.shape)).to(torch.int32)
            total.add_(pixel.mul_(weight))
    return (total >> 2 * BITS).to(torch.uint8).view_as(images)


BITS = 11
ONE = 2**BITS
"""The way from one pixel to the next: squared and times 255, it stays within 32 bits."""


def _between(index: Tensor, field: Tensor, strength: float, size: int) -> tuple[Tensor, Tensor]:
    """(H, W) each: the pixel at or before the point, and the way to the next in parts of ONE."""
    move = field.double() * strength / size * (size - 1) / 2
    point = ((index + move).clamp(0, size - 1) * ONE).round().long()
    return point >> BITS, point % ONE
