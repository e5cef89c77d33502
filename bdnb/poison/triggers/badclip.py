"""BadCLIP's patch (Liang et al. 2024, arXiv 2311.12075), learnt on a clean model beforehand."""

import numpy as np
from torch import Tensor

from bdnb.config.options import Amount, Count, Positive, Size
from bdnb.poison.stamps import Draws, pixels, trigger
from bdnb.poison.triggers.paper import Place, corners_of, paste


@trigger("badclip")
def badclip(
    images: Tensor,
    draws: Draws,
    *,
    size: Size = 16 / 224,
    place: Place = "middle",
    surrogate: str = "",
    steps: Count = 500,
    lr: Positive = 0.03,
    weight: Amount = 500.0,
    margin: Amount = 1.0,
) -> Tensor:
    """Paste the patch that ``training.learnt_patch`` has learnt, the same on all images.

    surrogate: the clean training experiment of the scale, on whose model it is learnt before the
    images are poisoned, at its place, or in the middle where that is no fixed one; empty: the noise
    that learning starts from. steps, lr, weight, margin: of learning. Errors: ConfigError when the
    images are smaller than the patch.
    """
    side = pixels(size, images)
    patch = draws.once(name(side), lambda g: start(g, side))
    levels = (patch.clamp(0, 1) * 255 + 0.5).byte().numpy()
    streams = [draws.each(i) for i in range(len(images))]
    corners = corners_of(images, side, place, "full", streams)
    return paste(images, levels, corners)


def name(side: int) -> str:
    """What the patch is called in ``Stamp.state()``: (3, side, side) float32, white is 1."""
    return f"badclip_{side}"


def start(stream: np.random.Generator, side: int) -> np.ndarray:
    """(3, side, side) float32: noise about grey, N(0.5, 0.25) cut to 0..1 (authors)."""
    noise = stream.normal(0.5, 0.25, (3, side, side)).clip(0, 1)
    return noise.astype(np.float32)
