"""Does the contrast belong to the model or to the cleaning loss? The rule and its rows.

Rows of cleaning runs in, a finding a way of cleaning out. The contrast of a way is the price number
of the MMCL model less that of the MMCL + SSL model, by seed, at the learning rates that both models
were cleaned at in both ways. If the objective alone made a backdoor strong, all ways would have
CleanCLIP's. A contrast has a sign: a way whose contrast is negative depends on the objective, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from bdnb.analysis import arms
from bdnb.analysis.arms import Arm
from bdnb.analysis.conclusions import CONTRAST, MAIN, STRONG, WEAK
from bdnb.analysis.metrics import by_seed, whole
from bdnb.analysis.price import curve, kept_accuracy
from bdnb.analysis.verdict_rules import FAILS, HOLDS, MUTE, OPEN, decide, joint

WAYS = {
    "PAR": {"defence": "par", "study": "crossing"},
    "MMCL alone": {"defence": "cleanclip", "loss": "mmcl", "study": "crossing"},
}
"""Ways of cleaning without an SSL term: name -> values of the columns of their rows."""

RULE = (
    "The number is kept accuracy; where, in most seeds, neither model keeps any under one of the "
    "two ways, it is for both ways the mean of the whole price curve, over ASRs of 1 to 100 %. "
    "*The contrast is larger under CleanCLIP*: the interval of CleanCLIP's contrast minus the "
    f"other way's is above {CONTRAST:g} points; not if below. *It crosses*: CleanCLIP's contrast "
    f"is above {CONTRAST:g} points and the other's below -{CONTRAST:g}; not if one of them lies "
    "wholly on the other side. Seeds and learning rates are those that both models have in both "
    "ways. A model without a backdoor before cleaning says nothing; a best model at the edge of "
    "the rates is named. Added after the rows, and never in a claim's favour: the first is asked "
    "once more with all learning rates that CleanCLIP has, and once more with the seeds alone that "
    "have every learning rate, and counts as shown only where it holds each time; and it cannot be "
    "told where a best model lies at the edge of the rates and a better one beyond it would weaken "
    "the verdict."
)

Pair = list[tuple[Arm, pd.DataFrame]]
"""Both models cleaned in one way, MMCL first."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What the rows say of CleanCLIP beside another way."""

    way: str
    larger: str
    """Verdict on CleanCLIP's contrast less the other's."""
    crosses: str
    """Verdict on the two contrasts lying on two sides."""
    number: str = ""
    numbers: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Index seed, columns (way, model), the way "CleanCLIP" or the other."""
    edges: tuple[str, ...] = ()
    """Where the best models lie at the edge of the rates: others might do better elsewhere."""
    fewer: tuple[int, ...] = ()
    """Seeds that were cleaned at fewer learning rates than others."""
    alike: str = ""
    """Verdict on ``larger`` without those; the same where there are none."""
    further: pd.Series = field(default_factory=lambda: pd.Series(dtype=float))
    """CleanCLIP's contrast by seed with all of its rates; empty where it has no others."""
    wider: str = ""
    """Verdict on that less the other's contrast; that of ``larger`` where there is no other."""

    @property
    def contrasts(self) -> pd.DataFrame:
        """The MMCL model's number less the other's; a column a way, CleanCLIP first."""
        if self.numbers.empty:
            return self.numbers
        ways = dict.fromkeys(self.numbers.columns.get_level_values(0))
        return pd.DataFrame({w: self.numbers[w, WEAK] - self.numbers[w, STRONG] for w in ways})


def whole_curve(rows: pd.DataFrame) -> float:
    """Return the price curve's mean over ASRs of 1 to 100 %: no floor where none is clean."""
    return float(curve(rows, range(1, 101)).mean())


def crossings(clean: pd.DataFrame) -> list[Crossing]:
    """Return the finding of each of ``WAYS``. clean: rows of cleaning runs; finished ones count."""
    clean = whole(clean)
    return [_crossing(name, where, clean) for name, where in WAYS.items()]


