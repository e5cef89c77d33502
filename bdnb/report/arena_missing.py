"""What the arena lacks: planned runs, controls, attacks that failed."""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import CELL, GATE
from bdnb.report import tables
from bdnb.report.arena import attack_name, named
from bdnb.report.pages import NOTHING
from bdnb.report.style import NAMES


def coverage(planned: pd.DataFrame) -> Styler | Markdown:
    """Return how many runs are there of those planned: ways of cleaning down, models across.

    planned: of ``arena_runs.planned``. A dash: nothing is planned there.
    """
    cleaning = planned[planned["defence"] != ""]
    if cleaning.empty:
        return NOTHING
    keys = [named(cleaning), _cells(cleaning)]
    counts = cleaning["ran"].groupby(keys, sort=False).agg(["sum", "size"])
    words = [f"{there} of {wanted}" for there, wanted in counts.to_numpy()]
    table = pd.Series(words, index=counts.index).unstack(sort=False)
    return tables.styled(table.rename_axis("way of cleaning").reset_index())


def missing(made: pd.DataFrame, planned: pd.DataFrame) -> Markdown:
    """Say how many planned runs are there, which models and controls are not, which attacks failed.

    made: of ``arena.entries``. planned: of ``arena_runs.planned``.
    """
    if made.empty:
        return NOTHING
    lines = [f"{planned['ran'].sum()} of {len(planned)} planned runs are there."]
    there = planned["ran"].groupby(_cells(planned), sort=False).any()
    if not there.all():
        lines.append(f"Models without any run yet: {'; '.join(there[~there].index)}.")
    failed = made["failed"].groupby(_cells(made), sort=False).all()
    if failed.any():
        cells = "; ".join(map(str, failed[failed].index))
        lines.append(f"Attack failed, ASR before under {GATE:g} %: {cells}.")
    control = made.get("control", pd.Series(index=made.index, dtype=object))
    alone = control.map(lambda one: getattr(one, "n", 0) == 0) & ~made["failed"]
    if alone.any():
        ways = "; ".join(sorted(set(named(made)[alone])))
        lines.append(
            "No control of their length at its frozen setting yet, on one of their models or more: "
            f"{ways}."
        )
    return Markdown(" ".join(lines))


def _cells(lines: pd.DataFrame) -> pd.Series:
    """Which model each line is of: attack and objective."""
    words = [
        f"{attack_name(attack, route)} on {NAMES.get(objective, objective)}"
        for attack, route, objective in lines[CELL].itertuples(index=False)
    ]
    return pd.Series(words, index=lines.index, dtype=object)
