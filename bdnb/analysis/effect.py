"""What the contrast hangs on: explanations as claims, and the map's correlation; older than rows.

Rows of cleaning runs in (of CleanCLIP, and of the measurements ``probe`` and ``swap``), verdicts
and numbers out. Every explanation is decided by the rule of ``verdict_rules``.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from bdnb.analysis.arms import Arm
from bdnb.analysis.conclusions import CONTRAST, STRONG, WEAK
from bdnb.analysis.metrics import candidates
from bdnb.analysis.verdict_rules import Claim, Conclusion, Measure, judge

NAMES = {WEAK: "MMCL", STRONG: "MMCL + SSL"}
BESIDE = ("accuracy", "loss_mmcl", "loss_ssl")
"""What may change when ASR does."""
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

    Over all epochs after the first of a seed's runs; NaN where one of them never changes. By chance
    it is about 50.
    """
    after = candidates(rows).sort_values(["run", "epoch"])
    if column not in after:
        return math.nan
    steps = np.sign(after.groupby("run")[["asr", column]].diff())
    ways = (steps["asr"] * steps[column]).dropna()
    return 100 * float((ways[ways != 0] > 0).mean())


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


def _arm(poisoned: str, **where: str) -> Arm:
    return Arm(poisoned=poisoned, where=where)


def _contrast(quantity: str, measure: Measure, *, weak_first: bool, **where: str) -> Claim:
    models = (WEAK, STRONG) if weak_first else (STRONG, WEAK)
    of, less = (_arm(model, **where) for model in models)
    words = f"{quantity}, {NAMES[models[0]]} minus {NAMES[models[1]]}"
    return Claim(quantity=words, of=of, less=less, edge=CONTRAST, measure=measure)


MAIN = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main"}

EXPLANATIONS: tuple[Conclusion, ...] = (
    Conclusion(
        id="W1",
        statement="A model pre-trained with SSL has little left for SSL to change",
        paper="not asked",
        claims=(
            _contrast(
                "SSL loss at first, % of chance", ssl_at_start, weak_first=True, defence="probe"
            ),
            _contrast(
                "SSL's share of the pull on the image tower",
                ssl_share,
                weak_first=True,
                defence="probe",
            ),
        ),
    ),
    Conclusion(
        id="W2",
        statement="The backdoor lies in the image tower",
        paper="not asked",
        claims=tuple(
            Claim(
                quantity=f"ASR with the image tower alone minus with the text tower alone, {name}",
                of=_arm(model, defence="swap", option_backdoored="image"),
                less=_arm(model, defence="swap", option_backdoored="text"),
                edge=CONTRAST,
                measure=asr_after,
            )
            for model, name in NAMES.items()
        ),
    ),
    Conclusion(
        id="W3",
        statement="ASR comes back within cleaning runs of MMCL + SSL models more than of MMCL's",
        paper="figure only (5, 19, 20)",
        claims=(_contrast("largest rise of ASR", mean_comeback, weak_first=False, **MAIN),),
    ),
    Conclusion(
        id="W4",
        statement="Where ASR rises in an MMCL + SSL model's cleaning, accuracy rises, too",
        paper="not asked",
        claims=(
            Claim(
                quantity="epochs in which both move the same way",
                of=_arm(STRONG, **MAIN),
                edge=50.0,
                unit="%",
                measure=lambda rows: same_way(rows, "accuracy"),
            ),
        ),
    ),
)


def explanations(clean: pd.DataFrame) -> pd.DataFrame:
    """Return each explanation's verdict, as ``verdict_rules.judge`` does. clean: rows, or none."""
    missing = {name: None for name in ("option_backdoored",) if name not in clean and len(clean)}
    return judge(EXPLANATIONS, clean.assign(**missing))


class Relation(NamedTuple):
    """A rank correlation over settings, and how often chance gives one as far from 0."""

    rho: float
    p: float
    n: int


def relation(x: pd.Series, y: pd.Series, *, draws: int = 9999, seed: int = 0) -> Relation:
    """Return Spearman's rank correlation with its p of permutations; NaN below ``FEWEST`` pairs."""
    both = pd.concat([x, y], axis=1, keys=["x", "y"]).dropna().rank()
    if len(both) < FEWEST or (both.nunique() == 1).any():
        return Relation(math.nan, math.nan, len(both))
    a, b = ((both[name] - both[name].mean()).to_numpy() for name in ("x", "y"))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    random = np.random.default_rng(seed)
    chance = np.array([a @ random.permutation(b) for _ in range(draws)]) / scale
    rho = float(a @ b) / scale
    far = int((np.abs(chance) >= abs(rho) - 1e-12).sum())
    return Relation(rho, (far + 1) / (draws + 1), len(both))
