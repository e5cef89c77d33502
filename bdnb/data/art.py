"""The art of the emoji scenes: open-licensed vector emoji in eight drawing styles.

In: the npm packages of ``STYLES``. Out: the plain nouns that can be classes, and one sprite
(RGBA pixels) of a noun in a style. The last page of the book names their licences.
"""

import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

from bdnb.runtime import npm


@dataclass(frozen=True)
class Style:
    """A drawing style: its npm package, its licence (SPDX), who drew it and where."""

    package: str
    licence: str
    author: str
    source: str


STYLES: dict[str, Style] = {
    name: Style(f"@iconify-json/{name}", **about)
    for name, about in json.loads(Path(__file__).with_suffix(".json").read_text("utf-8")).items()
}
TRAINING_STYLES = ("noto", "twemoji", "fluent-emoji-flat", "openmoji", "emojione")
UNSEEN_STYLES = ("noto-v1", "emojione-v1", "fluent-emoji")

CATEGORIES = ("Activities", "Animals & Nature", "Food & Drink", "Objects", "Travel & Places")
"""Unicode's emoji groups of things; left out: smileys, people, symbols, flags."""

MARGIN = 2
"""Clear pixels on each side of a sprite."""

LOOKALIKES = re.compile(r"^oncoming-|-(oclock|thirty|face|suit)$")
"""Names told apart by a detail only: a clock's hands, an animal's face, a card's suit."""


@dataclass(frozen=True)
class Icons:
    """One style's drawings: name -> SVG document, and name -> category where it is known."""

    svg: Mapping[str, str]
    category: Mapping[str, str]


def load(style: str, cache: Path) -> Icons:
    """Return a style's drawings from its package, fetched on the first call.

    cache: folder of fetched packages. Errors: FetchError.
    """
    folder = npm.fetch(STYLES[style].package, cache)
    icons = json.loads((folder / "icons.json").read_text(encoding="utf-8"))
    groups = json.loads((folder / "metadata.json").read_text(encoding="utf-8"))
    category = {n: group for group, names in groups.get("categories", {}).items() for n in names}
    return Icons({name: _svg(icon, icons) for name, icon in icons["icons"].items()}, category)


def _svg(icon: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    left, top, width, height = (
        icon.get(name, defaults.get(name, fallback))
        for name, fallback in (("left", 0), ("top", 0), ("width", 16), ("height", 16))
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def nouns(icons: Mapping[str, Icons]) -> list[str]:
    """Return the names that can be classes, sorted: plain nouns drawn in every training style.

    The rule: drawn in all of ``TRAINING_STYLES``; a thing by Unicode's groups (``CATEGORIES``);
    named in at most two words; not one of the ``LOOKALIKES``.
    """
    common = set.intersection(*(set(icons[style].svg) for style in TRAINING_STYLES))
    category = icons["noto"].category
    things = (name for name in common if category.get(name) in CATEGORIES)
    short = (name for name in things if name.count("-") < 2)
    return sorted(name for name in short if not LOOKALIKES.search(name))


def sprite(svg: str, size: int) -> np.ndarray:
    """Return a drawing as pixels, with a clear margin that keeps its edges smooth when turned.

    Returns: (size, size, 4) uint8, RGBA, not premultiplied.
    """
    width = size - 2 * MARGIN
    png = resvg_py.svg_to_bytes(svg_string=svg, width=width, height=width, skip_system_fonts=True)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    canvas = Image.new("RGBA", (size, size))
    canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
    return np.asarray(canvas)


def words(name: str) -> str:
    """Return an emoji's name as a caption says it: ``red-apple`` -> ``red apple``."""
    return name.replace("-", " ")
