"""The one rule that decides every claim, and the line of a conclusion's verdict.

A claim says that a number, one per seed, lies above (or below) an edge. It *holds* when the 95 %
t-interval over seeds lies wholly on that side, *does not hold* when it lies wholly on the other,
and is *not decided* otherwise. Two things are added to the t-interval. The seeds' spread counts as
at least ``LEAST_SPREAD``, so that seeds which agree by luck decide nothing. And a seed that speaks
for one side never weakens it: values further out, which would only widen the interval, are drawn in
to the value that serves that side best. So the verdict is monotone in every value.
*Cannot tell here* is said where the numbers, whatever they are, are no answer: ``arms``.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bdnb.analysis import arms
from bdnb.analysis.arms import Arm
from bdnb.analysis.metrics import Spread, by_seed, over_seeds, t_factor, whole
from bdnb.analysis.price import kept_accuracy, kept_at
from bdnb.runtime.errors import ConfigError

HOLDS, FAILS, OPEN, MUTE = "holds", "does not hold", "not decided", "cannot tell here"
LEAST_SPREAD = 2.0
"""Standard deviation over seeds (points) that is assumed at least: what the sampling of 1,500 test
images does to one seed's kept accuracy (``price.sampling_error``). A claim that lies right at its
edge is decided, wrongly, in 10 % of draws of 3 or 4 seeds that spread by 9 points, 6 % of 8 seeds;
where they spread by 40 points in 23 % of 2 or 3 seeds, 11 % of 4."""
MIN_SEEDS = 2
COLUMNS = ("run", "seed", "epoch", "accuracy", "asr", "poisoned", "defence", "loss", "lr", "study")

Measure = Callable[[pd.DataFrame], float]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A number per seed, and the side of an edge that it must lie on.

    measure: rows of one seed of an arm -> number. less: the arm whose number is taken off, by seed.
    cleaned: its runs start from models that were cleaned before, and must have been.
    """

    quantity: str
    of: Arm
    less: Arm | None = None
    edge: float
    above: bool = True
    unit: str = "points"
    measure: Measure = kept_accuracy
    cleaned: bool = False

    @property
    def rule(self) -> str:
        """The rule as a sentence."""
        side, other = ("above", "below") if self.above else ("below", "above")
        edge = f"{self.edge:g} {self.unit}"
        return f"{self.quantity}: holds if the interval is {side} {edge}, not if {other} it"


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """One of the paper's conclusions: claims that must all hold."""

    id: str
    statement: str
    paper: str
    claims: tuple[Claim, ...]

    @property
    def models(self) -> set[str]:
        """The backdoored models that it is about."""
        return {arm.poisoned for claim in self.claims for arm in (claim.of, claim.less) if arm}

    @property
    def about(self) -> dict[str, str]:
        """What is known of it before the runs."""
        about = {"id": self.id, "statement": self.statement, "paper": self.paper}
        rules = "; and ".join(claim.rule for claim in self.claims)
        return about | {"quantity": self.claims[0].quantity, "rule": rules}


@dataclass(frozen=True)
class Finding:
    """What the rows say of one claim. verdict: a word, and why in brackets where it needs that."""

    claim: Claim
    values: pd.Series
    """By seed."""
    verdict: str
    most: float = 100.0
    """What an arm's number can be at most."""
    at_5: float = math.nan
    """Mean of the same at ASR <= 5 % alone, for kept accuracy."""

    @property
    def spread(self) -> Spread:
        """Mean and interval as shown, no wider than what the quantity can be."""
        limits = (-self.most if self.claim.less or not self.claim.edge else 0.0, self.most)
        return over_seeds(self.values, least_spread=LEAST_SPREAD, limits=limits)

    @property
    def beyond(self) -> pd.Series:
        """How far each seed is beyond the edge, on the side that the claim is about."""
        distance = self.values - self.claim.edge
        return distance if self.claim.above else -distance


def bounds(values: pd.Series) -> tuple[float, float]:
    """The two ends that a verdict is read from: (at least, at most), both monotone in every value.

    At least: the highest lower end of the interval over all values no larger than those given. With
    lower end = mean - t * spread, a concave function, it is found by cutting the largest values.
    """
    given = values.to_numpy(dtype=float)
    return _at_least(given), -_at_least(-given)


def _at_least(values: np.ndarray) -> float:
    n, factor = len(values), t_factor(len(values))
    low, high = float(values.min()), float(values.max())
    for _ in range(60):
        cut = (low + high) / 2
        given = np.minimum(values, cut)
        spread = float(given.std(ddof=1))
        # The derivative of the interval's end by the cut.
        helps = spread <= LEAST_SPREAD or (cut - given.mean()) * n * factor < (n - 1) * spread
        low, high = (cut, high) if helps else (low, cut)
    given = np.minimum(values, high)
    return float(given.mean()) - factor * max(float(given.std(ddof=1)), LEAST_SPREAD)


def decide(values: pd.Series, edge: float, *, above: bool = True) -> str:
    """The rule: "holds", "does not hold" or "not decided". values: by seed, none missing."""
    if len(values) < MIN_SEEDS:
        return f"{OPEN} ({'one seed' if len(values) else 'no rows'})"
    least, most = bounds(values)
    if least > edge:
        return HOLDS if above else FAILS
    if most < edge:
        return FAILS if above else HOLDS
    return OPEN


