"""The arena's rules: rows of cleaning runs in, a line for each way of cleaning in each cell out.

A cell is an attack and a pre-training objective. A way of cleaning is a defence with a loss; its
setting (learning rate, options, epochs) is frozen where it was tuned, on one cell alone. Each way
is judged by an oracle over all settings and epochs, by an oracle over the epochs of its frozen
setting, and by the epoch that its blind rule keeps of that. Beside it stands the control: MMCL
alone at the setting frozen for it, of runs with no more steps. ``arena_across`` compares the lines.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from bdnb.analysis import arms, blind
from bdnb.analysis.metrics import before, by_seed, candidates, over_seeds, starts
from bdnb.analysis.price import KEPT_AT, curve, kept_accuracy, most

GATE = 90.0
"""ASR (percent) before cleaning below which the attack failed, and there is nothing to compare."""
KEEPS = 95.0
"""Percent of the accuracy before that the oracle's lowest ASR must leave."""
TUNED_ON = {"attack": "badnet", "route": "scratch", "objective": "mmcl"}
CONTROL = ("cleanclip", "mmcl")
CELL = ["attack", "route", "objective"]
WAY = ["defence", "loss"]
SETTING = ["lr", "options", "epochs"]
OBJECTIVES = ("mmcl", "mmcl_ssl")


class Way(NamedTuple):
    """What is known of a way of cleaning from all cells; a setting is None without one tuned."""

    settings: int
    """How many it was run with anywhere."""
    steps: int
    """Of its longest run."""
    frozen: tuple[object, ...] | None
    control: tuple[object, ...] | None
    """Setting frozen for the control, of runs with no more steps."""


def entries(rows: pd.DataFrame, rules: Mapping[str, str]) -> pd.DataFrame:
    """Return a line for each way of cleaning in each cell.

    rows: a line an epoch, columns ``CELL``, ``WAY``, ``SETTING``, run, seed, epoch, step, accuracy
    and asr (percent). rules: defence -> blind rule. Out: ``CELL``, ``WAY``; failed (the attack did
    on all its models; numbers are then missing); seeds, runs, rows, steps; settings here,
    settings_anywhere, whole (each seed has them all); tuning (the cell is ``TUNED_ON``);
    asr_before (of those seeds; of all where failed); ``Spread`` of kept (oracle), kept_frozen,
    kept_blind, control; gain by seed (kept_frozen less the control's); curves (of ``curves``);
    lowest_asr (oracle's at ``KEEPS``), asr_blind, accuracy_blind (percent of that before), cost
    (kept less kept_blind); setting; tuned (whether one was frozen, and was run here); edge.
    """
    used = {*CELL, *WAY, *SETTING, "run", "seed", "epoch", "step", "accuracy", "asr"}
    rows = rows[[name for name in rows if name in used or str(name).startswith("loss_")]]
    rows = _about_runs(rows)
    picked = picks(rows, rules)
    ways, lines = _ways(rows, picked), []
    for cell, own in rows.groupby(CELL, sort=False):
        there = own[own["asr_start"] >= GATE]
        for way, its in own.groupby(WAY, sort=False):
            about, mine = ways[way], there[there["run"].isin(its["run"])]
            line = dict(zip([*CELL, *WAY], [*cell, *way], strict=True))
            line |= {"tuning": cell == tuple(TUNED_ON[name] for name in CELL)}
            line |= _counts(its, mine, about.settings)
            of = mine if len(mine) else its
            line |= {"asr_before": float(by_seed(of, lambda one: before(one).asr).mean())}
            if len(mine):
                chosen = picked[picked["run"].isin(mine["run"])]
                line |= _judged(mine, chosen, about.frozen) | _beside_control(mine, there, about)
            lines.append(line)
    return pd.DataFrame(lines)


def _about_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """With columns asr_start, the model's before cleaning, and length, the whole run's steps."""
    start = rows[rows["epoch"] == 0].groupby([*CELL, "seed"])["asr"].mean()
    length = rows.groupby("run")["step"].transform("max")
    return rows.join(start.rename("asr_start"), on=[*CELL, "seed"]).assign(length=length)


def picks(rows: pd.DataFrame, rules: Mapping[str, str]) -> pd.DataFrame:
    """Return the row of each run that its blind rule keeps, with ``start``, accuracy before."""
    kept = []
    for _, run in rows.groupby("run", sort=False):
        epoch = blind.pick(run, rules.get(run["defence"].iloc[0], "last"))
        kept.append(run[run["epoch"] == epoch].assign(start=before(run).accuracy))
    return pd.concat(kept, ignore_index=True)


def _ways(rows: pd.DataFrame, picked: pd.DataFrame) -> dict[object, Way]:
    control = _with(picked, WAY, CONTROL)
    found: dict[object, Way] = {}
    for way, own in rows.groupby(WAY):
        steps = own["length"].max()
        found[way] = Way(
            settings=len(own[SETTING].drop_duplicates()),
            steps=steps,
            frozen=_frozen(_with(picked, WAY, way)),
            control=_frozen(control[control["length"] <= steps]),
        )
    return found


def _with(rows: pd.DataFrame, names: list[str], values: object) -> pd.DataFrame:
    """Those of some rows that have these values; none for None."""
    return rows.iloc[:0] if values is None else rows[(rows[names] == values).all(axis=1)]


