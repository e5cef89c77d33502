"""Images side by side: uint8 images with their captions or titles in, a Matplotlib figure out."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bdnb.report.style import RED


def gallery(images: ArrayLike, captions: Sequence[str], backdoor_captions: Sequence[str]) -> Figure:
    """Poisoned images between their true caption and the attacker's (the paper's Figure 16).

    images: (N, 3, H, W) uint8.
    """
    figure, cells = _cells(images, 4, width=2.3, height=3.1)
    for axes, caption, backdoor in zip(cells, captions, backdoor_captions, strict=True):
        plain: dict[str, Any] = {"size": 10, "loc": "left", "parse_math": False}  # $ is a dollar
        axes.set_title(textwrap.fill(f"true: {caption}", 28), **plain)
        axes.set_xlabel(textwrap.fill(f"backdoor: {backdoor}", 28), color=RED, **plain)
    return figure


def contact_sheet(
    images: ArrayLike, titles: Sequence[str] = (), columns: int = 8, rows: Sequence[str] = ()
) -> Figure:
    """Images side by side, each under its title if there is one. images: (N, 3, H, W) uint8.

    rows: what stands to the left of each row.
    """
    figure, cells = _cells(images, columns, width=1.25, height=1.6 if titles else 1.3)
    for axes, title in zip(cells, titles, strict=False):
        axes.set_title(textwrap.fill(title, 15), size=10)
    for axes, words in zip(cells[::columns], rows, strict=False):
        axes.set_ylabel(words, rotation=0, ha="right", va="center", size=11)
    return figure


def trigger_gallery(images: Mapping[str, np.ndarray]) -> Figure:
    """Every trigger on the same images, a row each. images: name -> (N, 3, H, W) uint8."""
    count = len(next(iter(images.values())))
    return contact_sheet(np.concatenate(list(images.values())), columns=count, rows=list(images))


def _cells(
    images: ArrayLike, columns: int, *, width: float, height: float
) -> tuple[Figure, list[Axes]]:
    """A grid with an image in each cell. width, height: of a cell, in inches."""
    pixels = np.asarray(images).transpose(0, 2, 3, 1)
    columns = min(columns, len(pixels))
    rows = -(-len(pixels) // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes, image in zip(cells, pixels, strict=False):
        axes.imshow(image, interpolation="none")
    for axes in cells:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    return figure, cells[: len(pixels)]
