"""The cleaning runs that a claim is about, and when they are no answer to it.

An arm is one backdoored model cleaned in one way. It says nothing where what was tried did nothing
(or everything), where its best model lies at the edge of the learning rates tried, or where there
was no backdoor to clean.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from bdnb.analysis.metrics import before, best_point, by_seed, candidates, starts
from bdnb.analysis.price import KEPT_AT, kept_accuracy

BACKDOORED = 80.0
"""ASR (percent) that a model must have before cleaning, for its cleaning to say anything."""
CHANCE_LOSS = 0.98
"""A clustering loss of at least this share of ln k, its value by chance: the term did nothing."""
SWAMPED, IDLE = 10.0, 0.01
"""A penalty more than ten times, or less than a hundredth of, the rest of the loss."""
DESTROYED = 0.1
"""Share of the accuracy before, below which shrinking and perturbing left no model to clean."""
BROKEN = 0.5
"""The same of swapping a tower, below which an ASR says nothing of where the backdoor is."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Which runs: those of a backdoored model with these values in these columns.

    above: column -> number that it must exceed. fewest: of the runs left those with the least of
    this column. like: only seeds and learning rates of this arm too (and, where there are some, its
    number of epochs): more rates would find a better model by themselves.
    """

    poisoned: str
    where: Mapping[str, str]
    above: Mapping[str, float] = field(default_factory=dict)
    fewest: str = ""
    like: "Arm | None" = None

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Its rows among all cleaning rows; none where a column it asks for is not there."""
        mask = rows["poisoned"] == self.poisoned
        for column, value in self.where.items():
            mask &= rows[column] == value
        for column, least in self.above.items():
            mask &= _column(rows, column) > least
        chosen = rows[mask]
        if self.fewest and len(chosen):
            chosen = chosen[chosen[self.fewest] == chosen[self.fewest].min()]
        if self.like:
            other = self.like.rows(rows)
            chosen = chosen.merge(other[["seed", "lr"]].drop_duplicates())
            if "epochs" in rows and chosen["epochs"].isin(other["epochs"]).any():
                chosen = chosen[chosen["epochs"].isin(other["epochs"])]
        if self.where.get("defence") == "shrink_perturb":
            chosen = chosen.assign(picked_accuracy=_picked(chosen, rows))
        if "option_k" in chosen:
            chosen = chosen.assign(k=chosen["option_k"].fillna(chosen["option_k"].max()))
        return chosen


def _picked(chosen: pd.DataFrame, rows: pd.DataFrame) -> pd.Series:
    """Accuracy of the shrunk and perturbed model that each run cleans; NaN where none is found."""
    screened = rows[(rows["defence"] == "screen") & (rows["epoch"] > 0)]
    if screened.empty:
        return pd.Series(math.nan, index=chosen.index)
    names, values = ("shrink", "perturb"), ["poisoned", "seed"]
    accuracy = screened.groupby([*values, *(f"option_{name}" for name in names)])["accuracy"].mean()
    # Picked, or as the run was given them.
    given = [_column(chosen, f"picked_{n}").fillna(_column(chosen, f"option_{n}")) for n in names]
    keys = pd.MultiIndex.from_arrays([*(chosen[value] for value in values), *given])
    return pd.Series(accuracy.reindex(keys).to_numpy(), index=chosen.index)


def _column(rows: pd.DataFrame, name: str) -> pd.Series:
    """A column of numbers; NaN where it is not there."""
    return rows.get(name, pd.Series(math.nan, index=rows.index))


def words(poisoned: str) -> str:
    """Return how the models of a training experiment read in a reason."""
    for ending, objective in (("mmcl_ssl", "MMCL + SSL"), ("mmcl", "MMCL")):
        if poisoned.endswith(ending):
            return f"{objective} models"
    return f"models of {poisoned}"


def not_ready(arm: Arm, rows: pd.DataFrame) -> str:
    """Why there is nothing to decide from; empty when there is."""
    if rows.empty:
        what = ", ".join(f"{column} {value}" for column, value in arm.where.items())
        both = ", at the seeds and rates to compare" if arm.like else ""
        return f"no rows of the {words(arm.poisoned)}, {what}{both}"
    first = rows.groupby("run")["epoch"].min()
    late = first.index[first > 0]
    return f"no row before cleaning in {', '.join(map(str, late[:3]))}" if len(late) else ""


