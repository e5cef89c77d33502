"""Numbers from rows: the best model at ASR <= t, smoothness, spread over seeds.

In: tidy rows as ``records.read_runs`` gives them, a line an epoch of a run, accuracy and asr in
percent, epoch 0 the backdoored model before cleaning. Out: numbers and smaller tables. Section 4.
"""

import math
from collections.abc import Callable, Iterable
from itertools import count
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bdnb.runtime.errors import ConfigError

CLEANED = 5.0
"""The paper's line: a model is cleaned when its ASR is at most this many percent."""


class Start(NamedTuple):
    """The backdoored model before cleaning, in percent."""

    accuracy: float
    asr: float


class Spread(NamedTuple):
    """Mean over seeds with the bounds of its 95 % t-interval.

    n: seeds with a value, which mean and interval are over. missing: seeds without one (no model at
    ASR <= t: "none cleaned"). low, high: NaN when n < 2.
    """

    mean: float
    low: float
    high: float
    n: int
    missing: int


class Smoothness(NamedTuple):
    """How a run moves through the plane of ASR and accuracy, epoch by epoch."""

    path: float
    """Length of the trajectory, percentage points."""
    chord: float
    """Straight distance from its start to its end, percentage points."""
    tortuosity: float
    """path / chord: 1 is straight; NaN for a run that does not move, inf for one that returns."""
    asr_rise: float
    """Largest rise of ASR from one epoch to the next, percentage points; 0 when it never rises."""
    rebound: float
    """ASR of the last epoch above the lowest on the path, percentage points."""
    best_at: float
    """Where the best epoch at ASR <= 5 % lies: 1 is the last epoch; NaN when there is none."""


def candidates(rows: pd.DataFrame) -> pd.DataFrame:
    """The models that cleaning made: epochs after 0, with accuracy and ASR measured.

    Epoch 0, before cleaning, is never one. Rows without epochs (the authors' files) all are.
    """
    _need(rows, "accuracy", "asr")
    after = rows[rows["epoch"] > 0] if "epoch" in rows else rows
    return after[after["accuracy"].notna() & after["asr"].notna()]


