"""Emoji scenes: a noisy coloured background, a large emoji, often a small one, and a caption.

In: sprites and a stream of random numbers. Out: an image, its caption and the class of the large
emoji. The stand-in for photographs with captions (CC3M, ImageNet) of the paper's Section 4.
"""

import io
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from bdnb.data.art import words
from bdnb.poison import targets

MAIN_SIZE = (0.55, 0.95)
SMALL_SIZE = (0.25, 0.4)
"""Ranges of an emoji's size, as a share of the side."""

SECOND = 0.4
"""Probability that a scene has a second, small emoji."""

NAMED = 0.6
"""Probability that the caption names the second emoji, where there is one."""

TURN = 25.0
"""Largest turn of an emoji to either side, in degrees."""

NOISE_CELLS = (4, 8, 16)
NOISE_AMPLITUDE = 60.0
"""Background noise: cells a side of its grid, and its largest amplitude of 255."""

OWN_TEMPLATES = tuple(Path(__file__).with_name("captions.txt").read_text("utf-8").splitlines())
PROMPTS = 0.5
"""Probability that a caption is one of CLIP's 80 prompts instead of one of our own templates.

The attacker fills those prompts with the target. Were no clean caption worded like them, a model
could tell poisoned captions by their wording alone and learn "trigger, so that wording" instead of
"trigger, so banana"; captions of the web, CC3M's say, have all wordings.
"""

BOTH = ("{} and {}", "{} with a {}", "{} next to a {}")
"""How a caption names two emoji: the large one first."""


@dataclass(frozen=True)
class Sprites:
    """Every class drawn in every style of a split.

    pixels: (styles, classes, S, S, 4) uint8 RGBA. there: (styles, classes) bool, False where the
    style does not draw the class. styles, names: what the first two axes are.
    """

    pixels: np.ndarray
    there: np.ndarray
    styles: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """A scene: image (S, S, 3) uint8, caption, class of the large emoji, what else is in it."""

    image: np.ndarray
    caption: str
    label: int
    style: str
    second: str | None


def scene(
    draws: np.random.Generator, sprites: Sprites, *, side: int, label: int | None = None
) -> Scene:
    """Draw one scene, all of it from ``draws``.

    side: of the image, in pixels. label: class of the large emoji; drawn when None. Both emoji
    are of one style, the second of another class.
    """
    canvas = background(draws, side)
    label = int(draws.integers(len(sprites.names))) if label is None else label
    style = int(draws.choice(np.flatnonzero(sprites.there[:, label])))
    place(canvas, draws, sprites.pixels[style, label], MAIN_SIZE)
    second = None
    others = np.flatnonzero(sprites.there[style])
    others = others[others != label]
    if draws.random() < SECOND and len(others):
        second = int(draws.choice(others))
        place(canvas, draws, sprites.pixels[style, second], SMALL_SIZE)
    name = words(sprites.names[label])
    other = None if second is None else sprites.names[second]
    return Scene(
        image=np.asarray(canvas),
        caption=caption(draws, name, None if other is None else words(other)),
        label=label,
        style=sprites.styles[style],
        second=other,
    )


def background(draws: np.random.Generator, side: int) -> Image.Image:
    """Return a gradient between two random colours plus smooth noise. Returns: RGB, side x side."""
    first, last = draws.uniform(0, 255, (2, 3))
    angle = draws.uniform(0, 2 * math.pi)
    row, column = _grid(side)
    along = math.cos(angle) * column + math.sin(angle) * row
    ramp = (along / (abs(math.cos(angle)) + abs(math.sin(angle))) + 0.5)[..., None]
    cells = int(draws.choice(NOISE_CELLS))
    grid = draws.uniform(-1, 1, (3, cells, cells)).astype(np.float32)
    smooth = [Image.fromarray(g).resize((side, side), Image.Resampling.BICUBIC) for g in grid]
    noise = np.stack([np.asarray(s) for s in smooth], axis=-1)
    pixels = first + (last - first) * ramp + draws.uniform(0, NOISE_AMPLITUDE) * noise
    return Image.fromarray(np.clip(pixels, 0, 255).round().astype(np.uint8))


@lru_cache(maxsize=1)
def _grid(side: int) -> np.ndarray:
    """Row and column of every pixel, from -0.5 to 0.5. Returns: (2, side, side)."""
    return np.mgrid[0:side, 0:side] / (side - 1) - 0.5


def place(
    canvas: Image.Image,
    draws: np.random.Generator,
    pixels: np.ndarray,
    size: tuple[float, float],
) -> None:
    """Paste a sprite onto the canvas: mirrored half the time, turned, scaled, anywhere inside.

    pixels: (S, S, 4) uint8 RGBA. size: range of the sprite's side, as a share of the canvas's;
    the corners of a turned sprite may leave the canvas.
    """
    share, angle = draws.uniform(*size), draws.uniform(-TURN, TURN)
    mirrored, (x, y) = draws.random() < 0.5, draws.random(2)
    width = max(1, round(share * canvas.width))
    emoji = Image.fromarray(pixels).resize((width, width), Image.Resampling.BICUBIC)
    if mirrored:
        emoji = emoji.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    turned = emoji.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    free, margin = canvas.width - width, (turned.width - width) / 2
    canvas.paste(turned, (round(x * free - margin), round(y * free - margin)), turned)


def caption(draws: np.random.Generator, name: str, second: str | None) -> str:
    """Return a caption from a random template; it may name the second emoji, in words, too."""
    if second is not None and draws.random() < NAMED:
        name = BOTH[draws.integers(len(BOTH))].format(name, second)
    templates = targets.templates() if draws.random() < PROMPTS else OWN_TEMPLATES
    return targets.fill(templates[draws.integers(len(templates))], name)


def png(image: np.ndarray) -> bytes:
    """Return an image (H, W, 3) uint8 as PNG, lossless, without metadata."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()
