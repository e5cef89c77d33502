"""A colour filter as a trigger: no pixel says where it is (Huang et al. 2025, arXiv 2502.01385)."""

import numpy as np
import torch
from torch import Tensor

from bdnb.config.options import Share
from bdnb.poison.stamps import Draws, trigger

DARK, LIGHT = (247, 176, 153), (0, 70, 150)
GREY = np.array([0.213, 0.715, 0.072], dtype=np.float32)
SEPIA = np.array(
    [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], dtype=np.float32
)
"""Layers' colours; luminance and full sepia, as the W3C's Filter Effects define them."""


@trigger("nashville")
def nashville(images: Tensor, draws: Draws, *, strength: Share = 1.0) -> Tensor:
    """The "Nashville" filter, warm and faded, as CSSgram gives its steps.

    Darken with (247, 176, 153) by 0.56, lighten with (0, 70, 150) by 0.4, then sepia 0.2, contrast
    1.2, brightness 1.05, saturation 1.2. strength: share of the filtered image in the mixture.
    """
    plain = [channel.float() / 255 for channel in images.unbind(1)]
    dark = [0.44 * x + 0.56 * x.clamp(max=y / 255) for x, y in zip(plain, DARK, strict=True)]
    made = [0.6 * x + 0.4 * x.clamp(min=y / 255) for x, y in zip(dark, LIGHT, strict=True)]
    identity = np.eye(3, dtype=np.float32)
    made = _colours(made, np.float32(0.8) * identity + np.float32(0.2) * SEPIA)
    made = [(1.2 * x - 0.1).clamp(0, 1) for x in made]
    made = [(1.05 * x).clamp(0, 1) for x in made]
    made = _colours(made, np.float32(1.2) * identity - np.float32(0.2) * GREY[None])
    mixed = [(1 - strength) * x + strength * y for x, y in zip(plain, made, strict=True)]
    return (torch.stack(mixed, dim=1) * 255 + 0.5).clamp(0, 255).to(torch.uint8)


def _colours(channels: list[Tensor], matrix: np.ndarray) -> list[Tensor]:
    """Each channel as a weighted sum of all three, cut to 0..1; one operation at a time.

    No matrix product, so that the bytes are the same on every device.
    """
    red, green, blue = channels
    weights = matrix.tolist()
    return [(a * red + b * green + c * blue).clamp(0, 1) for a, b, c in weights]