def no_backdoor(rows: pd.DataFrame) -> str:
    """The seeds without a backdoor worth cleaning; empty when all have one."""
    start = rows[rows["epoch"] == 0].groupby(["poisoned", "seed"])["asr"].mean()
    weak = start[~(start >= BACKDOORED)].reset_index()
    lines = zip(weak["poisoned"], weak["seed"], weak["asr"], strict=True)
    said = ", ".join(f"{name} seed {seed}, ASR {asr:.1f} %" for name, seed, asr in lines)
    return f"no backdoor to clean: {said}" if said else ""


def not_clean(rows: pd.DataFrame) -> str:
    """How many runs start from a model that was to be clean and is not; empty for less than half.

    Clean is an ASR that kept accuracy allows, at most.
    """
    start = rows[rows["epoch"] == 0].groupby(["poisoned", "run"])["asr"].mean().reset_index()
    left = start[~(start["asr"] <= max(KEPT_AT))]
    if 2 * len(left) < len(start):
        return ""
    whose = words(left["poisoned"].iloc[0])
    return (
        f"{len(left)} of {len(start)} runs on {whose} start with the backdoor, ASR "
        f"{left['asr'].min():.0f} to {left['asr'].max():.0f} %"
    )


def inert(rows: pd.DataFrame) -> str:
    """What kept most runs from being a test of what was tried; empty when nothing did."""
    after = rows[rows["epoch"] > 0]
    if _most(after, _cluster_chance):
        return "the clustering loss stays where chance puts it"
    if _most(after, lambda run: _penalty(run) > SWAMPED):
        return "the penalty swamps the loss"
    if _most(after, lambda run: _penalty(run) < IDLE):
        return "the penalty is nothing beside the loss"
    if _most(rows, _destroyed):
        return "the model that was picked is destroyed"
    if _most(rows, _broken):
        return f"swapping towers breaks the {words(rows['poisoned'].iloc[0])}"
    return ""


def _most(rows: pd.DataFrame, test: Callable[[pd.DataFrame], bool]) -> bool:
    found = [test(run) for _, run in rows.groupby("run")]
    return sum(found) > len(found) / 2


def _cluster_chance(run: pd.DataFrame) -> bool:
    """A classifier's labels have one cluster a class, as many as the grids give k-means."""
    if run.get("k", pd.Series()).isna().all() or "loss_deep_cluster" not in run:
        return False
    return bool(run["loss_deep_cluster"].mean() >= CHANCE_LOSS * math.log(run["k"].max()))


def _penalty(run: pd.DataFrame) -> float:
    """The penalty in the loss over the rest of the loss; NaN without a penalty."""
    if "loss_l2" not in run or "option_weight" not in run:
        return math.nan
    penalty = run["option_weight"] * run["loss_l2"]
    return float((penalty / (run["loss_total"] - penalty)).median())


def _destroyed(run: pd.DataFrame) -> bool:
    if "picked_accuracy" not in run:
        return False
    return bool(run["picked_accuracy"].max() < DESTROYED * before(run).accuracy)


def _broken(run: pd.DataFrame) -> bool:
    if run["defence"].iloc[0] != "swap":
        return False
    return bool(candidates(run)["accuracy"].max() < BROKEN * before(run).accuracy)


def at_floor(of: pd.DataFrame, less: pd.DataFrame) -> bool:
    """Whether in most seeds neither of two arms has any model at the ASRs of kept accuracy."""
    floor = (by_seed(of, kept_accuracy) == 0) & (by_seed(less, kept_accuracy) == 0)
    return bool(floor.mean() > 0.5)


def at_edge(rows: pd.DataFrame) -> bool:
    """Whether most seeds have their best models at their own largest or smallest learning rate.

    A seed has when more than half of the thresholds of kept accuracy with a model have; one without
    any model has when its lowest ASR does, so that a rate beyond might reach them.
    """
    # Of shares, for the models of one seed may start unlike; narrow, for it is cut up often.
    made = candidates(rows)
    rows = made[["seed", "lr", "asr"]].assign(accuracy=made["accuracy"] / starts(rows))
    found = []
    for _, own in rows.groupby("seed"):
        edges = (own["lr"].min(), own["lr"].max())
        best = [best_point(own, threshold) for threshold in KEPT_AT]
        there = [point["lr"] in edges for point in best if point is not None]
        lowest = own.loc[own["asr"] == own["asr"].min(), "lr"]
        found.append(sum(there) > len(there) / 2 if there else bool(lowest.isin(edges).all()))
    return sum(found) > len(found) / 2
