"""What bounds the speed: rows of ``tests.benchmarks.options`` and ``.profile`` in, tables out."""

from collections.abc import Hashable

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.report.speed import Row, nothing, of, spread, where
from bdnb.report.tables import styled


def options(rows: list[Row]) -> Styler | Markdown:
    """How fast options that are not exact make it, with first go and memory."""
    lines = []
    for row in of(rows, "option"):
        line = {"on": where(row), "option": row["option"], "what": row["row"]}
        if "error" in row:
            lines.append(line | {"times as fast": f"cannot be used: {row['error']}"})
            continue
        middle, low, high = spread(row, "bdnb", other="option")
        line |= {"times as fast": f"{middle:.2f} ({low:.2f} to {high:.2f})", "n": row["repeats"]}
        line["first go, s"] = row["first_seconds"]
        line["times the memory"] = row["memory_mb"]["option"] / row["memory_mb"]["bdnb"]
        lines.append(line)
    if not lines:
        return nothing("option")
    frame = pd.DataFrame(lines)
    counts: list[Hashable] = [c for c in frame if c == "n"]
    return styled(frame, 2).format("{:.0f}", subset=counts, na_rep="–")


def effects(rows: list[Row]) -> Styler | Markdown:
    """What the same options change of a loss and of predictions, in percent and points."""
    once = {(where(row), row["option"]): row for row in of(rows, "option") if "error" not in row}
    lines = [
        {
            "on": on,
            "option": option,
            "loss, % change": row["loss_change"],
            "same weights: equal, %": row["same_equal"],
            "accuracy, points": row["same_accuracy_change"],
            "trained with it: equal, %": row["own_equal"],
            "accuracy, points ": row["own_accuracy_change"],
            "accuracy without, %": row["accuracy"],
            "steps": row["steps"],
            "images": row["images"],
        }
        for (on, option), row in once.items()
    ]
    return styled(pd.DataFrame(lines), 2) if lines else nothing("option")


def profile(rows: list[Row]) -> Styler | Markdown:
    """The shares of a go's time by kind of work, in percent; a column a row that was profiled."""
    found = of(rows, "profile")
    if not found:
        return nothing("profile")
    names = dict.fromkeys(name for row in found for name in row["groups"])
    mean = {name: np.mean([row["groups"].get(name, 0.0) for row in found]) for name in names}
    order = sorted(names, key=lambda name: -mean[name])
    frame = pd.DataFrame({"%": ["ms a go", *order]})
    for row in found:
        shares = [row["groups"].get(name, 0.0) for name in order]
        frame[f"{row['row']} ({where(row)})"] = [1e3 * row["seconds"], *shares]
    return styled(frame)


def operators(rows: list[Row], count: int = 4) -> Styler | Markdown:
    """The largest operators of torch in each, by their own time."""
    lines = [
        {"on": where(row), "what": row["row"]}
        | {"operator": one["name"], "kind of work": one["group"]}
        | {"share, %": one["share"], "calls a go": one["calls"]}
        for row in of(rows, "profile")
        for one in row["operators"][:count]
    ]
    return styled(pd.DataFrame(lines)) if lines else nothing("profile")


HEAVY = ("convolution", "matrix product", "batch norm")
"""Kinds of work that every exact way to train the model has to do."""


def floor(rows: list[Row]) -> Markdown:
    """How much faster a go could be if it did nothing but the model's own arithmetic."""
    lines = []
    for row in of(rows, "profile"):
        heavy = sum(row["groups"].get(name, 0.0) for name in HEAVY)
        most = f"{100 / heavy:.2f} times as fast" if heavy else "any number of times as fast"
        lines.append(
            f"- **{row['row']}** ({where(row)}): {', '.join(HEAVY)} "
            f"take {heavy:.0f} % of it. With all else free it would be at most {most}."
        )
    return Markdown("\n".join(lines)) if lines else nothing("profile")