def judge(
    conclusions: Iterable[Conclusion], clean: pd.DataFrame, train: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A line a conclusion with its verdict; see ``conclusions.verdicts``."""
    lacking = [name for name in COLUMNS if name not in clean]
    if len(clean) and lacking:
        raise ConfigError(f"rows of cleaning runs without the columns {lacking}")
    clean = whole(clean)
    return pd.DataFrame([_line(conclusion, clean, train) for conclusion in conclusions])


def find(claim: Claim, clean: pd.DataFrame) -> Finding:
    """What the rows say of one claim."""
    if clean.empty:
        return Finding(claim, pd.Series(dtype=float), f"{OPEN} (no rows)")
    of, less = claim.of.rows(clean), claim.less.rows(clean) if claim.less else None
    for arm, rows in ((claim.of, of), (claim.less, less)):
        if arm and rows is not None and (reason := arms.not_ready(arm, rows)):
            return Finding(claim, pd.Series(dtype=float), f"{OPEN} ({reason})")
    if less is not None and (both := set(of["seed"]) & set(less["seed"])):
        of, less = (rows[rows["seed"].isin(both)] for rows in (of, less))
    values = _values(claim.measure, of, less)
    found = decide(values, claim.edge, above=claim.above)
    if reason := _mute(claim, found, of, less):
        found = f"{MUTE} ({reason})"
    if claim.measure is not kept_accuracy:
        return Finding(claim, values, found, 100.0)
    start = of.loc[of["epoch"] == 0, "accuracy"].min()
    at_5 = float(_values(kept_at, of, less).mean())
    return Finding(claim, values, found, 1e4 / max(start, 1.0), at_5)


def _values(measure: Measure, of: pd.DataFrame, less: pd.DataFrame | None) -> pd.Series:
    """By seed; of two arms the difference, for the seeds of both."""
    values = by_seed(of, measure)
    return values if less is None else (values - by_seed(less, measure)).dropna()


def _mute(claim: Claim, found: str, of: pd.DataFrame, less: pd.DataFrame | None) -> str:
    """Why the numbers are no answer here; empty when they are one."""
    sides = [of] if less is None else [of, less]
    for rows in sides:
        fit = arms.not_clean(rows) if claim.cleaned else arms.no_backdoor(rows)
        if reason := fit or arms.inert(rows):
            return reason
    if claim.measure is not kept_accuracy:
        return ""
    if less is not None and arms.at_floor(of, less):
        return "neither model keeps any accuracy"
    if not found.startswith((HOLDS, FAILS)):
        return ""
    # At the edge of its grid an arm may do better than was measured, never worse.
    upwards = (found == HOLDS) == claim.above
    for rows, stands in zip(sides, (upwards, not upwards), strict=False):
        if not stands and arms.at_edge(rows):
            return (
                f"the best {arms.words(rows['poisoned'].iloc[0])} at the edge of the learning rates"
            )
    return ""


def _line(
    conclusion: Conclusion, clean: pd.DataFrame, train: pd.DataFrame | None
) -> Mapping[str, object]:
    found = [find(claim, clean) for claim in conclusion.claims]
    first = found[0].spread
    numbers = {"ours": first.mean, "low": first.low, "high": first.high, "n": first.n}
    notes = [_note(one) for one in found if len(one.values)]
    notes += _not_cleaned(conclusion, clean, train) if notes else []
    said = {"verdict": joint([one.verdict for one in found]), "evidence": "; ".join(notes)}
    rest = {"at_5": found[0].at_5} | said | {"findings": tuple(found)}
    return conclusion.about | numbers | rest


def joint(verdicts: list[str]) -> str:
    """Return the verdict on claims that must all hold, from theirs."""
    for word in (FAILS, MUTE, OPEN):
        for verdict in verdicts:
            if verdict.startswith(word):
                return verdict
    return HOLDS


def _note(found: Finding) -> str:
    spread, unit = found.spread, found.claim.unit
    number = f"{spread.mean:.1f} {unit}"
    if spread.n > 1:
        least, most = bounds(found.values)
        number += f" [{spread.low:.1f}, {spread.high:.1f}]"
        number += f", at least {least:.1f}" if least > found.claim.edge else ""
        number += f", at most {most:.1f}" if most < found.claim.edge else ""
    return f"{found.claim.quantity}: {number}, n={spread.n}: {found.verdict}"


def _not_cleaned(
    conclusion: Conclusion, clean: pd.DataFrame, train: pd.DataFrame | None
) -> list[str]:
    """Seeds that were trained, but have no whole cleaning run among the rows."""
    if train is None or train.empty:
        return []
    notes = []
    for name in sorted(conclusion.models):
        trained = set(train.loc[train["experiment"] == name, "seed"])
        cleaned = set(clean.loc[clean["poisoned"] == name, "seed"])
        if missing := ", ".join(str(seed) for seed in sorted(trained - cleaned)):
            notes.append(f"{name}: seed {missing} trained, but not cleaned")
    return notes