def _crossing(name: str, where: Mapping[str, str], clean: pd.DataFrame) -> Crossing:
    if clean.empty:
        return _undecided(name, "no rows")
    ways = _shared({"CleanCLIP": _pair(MAIN, clean), name: _pair(where, clean)})
    both = [one for pair in ways.values() for one in pair]
    if reasons := [why for arm, rows in both if (why := arms.not_ready(arm, rows))]:
        return _undecided(name, reasons[0])
    floor = any(arms.at_floor(weak, strong) for (_, weak), (_, strong) in ways.values())
    measure = whole_curve if floor else kept_accuracy
    by = {(w, a.poisoned): by_seed(rows, measure) for w, pair in ways.items() for a, rows in pair}
    numbers = pd.DataFrame(by).dropna()
    found = Crossing(way=name, larger="", crosses="", numbers=numbers)
    ours, theirs = (found.contrasts[way] for way in ways)
    larger = wider = _told(decide(ours - theirs, CONTRAST), ways)
    fewer = _fewer(both[0][1])
    full = {way: [(a, rows[~rows["seed"].isin(fewer)]) for a, rows in ways[way]] for way in ways}
    alike = _told(decide((ours - theirs)[~ours.index.isin(fewer)], CONTRAST), full)
    further = pd.Series(dtype=float)
    more = _shared({"CleanCLIP": _pair(MAIN, clean)}) | {name: ways[name]}
    if _runs(more["CleanCLIP"]) > _runs(ways["CleanCLIP"]):
        first, second = (by_seed(rows, measure) for _, rows in more["CleanCLIP"])
        further = (first - second).reindex(numbers.index).dropna()
        wider = _told(decide((further - theirs).dropna(), CONTRAST), more)
    crosses = joint([decide(ours, CONTRAST), decide(theirs, -CONTRAST, above=False)])
    if weak := [why for _, rows in both if (why := arms.no_backdoor(rows))]:
        larger = wider = alike = crosses = f"{MUTE} ({weak[0]})"
    return replace(
        found,
        larger=larger,
        crosses=crosses,
        further=further,
        wider=wider,
        number="mean of the whole price curve" if floor else "kept accuracy",
        fewer=fewer,
        alike=alike,
        edges=tuple(
            f"{way} on {arms.words(arm.poisoned)}"
            for way, pair in ways.items()
            for arm, rows in pair
            if arms.at_edge(rows)
        ),
    )


def _told(verdict: str, ways: Mapping[str, Pair]) -> str:
    """A verdict on CleanCLIP's contrast less the other's, unless an edge could weaken it."""
    if not verdict.startswith((HOLDS, FAILS)):
        return verdict
    for way, pair in ways.items():
        # What a better model of this way would do to the difference.
        weak_adds = way == "CleanCLIP"
        rises = dict(zip((WEAK, STRONG), (weak_adds, not weak_adds), strict=True))
        for arm, rows in pair:
            if rises[arm.poisoned] == verdict.startswith(FAILS) and arms.at_edge(rows):
                about = f"{way} on {arms.words(arm.poisoned)}"
                return f"{MUTE} (best at the edge of the learning rates: {about})"
    return verdict


def _undecided(name: str, why: str) -> Crossing:
    word = f"{OPEN} ({why})"
    return Crossing(way=name, larger=word, crosses=word, wider=word, alike=word)


def _pair(where: Mapping[str, str], clean: pd.DataFrame) -> Pair:
    """The rows of one way on both models."""
    both = [Arm(poisoned=model, where=where) for model in (WEAK, STRONG)]
    return [(arm, arm.rows(clean)) for arm in both]


def _shared(ways: Mapping[str, Pair]) -> dict[str, Pair]:
    """The same at the seeds and learning rates that both models have in all ways."""
    frames = [rows[["seed", "lr"]].drop_duplicates() for pair in ways.values() for _, rows in pair]
    common = frames[0]
    for frame in frames[1:]:
        common = common.merge(frame)
    return {
        way: [(arm, rows.merge(common, on=["seed", "lr"])) for arm, rows in pair]
        for way, pair in ways.items()
    }


def _fewer(rows: pd.DataFrame) -> tuple[int, ...]:
    counts = rows.groupby("seed")["lr"].nunique()
    return tuple(counts.index[counts < counts.max()])


def _runs(pair: Pair) -> set[tuple[int, float]]:
    """The seeds and learning rates that both models have."""
    return set(pair[0][1][["seed", "lr"]].itertuples(index=False, name=None))