def whole(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of runs that are finished; all of them without a column that says so."""
    return rows[rows["finished"].notna()] if "finished" in rows else rows


def best_point(rows: pd.DataFrame, threshold: float = CLEANED) -> pd.Series | None:
    """The row of best accuracy at ASR <= threshold (percent); None when there is none.

    Of rows with equal accuracy the one of lowest ASR. This is the paper's oracle: it uses the
    ASR, which a defender does not know.
    """
    under = candidates(rows)
    under = under[under["asr"] <= threshold]
    if under.empty:
        return None
    return under.sort_values(["accuracy", "asr"], ascending=[False, True]).iloc[0]


def best_accuracy_at(rows: pd.DataFrame, threshold: float = CLEANED) -> float:
    """Best accuracy (percent) at ASR <= threshold over all epochs and learning rates: Table 2.

    NaN when no model is under the threshold.
    """
    best = best_point(rows, threshold)
    return math.nan if best is None else float(best["accuracy"])


def last_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """The last row of each run: what a defender gets who cleans to the end and looks no further."""
    _need(rows, "run", "epoch")
    return rows.loc[rows.groupby("run", sort=False)["epoch"].idxmax()]


def before(rows: pd.DataFrame) -> Start:
    """Accuracy and ASR of the backdoored model: the mean of the rows of epoch 0.

    Errors: ConfigError when there is no such row.
    """
    _need(rows, "epoch", "accuracy", "asr")
    start = rows[rows["epoch"] == 0]
    if start.empty:
        raise ConfigError("no row of epoch 0: nothing says what the model was before cleaning")
    return Start(float(start["accuracy"].mean()), float(start["asr"].mean()))


def starts(rows: pd.DataFrame) -> pd.Series:
    """Accuracy (percent) of the model that each candidate's run started from; index: candidates'.

    One seed's runs may start from several trainings of its model. Without runs' names, or a row of
    epoch 0 of its own: that of ``before``. Errors: those of ``before``.
    """
    rows = narrow(rows)
    after, mean = candidates(rows), before(rows).accuracy
    if "run" not in rows:
        return pd.Series(mean, index=after.index)
    first = rows[rows["epoch"] == 0]
    return after["run"].map(dict(zip(first["run"], first["accuracy"], strict=True))).fillna(mean)


def narrow(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what a price curve needs of rows: those of a run have a hundred columns."""
    return rows[[name for name in ("run", "epoch", "accuracy", "asr") if name in rows]]


def smoothness(trajectory: pd.DataFrame) -> Smoothness:
    """How smooth one run is, from its rows (epoch 0 included), in any order.

    The paper says smooth without a measure. Here: the length of the path per distance made.
    It has no unit, does not grow with the number of epochs on a straight path, and grows with
    every step back in accuracy or ASR alike. Noise makes it large for a run that hardly moves,
    so ``chord`` stands beside it, and ``asr_rise`` and ``rebound`` say what went wrong.
    Errors: ConfigError for rows of several runs, or fewer than two epochs measured.
    """
    if "run" in trajectory and trajectory["run"].nunique() > 1:
        raise ConfigError(f"rows of {trajectory['run'].nunique()} runs: expected one trajectory")
    _need(trajectory, "epoch", "accuracy", "asr")
    measured = trajectory.dropna(subset=["accuracy", "asr"]).sort_values("epoch")
    if len(measured) < 2:
        raise ConfigError(f"{len(measured)} epochs measured: a trajectory has two or more")
    points = measured[["asr", "accuracy"]].to_numpy(dtype=float)
    steps = np.diff(points, axis=0)
    path = float(np.linalg.norm(steps, axis=1).sum())
    chord = float(np.linalg.norm(points[-1] - points[0]))
    best = best_point(measured)
    return Smoothness(
        path=path,
        chord=chord,
        tortuosity=path / chord if chord else (math.inf if path else math.nan),
        asr_rise=max(0.0, float(steps[:, 0].max())),
        rebound=float(points[-1, 0] - points[:, 0].min()),
        best_at=math.nan if best is None else float(best["epoch"] / measured["epoch"].max()),
    )


def over_seeds(
    values: Iterable[float],
    *,
    least_spread: float = 0.0,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Spread:
    """Mean and 95 % t-interval over seeds; NaN stands for a seed without a value.

    least_spread: standard deviation that is assumed at least. limits: what the quantity can be;
    the interval is cut there. Without any value the mean is NaN.
    """
    given = np.asarray(list(values), dtype=float)
    finite = given[np.isfinite(given)]
    n, missing = len(finite), len(given) - len(finite)
    mean = float(finite.mean()) if n else math.nan
    if n < 2:
        return Spread(mean, math.nan, math.nan, n, missing)
    half = t_factor(n) * max(float(finite.std(ddof=1)), least_spread)
    return Spread(mean, max(mean - half, limits[0]), min(mean + half, limits[1]), n, missing)


def t_factor(n: int) -> float:
    """Half the width of a 95 % t-interval of n values, in standard deviations."""
    return float(stdtrit(n - 1, 0.975)) / math.sqrt(n)


def seeds_within(spread: Spread, half: float) -> int:
    """How many seeds it takes for an interval of +- ``half``, values lying as far apart as these.

    spread: of two seeds or more, its interval not cut.
    """
    deviation = (spread.high - spread.low) / 2 / t_factor(spread.n)
    return next(n for n in count(2) if t_factor(n) * deviation <= half)


def by_seed(rows: pd.DataFrame, measure: Callable[[pd.DataFrame], float]) -> pd.Series:
    """A measure of each seed's rows: index seed. ``over_seeds`` takes it."""
    _need(rows, "seed")
    return pd.Series({seed: measure(own) for seed, own in rows.groupby("seed")}, dtype=float)


def _need(rows: pd.DataFrame, *columns: str) -> None:
    missing = [name for name in columns if name not in rows]
    if missing:
        there = ", ".join(map(str, rows.columns))
        raise ConfigError(f"rows without the columns {missing}; there are {there or 'none'}")
