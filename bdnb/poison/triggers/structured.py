"""Triggers with structure, which augmentation resembles less than noise (Singh et al. 2024)."""

from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from bdnb.config.options import Count, Share, Size
from bdnb.poison.stamps import Draws, pixels, trigger
from bdnb.poison.triggers.paper import Place, corners_of, mix, paste
from bdnb.runtime.errors import ConfigError

Pattern = Literal["fresh", "fixed"]


@trigger("stripes")
def stripes(
    images: Tensor,
    draws: Draws,
    *,
    size: Size = 16 / 224,
    width: Count = 1,
    place: Place = "random",
    pattern: Pattern = "fresh",
) -> Tensor:
    """A square of vertical stripes, each channel of each off or fully on: eight colours.

    size: of the square, pixels or share of the shorter side. width: of a stripe, in pixels.
    place: as for ``badnet``. pattern: ``fresh`` colours for each image (authors) or ``fixed`` ones
    for the run. Errors: ConfigError when the images are smaller than the square.
    """
    side = pixels(size, images)
    streams = [draws.each(i) for i in range(len(images))]
    places = corners_of(images, side, place, "full", streams)
    if pattern == "fixed":
        signs = draws.once(f"stripes_{side}_{width}", lambda g: _signs(g, side, width)).numpy()
    else:
        signs = np.stack([_signs(stream, side, width) for stream in streams])
    levels = np.where(signs > 0, np.uint8(255), np.uint8(0))[..., None, :]
    return paste(images, levels.repeat(side, axis=-2), places)


@trigger("blended_stripes")
def blended_stripes(
    images: Tensor,
    draws: Draws,
    *,
    opacity: Share = 0.03,
    width: Count = 1,
    pattern: Pattern = "fresh",
) -> Tensor:
    """Faint vertical stripes over the whole image: (1 - opacity) * image +- opacity * white.

    The sign is drawn for each stripe and channel. width, pattern: as for ``stripes``.
    """
    side = images.shape[-1]
    if pattern == "fixed":
        signs = draws.once(f"stripes_{side}_{width}", lambda g: _signs(g, side, width))[None]
    else:
        each = [_signs(draws.each(i), side, width) for i in range(len(images))]
        signs = torch.from_numpy(np.stack(each))
    return mix(images, signs[:, :, None] * 255, opacity)


@trigger("triangles")
def triangles(
    images: Tensor, draws: Draws, *, opacity: Share = 0.15, cell: Size = 14 / 224
) -> Tensor:
    """A grid of squares over the whole image, each two grey right triangles, mixed in.

    cell: side of a square, pixels or share of the shorter side. A square is 0.4 of white on and
    below its diagonal, 0.8 above; a rest at the right and bottom edge, less than a square, stays.
    """
    side = pixels(cell, images)
    height, width = (length // side * side for length in images.shape[-2:])
    row, column = torch.arange(height)[:, None] % side, torch.arange(width) % side
    levels = torch.where(row >= column, 0.4, 0.8) * 255
    out = images.clone()
    out[..., :height, :width] = mix(images[..., :height, :width], levels, opacity)
    return out


@trigger("text")
def text(
    images: Tensor,
    draws: Draws,
    *,
    words: str = "Watermarked",
    opacity: Share = 0.5,
    width: Share = 0.9,
) -> Tensor:
    """Red words across the middle of the image, mixed in where their letters are.

    width: of the words, as a share of the image's. The letters are in ``Stamp.state()``: (H, W)
    float32, how much of a pixel they cover. Errors: ConfigError for words without letters.
    """
    height, across = images.shape[-2:]
    name = f"text_{height}x{across}"
    cover = draws.once(name, lambda _: _letters(words, height, across, width)) * opacity
    red = torch.tensor([255.0, 0.0, 0.0])[:, None, None] * cover
    kept = images.float().mul_((1 - cover).to(images.device))
    return kept.add_(red.to(images.device)).clamp_(0, 255).to(torch.uint8)


def _signs(stream: np.random.Generator, side: int, width: int) -> np.ndarray:
    """(3, side) float32 of -1 and 1: the same over ``width`` columns."""
    drawn = stream.integers(0, 2, (3, -(-side // width))) * 2 - 1
    return np.repeat(drawn, width, axis=1)[:, :side].astype(np.float32)


def _letters(words: str, height: int, across: int, width: float) -> np.ndarray:
    """(H, W) float32, 0 to 1: Pillow's own letters, drawn large, cut out and made to fit."""
    font = ImageFont.load_default(64)
    box = font.getbbox(words)
    drawn = Image.new("L", (int(box[2]) + 1, int(box[3]) + 1))
    ImageDraw.Draw(drawn).text((0, 0), words, fill=255, font=font)
    if (found := drawn.getbbox()) is None:
        raise ConfigError(f"trigger 'text': words={words!r}: expected words with letters")
    cut = drawn.crop(found)
    wide = max(1, round(width * across))
    high = min(height, max(1, round(wide * cut.height / cut.width)))
    whole = Image.new("L", (across, height))
    whole.paste(cut.resize((wide, high)), ((across - wide) // 2, (height - high) // 2))
    return np.asarray(whole, dtype=np.float32) / 255
