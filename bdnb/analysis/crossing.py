"""Does the contrast belong to the model or to the cleaning loss? The rule, older than its rows.

Rows of cleaning runs in, a finding a way of cleaning out. The contrast of a way is the price number
of the MMCL model less that of the MMCL + SSL model, by seed, at the learning rates that CleanCLIP
was run at, too. If the objective alone made a backdoor strong, all ways would have CleanCLIP's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd

from bdnb.analysis import arms
from bdnb.analysis.arms import Arm
from bdnb.analysis.conclusions import CONTRAST, STRONG, WEAK
from bdnb.analysis.metrics import by_seed
from bdnb.analysis.price import curve, kept_accuracy
from bdnb.analysis.verdict_rules import MUTE, OPEN, decide, joint

CLEANCLIP = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main"}
WAYS = {
    "PAR": {"defence": "par", "study": "crossing"},
    "MMCL alone": {"defence": "cleanclip", "loss": "mmcl", "study": "crossing"},
}
"""Ways of cleaning without an SSL term: name -> values of the columns of their rows."""

RULE = (
    "The number is kept accuracy; where, in most seeds, neither model keeps any under one of the "
    "two ways, it is for both ways the mean of the whole price curve, over ASRs of 1 to 100 %. "
    "*CleanCLIP depends more on the objective*: the interval of CleanCLIP's contrast minus the "
    f"other way's is above {CONTRAST:g} points; not if below. *It crosses*: CleanCLIP's contrast "
    f"is above {CONTRAST:g} points and the other's below -{CONTRAST:g}; not if one of them lies "
    "wholly on the other side. Seeds and learning rates are those of both ways. A model without a "
    "backdoor before cleaning says nothing; a best model at the edge of the rates is named."
)

Pair = list[tuple[Arm, pd.DataFrame]]
"""Both models cleaned in one way, MMCL first."""


@dataclass(frozen=True, kw_only=True)
class Crossing:
    """What the rows say of CleanCLIP beside another way."""

    way: str
    depends: str
    """Verdict on CleanCLIP's contrast less the other's."""
    crosses: str
    """Verdict on the two contrasts lying on two sides."""
    number: str = ""
    numbers: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Index seed, columns (way, model), the way "CleanCLIP" or the other."""
    edges: tuple[str, ...] = ()
    """Where the best models lie at the edge of the rates: others might do better elsewhere."""

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
    whole = clean[clean["finished"].notna()] if "finished" in clean else clean
    return [_crossing(name, where, whole) for name, where in WAYS.items()]


def _crossing(name: str, where: Mapping[str, str], clean: pd.DataFrame) -> Crossing:
    if clean.empty:
        return _undecided(name, "no rows")
    ways = {"CleanCLIP": _pair(CLEANCLIP, where, clean), name: _pair(where, CLEANCLIP, clean)}
    both = [one for pair in ways.values() for one in pair]
    if reasons := [why for arm, rows in both if (why := arms.not_ready(arm, rows))]:
        return _undecided(name, reasons[0])
    floor = any(arms.at_floor(weak, strong) for (_, weak), (_, strong) in ways.values())
    measure = whole_curve if floor else kept_accuracy
    by = {(w, a.poisoned): by_seed(rows, measure) for w, pair in ways.items() for a, rows in pair}
    numbers = pd.DataFrame(by).dropna()
    found = Crossing(way=name, depends="", crosses="", numbers=numbers)
    ours, theirs = (found.contrasts[way] for way in ways)
    depends = decide(ours - theirs, CONTRAST)
    crosses = joint([decide(ours, CONTRAST), decide(theirs, -CONTRAST, above=False)])
    if weak := [why for _, rows in both if (why := arms.no_backdoor(rows))]:
        depends = crosses = f"{MUTE} ({weak[0]})"
    return replace(
        found,
        depends=depends,
        crosses=crosses,
        number="mean of the whole price curve" if floor else "kept accuracy",
        edges=tuple(
            f"{way} on {arms.words(arm.poisoned)}"
            for way, pair in ways.items()
            for arm, rows in pair
            if arms.at_edge(rows)
        ),
    )


def _undecided(name: str, why: str) -> Crossing:
    return Crossing(way=name, depends=f"{OPEN} ({why})", crosses=f"{OPEN} ({why})")


def _pair(where: Mapping[str, str], other: Mapping[str, str], clean: pd.DataFrame) -> Pair:
    """The rows of one way, at the seeds and rates of the other."""
    models = (WEAK, STRONG)
    wanted = [Arm(poisoned=m, where=where, like=Arm(poisoned=m, where=other)) for m in models]
    return [(arm, arm.rows(clean)) for arm in wanted]
