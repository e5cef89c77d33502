"""Deciding a conclusion from numbers per seed: bands, claims, and the line of the verdict.

A conclusion is one or more claims that must all hold. A claim is about one number per seed. It
holds when every seed is beyond ``Band.holds`` and the mean's 95 % interval clears
``Band.fails``; it does not hold when every seed is beyond ``Band.fails`` on the other side and
the interval clears ``Band.holds``; else it is not decided here. Nothing is decided from one seed.
A seed in which no model reaches ASR <= 5 % counts as worse than every loss of accuracy; mean
and interval are over the other seeds, and the number of such seeds is told.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from bdnb.analysis.metrics import over_seeds
from bdnb.runtime.errors import ConfigError

HOLDS, FAILS, OPEN = "holds", "does not hold", "not decided here"
BACKDOORED = 80.0
"""ASR (percent) that a model must have before cleaning, for its cleaning to say anything."""
MIN_SEEDS = 2
COLUMNS = ("run", "seed", "epoch", "accuracy", "asr", "poisoned", "defence", "loss", "lr", "study")

Measure = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Band:
    """Where a claim holds and where it fails; upwards when ``holds`` is the larger."""

    holds: float
    fails: float
    unit: str

    @property
    def words(self) -> str:
        """The rule as a sentence."""
        up = self.holds > self.fails
        more, less = ("≥", "≤") if up else ("≤", "≥")
        above, below = ("above", "below") if up else ("below", "above")
        return (
            f"holds if every seed {more} {self.holds:g} and interval {above} {self.fails:g}, "
            f"not if every seed {less} {self.fails:g} and interval {below} {self.holds:g} "
            f"({self.unit})"
        )


@dataclass(frozen=True)
class Claim:
    """One number per seed, and the band that it must lie in.

    measure: the conclusion's rows -> Series by seed; infinite where no model was cleaned.
    """

    quantity: str
    band: Band
    measure: Measure


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """One of the paper's conclusions: the rows that it is about, and its claims."""

    id: str
    statement: str
    paper: str
    where: Mapping[str, tuple[str, ...]]
    """Column -> values. Each value of poisoned and of study must have rows."""
    claims: tuple[Claim, ...]
    beyond: Mapping[str, float] = field(default_factory=dict)
    """Column -> number that it must exceed."""

    @property
    def rule(self) -> str:
        """What decides it, in words."""
        return "; and ".join(f"{claim.quantity}: {claim.band.words}" for claim in self.claims)

    @property
    def about(self) -> dict[str, str]:
        """What is known of it before the runs."""
        quantity = self.claims[0].quantity
        about = {"id": self.id, "statement": self.statement, "quantity": quantity}
        return about | {"paper": self.paper, "rule": self.rule}

    def rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that it is about."""
        mask = pd.Series(True, index=rows.index)
        for column, values in self.where.items():
            mask &= rows[column].isin(values)
        for column, least in self.beyond.items():
            mask &= rows[column] > least
        return rows[mask]


def decide(values: pd.Series, band: Band) -> str:
    """One claim: "holds", "does not hold" or "not decided here ...", by the rule above.

    values: by seed; NaN where a seed has no number, infinite where no model was cleaned.
    """
    if len(values) < MIN_SEEDS:
        return f"{OPEN} ({'one seed' if len(values) else 'no rows'})"
    if values.isna().any():
        seeds = ", ".join(str(seed) for seed in values.index[values.isna()])
        return f"{OPEN} (no number for seed {seeds})"
    up = 1 if band.holds > band.fails else -1
    holds, fails, seeds_up = up * band.holds, up * band.fails, up * values
    spread = over_seeds(seeds_up)
    low, high = (spread.low, spread.high) if spread.n > 1 else (math.inf, -math.inf)
    if seeds_up.min() >= holds and low > fails:
        return HOLDS
    if seeds_up.max() <= fails and high < holds:
        return FAILS
    return OPEN


def judge(
    conclusions: Iterable[Conclusion], clean: pd.DataFrame, train: pd.DataFrame | None = None
) -> pd.DataFrame:
    """A line a conclusion with its verdict; see ``conclusions.verdicts``."""
    conclusions = list(conclusions)
    extra = {column for conclusion in conclusions for column in conclusion.beyond}
    lacking = [name for name in (*COLUMNS, *sorted(extra)) if name not in clean]
    if len(clean) and lacking:
        raise ConfigError(f"rows of cleaning runs without the columns {lacking}")
    whole = clean[clean["finished"].notna()] if "finished" in clean else clean
    return pd.DataFrame([_line(conclusion, whole, train) for conclusion in conclusions])


def _line(
    conclusion: Conclusion, clean: pd.DataFrame, train: pd.DataFrame | None
) -> Mapping[str, object]:
    rows = conclusion.rows(clean) if len(clean) else clean
    if reason := _not_ready(conclusion, rows):
        nothing = {"ours": math.nan, "low": math.nan, "high": math.nan, "n": 0}
        return conclusion.about | nothing | {"verdict": f"{OPEN} ({reason})", "evidence": ""}
    values = [claim.measure(rows) for claim in conclusion.claims]
    found = [decide(v, claim.band) for v, claim in zip(values, conclusion.claims, strict=True)]
    spread = over_seeds(values[0])
    numbers = {"ours": spread.mean, "low": spread.low, "high": spread.high, "n": len(values[0])}
    notes = [_note(c, v, f) for c, v, f in zip(conclusion.claims, values, found, strict=True)]
    notes += _not_cleaned(conclusion, rows, train)
    weak = _weak(rows)
    verdict = f"{OPEN} (no backdoor to clean: {weak})" if weak else _joint(found)
    return conclusion.about | numbers | {"verdict": verdict, "evidence": "; ".join(notes)}


def _joint(found: list[str]) -> str:
    """The verdict on claims that must all hold."""
    if FAILS in found:
        return FAILS
    return next((verdict for verdict in found if verdict != HOLDS), HOLDS)


def _not_ready(conclusion: Conclusion, rows: pd.DataFrame) -> str:
    """Why there is nothing to decide from; empty when there is."""
    if rows.empty:
        return "no rows"
    for column in ("poisoned", "study"):
        for value in conclusion.where.get(column, ()):
            if not (rows[column] == value).any():
                return f"no rows of {column} {value}"
    first = rows.groupby("run")["epoch"].min()
    late = first.index[first > 0]
    return f"no row before cleaning in {', '.join(map(str, late[:3]))}" if len(late) else ""


def _weak(rows: pd.DataFrame) -> str:
    """The poisoned models without a backdoor worth cleaning; empty when all have one."""
    start = rows[rows["epoch"] == 0].groupby(["poisoned", "seed"])["asr"].mean()
    weak = start[~(start >= BACKDOORED)].reset_index()
    lines = zip(weak["poisoned"], weak["seed"], weak["asr"], strict=True)
    return ", ".join(f"{name} seed {seed}, ASR {asr:.1f} %" for name, seed, asr in lines)


def _note(claim: Claim, values: pd.Series, found: str) -> str:
    spread = over_seeds(values)
    number = f"{spread.mean:.1f} {claim.band.unit}" if spread.n else "no number"
    if spread.n > 1:
        number += f" [{spread.low:.1f}, {spread.high:.1f}]"
    none = f", none cleaned in {spread.missing} of {len(values)} seeds" if spread.missing else ""
    return f"{claim.quantity}: {number}, n={spread.n}{none}: {found}"


def _not_cleaned(
    conclusion: Conclusion, rows: pd.DataFrame, train: pd.DataFrame | None
) -> list[str]:
    """Seeds that were trained, but have no whole cleaning run among the rows."""
    if train is None or train.empty:
        return []
    notes = []
    for name in conclusion.where.get("poisoned", ()):
        trained = set(train.loc[train["experiment"] == name, "seed"])
        cleaned = set(rows.loc[rows["poisoned"] == name, "seed"])
        if missing := ", ".join(str(seed) for seed in sorted(trained - cleaned)):
            notes.append(f"{name}: seed {missing} trained, but not cleaned")
    return notes
