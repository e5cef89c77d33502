"""Tables of the studies: best models, verdict, smoothness, and what the last epoch gives.

Rows of a study in, a styled table out, as notebooks show it (Sections 4 and 5).
"""

from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any

import pandas as pd
from pandas.api.types import is_numeric_dtype
from pandas.io.formats.style import Styler

from bdnb.analysis.metrics import (
    CLEANED,
    Smoothness,
    Spread,
    best_accuracy_at,
    by_seed,
    last_epoch,
    over_seeds,
)
from bdnb.analysis.metrics import smoothness as smoothness_of
from bdnb.analysis.price import groups
from bdnb.report.style import between, name, some
from bdnb.runs import elsewhere

MEAN = attrgetter("mean")
FEW = 3
"""Seeds below which a table shows no interval: it would be as wide as the scale."""


def best(rows: pd.DataFrame) -> Styler:
    """What each setting's models keep of their accuracy, and the best at ASR of at most 5 %.

    rows: as ``settings`` returns them.
    """
    ordered = rows.sort_values(["panel", "setting"], kind="stable")
    plain = ordered.astype({"panel": str, "setting": str})
    made = groups(plain, by=["panel", "setting"])
    frame = made[["panel", "setting"]].rename(columns={"panel": "model"})
    return styled(frame.join(pd.DataFrame(measured(made))).assign(seeds=made["seeds"]))


def measured(made: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns that every table of groups has. made: as ``price.groups`` returns it."""
    return {
        "accuracy before, %": made["accuracy_before"].map(MEAN),
        "ASR before, %": made["asr_before"].map(MEAN),
        "kept accuracy, %": made["kept"].map(cell),
        "kept at ASR ≤ 5 %, %": made["kept_at_5"].map(MEAN),
        "best accuracy at ASR ≤ 5 %": made["best_accuracy"].map(cell),
    }


def cell(spread: Spread) -> str:
    """A mean with its interval; where seeds are without a value, of how many seeds it is."""
    seeds = spread.n + spread.missing
    if not spread.n:
        return f"none ({some(seeds, 'seed')})"
    if spread.missing:
        return f"{spread.mean:.1f} ({spread.n} of {some(seeds, 'seed')})"
    return f"{spread.mean:.1f}{between(spread)}"


def smoothness(rows: pd.DataFrame) -> Styler:
    """How smooth the runs of each objective and learning rate are: means over seeds.

    Lengths in percentage points; tortuosity 1 is straight; best epoch 1 is the last.
    """
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        measured = own[own["asr"].notna()]
        found = [smoothness_of(run) for _, run in measured.groupby("run")]
        paths = pd.DataFrame(found, columns=Smoothness._fields)
        names = {"path": "path", "chord": "chord", "tortuosity": "path / chord"}
        names |= {
            "asr_rise": "largest rise of ASR in one epoch",
            "rebound": "ASR at the end above its lowest",
        }
        line = {"objective": name("objective", objective), "learning rate": name("lr", lr)}
        means = {new: paths[old].mean() for old, new in names.items()}
        best = paths["best_at"].dropna()
        place = (
            f"{best.mean():.2f} ({len(best)} of {some(len(paths), 'run')})" if len(best) else "–"
        )
        lines.append(line | means | {"best epoch at ASR ≤ 5 % / last": place, "n": len(paths)})
    return styled(pd.DataFrame(lines), formats={"path / chord": "{:.2f}"})


def last_epochs(rows: pd.DataFrame) -> Styler:
    """What a defender gets who keeps the last epoch of a run, beside the oracle's choice."""
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        last = last_epoch(own)
        oracle = over_seeds(by_seed(own, best_accuracy_at), limits=(0.0, 100.0))
        lines.append(
            {
                "objective": name("objective", objective),
                "learning rate": name("lr", lr),
                "oracle: best accuracy at ASR ≤ 5 %": cell(oracle),
                "last epoch: accuracy, %": last["accuracy"].mean(),
                "last epoch: ASR, %": last["asr"].mean(),
                "of them at ASR ≤ 5 %": "–"
                if elsewhere.unmeasured(own)
                else f"{(last['asr'] <= CLEANED).sum()} of {len(last)}",
            }
        )
    return styled(pd.DataFrame(lines))


def styled(
    frame: pd.DataFrame,
    precision: int = 1,
    formats: Mapping[Any, str | Callable[[Any], str]] | None = None,
) -> Styler:
    """A table as the book shows it: no index, so many decimals, a dash for nothing.

    Numbers stand at the right of their columns. formats: of columns that need another.
    """
    how: dict[Any, Any] = {key: one for key, one in (formats or {}).items() if key in frame}
    right = [i for i, key in enumerate(frame) if is_numeric_dtype(frame[key])]
    right_aligned: Any = [{"selector": f".col{i}", "props": "text-align: right"} for i in right]
    plain = frame.style.hide(axis="index").set_table_styles(right_aligned)
    return plain.format(how, precision=precision, na_rep="–", escape="html", thousands=",")
