"""What the arena lacks: cells that a way was not run in, or with less than elsewhere."""

import pandas as pd
from IPython.display import Markdown

from bdnb.analysis.arena import CELL, GATE
from bdnb.report.arena import attack_name, named
from bdnb.report.pages import NOTHING
from bdnb.report.style import NAMES, some


def missing(made: pd.DataFrame, planned: pd.DataFrame | None = None) -> Markdown:
    """Say which attacks failed, and which ways of cleaning lack which cells, or what in them.

    planned: of ``arena_runs.planned``; its ways and cells without any run are named, too.
    """
    if made.empty:
        return NOTHING
    made = made.assign(cell=[_cell(*cell) for cell in made[CELL].itertuples(index=False)])
    cells, seeds, lines = list(made["cell"].unique()), int(made["seeds"].max()), []
    failed = [str(c) for c, own in made.groupby("cell", sort=False) if own["failed"].all()]
    for way, own in made.assign(way=named(made)).groupby("way", sort=False):
        lacks = [cell for cell in cells if cell not in set(own["cell"])]
        less = {"no run of": lacks} | _less(own[~own["cell"].isin(failed)], seeds)
        said = [f"{words} {'; '.join(which)}" for words, which in less.items() if which]
        lines += [f"- {way}: {'; '.join(said)}"] * bool(said)
    if failed:
        lines.append(f"- ASR before under {GATE:g} %, attack failed: {'; '.join(failed)}")
    if planned is not None and not planned["ran"].all():
        lines.append(
            f"- {planned['ran'].sum()} of {len(planned)} planned runs are there. {_idle(planned)}"
        )
    return Markdown("\n".join(lines) or "No cell is missing, and no attack failed.")


def _less(own: pd.DataFrame, seeds: int) -> dict[str, list[str]]:
    """What a way lacks, in words -> in which of its cells. seeds: the most of any way."""
    settings = int(own["settings_anywhere"].max()) if len(own) else 0
    controls = own.get("control", pd.Series(index=own.index, dtype=object))
    which = {
        f"fewer than {some(seeds, 'seed')} of": own["seeds"] < seeds,
        f"fewer than {some(settings, 'setting')} of": ~own["whole"],
        "no control of its length for": controls.map(lambda one: getattr(one, "n", 0) == 0),
    }
    return {words: list(own.loc[mask.astype(bool), "cell"]) for words, mask in which.items()}


def _idle(planned: pd.DataFrame) -> str:
    """Which planned ways of cleaning, and models that they are planned for, have no run at all."""
    cleaning = planned[planned["defence"] != ""]
    cells = [_cell(*one) for one in cleaning[CELL].itertuples(index=False)]
    groups = {"Ways not run yet": list(named(cleaning)), "Models not cleaned yet": cells}
    said = []
    for words, kinds in groups.items():
        ran = {kind for kind, done in zip(kinds, cleaning["ran"], strict=True) if done}
        left = sorted(set(kinds) - ran)
        said += [f"{words}: {'; '.join(left)}."] * bool(left)
    return " ".join(said)


def _cell(attack: str, route: str, objective: str) -> str:
    return f"{attack_name(attack, route)} on {NAMES.get(objective, objective)}"