def _frozen(picked: pd.DataFrame) -> tuple[object, ...] | None:
    """The setting whose blind picks are best in the cell ``TUNED_ON``; None without runs there.

    Settings are compared over the seeds that were run with most of them: those that all of these
    have.
    """
    there = _with(picked, CELL, tuple(TUNED_ON[name] for name in CELL))
    there = there[there["asr_start"] >= GATE]
    tried = there.groupby(SETTING)["seed"].unique().explode().value_counts()
    there = there[there["seed"].isin(tried[tried == tried.max()].index)]
    scores = {
        setting: (_kept_of_picks(own).mean(), -own["asr"].mean())
        for setting, own in there.groupby(SETTING)
        if own["seed"].nunique() == there["seed"].nunique()
    }
    return max(scores, key=lambda setting: scores[setting], default=None)


def _kept_of_picks(picked: pd.DataFrame) -> pd.Series:
    """Kept accuracy of each seed's one model that was picked blindly."""
    return by_seed(picked, lambda own: kept_accuracy(own, start=own["start"].iloc[0]))


def _counts(all_rows: pd.DataFrame, rows: pd.DataFrame, anywhere: int) -> dict[str, object]:
    """How much was run of a way in a cell; rows: of models on which the attack did not fail."""
    by = {seed: len(own[SETTING].drop_duplicates()) for seed, own in rows.groupby("seed")}
    return {
        "failed": rows.empty,
        "seeds": len(by),
        "runs": all_rows["run"].nunique(),
        "rows": len(all_rows),
        "steps": all_rows["step"].max(),
        "settings": len(all_rows[SETTING].drop_duplicates()),
        "settings_anywhere": anywhere,
        "whole": bool(by) and min(by.values()) == anywhere,
    }


def _judged(
    rows: pd.DataFrame, picked: pd.DataFrame, frozen: tuple[object, ...] | None
) -> dict[str, object]:
    """What a way reaches in a cell, by the oracle and blindly."""
    made, share = curves(rows), (0.0, most(rows))
    values, chosen = kept(made), _with(picked, SETTING, frozen)
    if not (tuned := len(chosen) > 0):  # a defender may still look at accuracy
        chosen = picked.sort_values("accuracy").groupby("seed").tail(1)
    chosen = chosen.drop_duplicates("seed")
    kept_blind = _kept_of_picks(chosen)
    return {
        "curves": made,
        "kept": over_seeds(values, limits=share),
        "kept_frozen": over_seeds(_kept_at(rows, frozen), limits=share),
        "kept_blind": over_seeds(kept_blind, limits=share),
        "cost": float((values - kept_blind).mean()),
        "lowest_asr": float(by_seed(rows, _lowest_asr).mean()),
        "asr_blind": float(chosen["asr"].mean()),
        "accuracy_blind": float((100 * chosen["accuracy"] / chosen["start"]).mean()),
        "setting": dict(chosen.iloc[0][SETTING]) if tuned else None,
        "tuned": tuned,
        "edge": _at_edge(rows),
    }


def curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the price curve at ``KEPT_AT`` of each seed (first of the index) and setting."""
    found = {
        (seed, *setting): curve(run, KEPT_AT)
        for seed, own in rows.groupby("seed")
        for setting, run in own.groupby(SETTING)
    }
    index = pd.MultiIndex.from_tuples(found, names=["seed", *SETTING])
    return pd.DataFrame(list(found.values()), index=index, columns=list(KEPT_AT))


def kept(made: pd.DataFrame) -> pd.Series:
    """Return kept accuracy by seed, of the best models of all settings. made: of ``curves``."""
    return made.groupby("seed").max().mean(axis=1)


def _kept_at(rows: pd.DataFrame, setting: tuple[object, ...] | None) -> pd.Series:
    """Kept accuracy by seed of the best epochs of one setting; empty where it was not run."""
    return by_seed(_with(rows, SETTING, setting), kept_accuracy)


def _at_edge(rows: pd.DataFrame) -> bool:
    """Whether the best models lie at an edge of the rates tried with as many epochs as they had."""
    groups = [own for _, own in rows.groupby("epochs")]
    best = max(groups, key=lambda own: by_seed(own, kept_accuracy).mean())
    return best["lr"].nunique() > 1 and arms.at_edge(best)


def _lowest_asr(rows: pd.DataFrame) -> float:
    models = candidates(rows)
    good = models["accuracy"] >= KEEPS / 100 * starts(rows)
    return float(models.loc[good, "asr"].min())


def _beside_control(rows: pd.DataFrame, cell: pd.DataFrame, way: Way) -> dict[str, object]:
    """The control's kept accuracy, and what the way gains over it, each at its frozen setting.

    The control is of the seeds that the way was run with so, of all where it was with none. The
    learning rate falls along the whole run: a longer run of the control, cut short, is none.
    """
    control = _with(cell[cell["length"] <= way.steps], WAY, CONTROL)
    theirs, mine = _kept_at(control, way.control), _kept_at(rows, way.frozen)
    theirs = theirs[theirs.index.isin(mine.index)] if len(mine) else theirs
    gain = (mine - theirs).dropna()
    return {"control": over_seeds(theirs, limits=(0.0, most(cell))), "gain": gain}
