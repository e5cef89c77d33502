"""The figure that a reader changes in the page: rows in, one piece of HTML with its script out.

No kernel, library or network: the rows go along as JSON, and ``interactive_figure.js`` draws
them as SVG and finds
the best accuracy at ASR <= t as ``conclusions`` does. Works in the book and in JupyterLab alike.
"""

import json
import math
from collections.abc import Sequence
from hashlib import blake2b
from html import escape
from importlib.resources import files
from typing import Any

import pandas as pd
from IPython.display import HTML
from matplotlib.colors import to_hex
from scipy.special import stdtrit

from bdnb.analysis.metrics import CLEANED
from bdnb.report.style import ACCURACY, ASR, COLOURS, MARKERS, NAMES, RED, short
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError

COLUMNS = ("run", "pretrain_objective", "loss", "lr", "seed", "epoch", "accuracy", "asr")
LOSSES = ("mmcl_ssl", "mmcl", "ssl")
"""In the order that gives each loss its colour and shape in every figure."""


def explorer(rows: pd.DataFrame, *, colour: str = "loss", ways: bool = False) -> HTML:
    """Accuracy against ASR, with controls for threshold, objective, loss, learning rate and seed.

    rows: a line an epoch of a cleaning run, epoch 0 included, with columns run,
    pretrain_objective, loss, lr, seed, epoch, accuracy, asr (percent). colour: "loss" or "lr",
    which colours and shapes tell apart at first. ways: join each run's epochs at first.
    Errors: ConfigError for missing columns, no rows, or another colour.
    """
    missing = [name for name in COLUMNS if name not in rows]
    if missing or rows.empty:
        raise ConfigError(f"rows for the live figure: expected lines with {', '.join(COLUMNS)}")
    if colour not in ("loss", "lr"):
        raise ConfigError(f"colour={colour!r}: expected loss or lr")
    if elsewhere.unmeasured(rows):
        return HTML(f"<p>{elsewhere.NOT_MEASURED}, so there is nothing to draw against it.</p>")
    given = json.dumps(_content(rows, colour, ways), ensure_ascii=False).replace("</", r"<\/")
    name = "bdnb-live-" + blake2b(given.encode(), digest_size=5).hexdigest()
    script = files("bdnb").joinpath("report/interactive_figure.js").read_text(encoding="utf-8")
    style = files("bdnb").joinpath("report/interactive_figure.css").read_text(encoding="utf-8")
    return HTML(
        f'<style>\n{style}</style>\n<div class="bdnb-live" id="{escape(name)}">'
        "<noscript>This figure is drawn by a script; the figures above it are not.</noscript>"
        f'<script type="application/json">{given}</script></div>\n'
        f"<script>\n{script}\nbdnbLive({json.dumps(name)});\n</script>"
    )


def _content(rows: pd.DataFrame, colour: str, ways: bool) -> dict[str, Any]:
    """What the script needs: the points in columns, the values of each control, how they look."""
    points = rows.drop_duplicates(["run", "epoch", "pretrain_objective"])
    points = points[points["accuracy"].notna() & points["asr"].notna()][list(COLUMNS)]
    points = points.sort_values(["pretrain_objective", "run", "epoch"], kind="stable")
    losses = [name for name in LOSSES if name in set(points["loss"])]
    rates = sorted(float(rate) for rate in points["lr"].unique())
    names = list(dict.fromkeys(points["run"]))
    seeds = sorted(int(seed) for seed in points["seed"].unique())
    columns = points.assign(run=points["run"].map(names.index)).to_dict("list")
    return {
        "points": columns,
        "pretrain_objective": _trained(list(dict.fromkeys(points["pretrain_objective"]))),
        "loss": _named(losses, [LOSSES.index(name) for name in losses]),
        "lr": [_value(r, short(r), i) for i, r in enumerate(rates)],
        "seed": [_value(seed, str(seed), 0) for seed in seeds],
        # The factor of a 95 % t-interval by the number of seeds, as ``metrics.over_seeds`` has it.
        "t": [float(stdtrit(n - 1, 0.975)) if n > 1 else 0.0 for n in range(len(seeds) + 1)],
        "threshold": CLEANED,
        "colour": colour,
        "ways": ways,
        "axes": [ASR, ACCURACY],
        "range": _range(points["accuracy"]),
        "red": RED,
    }


def _named(values: Sequence[str], places: Sequence[int] | None = None) -> list[dict[str, Any]]:
    order = range(len(values)) if places is None else places
    return [_value(v, NAMES.get(v, v), i) for v, i in zip(values, order, strict=True)]


def _trained(objectives: Sequence[str]) -> list[dict[str, Any]]:
    """The objectives as values of their control, and what a panel of each is called."""
    made = _named(objectives)
    for one in made:
        one["panel"] = elsewhere.trained(one["value"], NAMES)
        one["words"] = elsewhere.WORDS if one["value"] == elsewhere.ELSEWHERE else one["words"]
    return made


def _value(value: object, words: str, place: int) -> dict[str, Any]:
    """A value of a control, its words, and the colour and shape that it has as the hue."""
    look = {"colour": to_hex(COLOURS[place % len(COLOURS)]), "mark": MARKERS[place % len(MARKERS)]}
    return {"value": value, "words": words} | look


def _range(accuracy: pd.Series) -> list[float]:
    """The vertical axis: the tens below and above all points, whatever is chosen."""
    low, high = float(accuracy.min()), float(accuracy.max())
    return [max(0.0, 10 * math.floor((low - 1) / 10)), min(100.0, 10 * math.ceil((high + 2) / 10))]
