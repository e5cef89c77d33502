"""What the contrast may hang on, as numbers of a run or a seed, and the map's correlation.

Rows of cleaning runs in (of CleanCLIP, and of the measurements ``probe`` and ``swap``), numbers
out; ``explanations`` makes claims of them.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from bdnb.analysis.metrics import before, candidates

BESIDE = ("accuracy", "loss_mmcl", "loss_ssl")
"""What may change when ASR does."""
AT_ONCE = 100_000
"""Permutations drawn together."""
FEWEST = 5
"""Settings that a rank correlation over settings needs."""


class Comeback(NamedTuple):
    """The largest rise of ASR from an epoch of a cleaning run to a later one."""

    rise: float
    """Points; 0 where ASR never rises."""
    low: int
    high: int
    """Epochs between which it rises."""


def comeback(run: pd.DataFrame) -> Comeback:
    """Return where in one run ASR comes back; its epochs before cleaning do not count."""
    after = candidates(run).sort_values("epoch")
    if after.empty:
        return Comeback(0.0, 0, 0)
    epochs, asr = after["epoch"].to_numpy(), after["asr"].to_numpy(dtype=float)
    rises = asr - np.minimum.accumulate(asr)
    high = int(rises.argmax())
    low = int(asr[: high + 1].argmin())
    return Comeback(float(rises[high]), int(epochs[low]), int(epochs[high]))


def mean_comeback(rows: pd.DataFrame) -> float:
    """Return the largest rise of ASR in a run, points, mean over a seed's runs."""
    return float(np.mean([comeback(run).rise for _, run in rows.groupby("run")]))


def same_way(rows: pd.DataFrame, column: str) -> float:
    """Return in how many percent of steps from epoch to epoch ASR and a column move the same way.

    Over all epochs after the first of a seed's runs; NaN where one of them never changes.
    """
    steps = _steps(rows, column)
    return 100 * float((steps["asr"] == steps[column]).mean()) if len(steps) else math.nan


def same_way_by_chance(rows: pd.DataFrame, column: str) -> float:
    """Return in how many percent they would by chance, each rising as often as it does.

    It is 50 only where one of them rises as often as it falls.
    """
    steps = _steps(rows, column)
    if steps.empty:
        return math.nan
    up, too = ((steps[name] > 0).mean() for name in ("asr", column))
    return 100 * float(up * too + (1 - up) * (1 - too))


def _steps(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The direction of ASR and of a column from epoch to epoch, where both change."""
    after = candidates(rows).sort_values(["run", "epoch"])
    if column not in after:
        return pd.DataFrame(columns=["asr", column])
    steps = after.groupby("run")[["asr", column]].diff().dropna().apply(np.sign)
    return steps[(steps != 0).all(axis=1)]


def ssl_share(rows: pd.DataFrame) -> float:
    """Return SSL's share (percent) of the pull of both terms on the image tower: ``probe``'s rows.

    A pull is the norm of a term's mean gradient over the first clean batches.
    """
    row = candidates(rows).iloc[0]
    ssl, mmcl = row["pull_ssl_image"], row["pull_mmcl_image"]
    return 100 * float(ssl / (ssl + mmcl))


def ssl_at_start(rows: pd.DataFrame) -> float:
    """Return the SSL loss that a model starts to be cleaned from, in percent of that by chance."""
    row = candidates(rows).iloc[0]
    return 100 * float(row["loss_ssl"]) / math.log(row["batch_size"])


def asr_after(rows: pd.DataFrame) -> float:
    """Return the mean ASR (percent) of the models made."""
    return float(candidates(rows)["asr"].mean())


def regained(rows: pd.DataFrame) -> float:
    """Return by how much (points) ASR is higher after fine-tuning a cleaned model, mean over runs.

    The highest of a run's epochs counts: a user may stop at any.
    """
    rises = [candidates(run)["asr"].max() - before(run).asr for _, run in rows.groupby("run")]
    return float(np.mean(rises))


class Relation(NamedTuple):
    """A rank correlation over settings, and how often chance gives one as far from 0."""

    rho: float
    p: float
    n: int

    @property
    def chance(self) -> str:
        """Its p in words, with enough digits to be told from an edge such as 0.0167."""
        return f"p = {self.p:.4f}" if self.p >= 0.00005 else "p < 0.0001"


def relation(x: pd.Series, y: pd.Series, *, draws: int = 1_999_999, seed: int = 0) -> Relation:
    """Return Spearman's rank correlation with its p of permutations; NaN below ``FEWEST`` pairs."""
    both = pd.concat([x, y], axis=1, keys=["x", "y"]).dropna().rank()
    if len(both) < FEWEST or (both.nunique() == 1).any():
        return Relation(math.nan, math.nan, len(both))
    a, b = ((both[name] - both[name].mean()).to_numpy() for name in ("x", "y"))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    random = np.random.default_rng(seed)
    rho, far = float(a @ b) / scale, 0
    for first in range(0, draws, AT_ONCE):
        many = np.tile(b, (min(AT_ONCE, draws - first), 1))
        chance = random.permuted(many, axis=1) @ a / scale
        far += int((np.abs(chance) >= abs(rho) - 1e-12).sum())
    return Relation(rho, (far + 1) / (draws + 1), len(both))
