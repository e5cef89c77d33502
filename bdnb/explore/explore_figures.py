"""Figures to explore with: one run's way, two runs side by side, what models say of a picture.

Tidy rows, images and answers in, a Matplotlib figure out, in the marks and colours of ``figures``.
"""

import base64
import textwrap
from collections.abc import Mapping, Sequence
from html import escape
from io import BytesIO

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from bdnb.analysis.metrics import CLEANED
from bdnb.evaluate.predictions import Said
from bdnb.report.figures import ACCURACY, ASR, COLOURS, MARKERS, RED, draw_way, mark_start
from bdnb.runs.elsewhere import NOT_MEASURED


def html(figure: Figure, alt: str) -> str:
    """A figure as an HTML image, SVG inside, with a text for those who do not see it."""
    file = BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    source = base64.b64encode(file.getvalue()).decode()
    style = "max-width: 100%; background: white"
    return f'<img style="{style}" alt="{escape(alt)}" src="data:image/svg+xml;base64,{source}">'


def way(rows: pd.DataFrame, epoch: int) -> Figure:
    """One run: its way through the plane of ASR and accuracy, and both over the epochs.

    rows: a line an epoch of one run, columns epoch, accuracy, asr (percent). epoch: gets a ring.
    """
    return versus({"": rows}, epoch)


def versus(runs: dict[str, pd.DataFrame], epoch: int | None = None) -> Figure:
    """Runs by label: their ways on shared axes, and accuracy and ASR over the epochs."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    plane, curves = figure.subplots(1, 2)
    last = max(int(rows["epoch"].max()) for rows in runs.values())
    for i, (label, rows) in enumerate(runs.items()):
        known = rows.dropna(subset=["accuracy"]).sort_values("epoch")
        some = known.dropna(subset=["asr"])
        # Two runs may begin at one model; the narrower mark then shows the wider one.
        mark_start(plane, some[some["epoch"] == 0])
        draw_way(plane, some, COLOURS[i], MARKERS[i], max(last, 1))
        both = (("accuracy", "-", "accuracy"), ("asr", "--", "attack success rate"))
        for column, line, words in both:
            look = {"color": COLOURS[i], "marker": MARKERS[i], "ls": line, "ms": 5}
            curves.plot(known["epoch"], known[column], label=f"{label} {words}".strip(), **look)
        if epoch is not None:
            _ring(plane, curves, known[known["epoch"] == epoch])
    plane.axvline(CLEANED, color="0.25", ls="--", lw=1.2)
    plane.set(xlabel=ASR, ylabel=ACCURACY, xlim=(-4, 104))
    plane.margins(y=0.15)
    plane.set_title("the star is epoch 0; marks grow with the epoch", loc="left", size=11)
    curves.set(xlabel="epoch", ylabel="percent of test images", ylim=(-3, 103))
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(handles=curves.lines[: 2 * len(runs)], loc="outside lower center", ncols=2)
    return figure


def _ring(plane: Axes, curves: Axes, row: pd.DataFrame) -> None:
    plane.scatter(row["asr"], row["accuracy"], s=220, fc="none", ec="black", lw=2, zorder=6)
    for column in ("accuracy", "asr"):
        curves.scatter(row["epoch"], row[column], s=120, fc="none", ec="black", lw=2, zorder=6)
    curves.axvline(float(row["epoch"].mean()), color="0.6", lw=1)
    if len(row):
        asr = row["asr"].iloc[0]
        told = NOT_MEASURED if pd.isna(asr) else f"ASR {asr:.1f} %"
        values = f"accuracy {row['accuracy'].iloc[0]:.1f} %, {told}"
        curves.set_title(f"epoch {row['epoch'].iloc[0]}: {values}", loc="left", size=11)


def says(
    pictures: dict[str, np.ndarray],
    said: Mapping[str, Sequence[Said]],
    *,
    target: str = "",
    truth: str = "",
) -> Figure:
    """Each picture, and beside it the nearest classes of each model as bars.

    pictures: title -> (3, H, W) uint8. said: model -> its classes of each picture, in percent.
    target: its bar is red and hatched; truth: its bar is marked with a tick.
    """
    columns, count = 1 + len(said), len(pictures)
    figure = Figure(figsize=(2.6 + 3.7 * len(said), 2.5 * count), layout="constrained")
    ratios = [1.6, *[2.0] * len(said)]
    cells = figure.subplots(count, columns, squeeze=False, width_ratios=ratios)
    for row, (title, pixels) in zip(cells, pictures.items(), strict=True):
        row[0].imshow(pixels.transpose(1, 2, 0), interpolation="none")
        row[0].set(xticks=[], yticks=[])
        row[0].set_title(textwrap.fill(title, 30), size=10, loc="left")
    for j, (model, answers) in enumerate(said.items(), 1):
        for i, answer in enumerate(answers):
            _bars(cells[i][j], answer, target, truth)
            if i == 0:
                cells[i][j].set_title(textwrap.fill(model, 44), size=10, loc="left")
    for cell in cells[-1][1:]:
        cell.set_xlabel("share of the softmax (%)", size=10)
    return figure


def _bars(axes: Axes, answer: Said, target: str, truth: str) -> None:
    names, shares = zip(*answer, strict=True)
    places = np.arange(len(names))
    bars = axes.barh(places, shares, color=COLOURS[0], height=0.62)
    for bar, name, share in zip(bars, names, shares, strict=True):
        if name == target:
            bar.set(facecolor=RED, hatch="//", edgecolor="white")
        axes.text(share + 1.5, bar.get_y() + 0.31, f"{share:.1f}", va="center", size=9)
    shown = [f"✓ {name}" * (name == truth) or name for name in names]
    axes.set_yticks(places, shown, size=9)
    axes.set(xlim=(0, 115), xticks=range(0, 101, 25))
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def retrieved(rows: Mapping[str, tuple[np.ndarray, Sequence[str]]], title: str) -> Figure:
    """For each model a row of the images it found, nearest first, each under its words.

    rows: model -> (K, 3, H, W) uint8 and K texts.
    """
    columns = max(len(words) for _, words in rows.values())
    figure = Figure(figsize=(1.35 * columns, 2.1 * len(rows) + 0.4), layout="constrained")
    figure.suptitle(title, size=11)
    parts = figure.subfigures(len(rows), 1, squeeze=False).flatten()
    for part, (model, (images, words)) in zip(parts, rows.items(), strict=True):
        part.suptitle(model, size=10, x=0.01, ha="left")
        cells = part.subplots(1, columns, squeeze=False)[0]
        for axes, image, text in zip(cells, images, words, strict=False):
            axes.imshow(image.transpose(1, 2, 0), interpolation="none")
            axes.set_title(textwrap.fill(text, 16), size=8)
        for axes in cells:
            axes.set_axis_off()
    return figure
