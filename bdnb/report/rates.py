"""Cleaning at one learning rate: what runs end with, and how high a rate each model needs for it.

Kept accuracy gives every model the rate that is best for it. This is the other question: what
becomes of a model that is cleaned at a rate found on another? Last epochs, as a defender has them.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import OBJECTIVES
from bdnb.analysis.arms import BACKDOORED
from bdnb.analysis.metrics import Spread, before, by_seed, last_epoch, over_seeds, starts, whole
from bdnb.analysis.price import KEPT_AT
from bdnb.report import style
from bdnb.report.answers import main_study
from bdnb.report.style import NAMES, between, short, some
from bdnb.report.tables import styled

ENOUGH = KEPT_AT[-1]
"""ASR (percent) that counts as cleaned here: the largest that kept accuracy allows."""
WEAK, STRONG = OBJECTIVES
COLUMNS = ["objective", "seed", "lr", "asr", "kept"]
NEITHER = Markdown("*Takes CleanCLIP on an MMCL and an MMCL + SSL model at two rates or more.*")


def ends(
    clean: pd.DataFrame,
    poisoned: Collection[str] = (),
    objectives: tuple[str, str] = OBJECTIVES,
) -> pd.DataFrame:
    """Return a line a run of CleanCLIP on a model of two objectives that had a backdoor.

    Columns: objective, seed, lr, asr (last epoch, percent), kept (its accuracy in percent of that
    before). Only seeds and rates of one model of each objective; empty unless there are two rates.
    poisoned: only these models.
    """
    mine = main_study(whole(clean))
    if len(mine):
        mine = mine[(mine["loss"] == "mmcl_ssl") & mine["pretrain_objective"].isin(objectives)]
        mine = mine[mine["poisoned"].isin(poisoned)] if poisoned else mine
    lines = []
    for _, own in mine.groupby(["poisoned", "seed"]) if len(mine) else ():
        if before(own).asr >= BACKDOORED:  # never of what was not measured
            last = last_epoch(own.assign(kept=100 * own["accuracy"] / starts(own)))
            lines.append(last.rename(columns={"pretrain_objective": "objective"})[COLUMNS])
    made = pd.concat(lines) if lines else pd.DataFrame(columns=COLUMNS)
    at = made.groupby(["seed", "lr"])["objective"]
    shared = (at.transform("nunique") == 2) & (at.transform("size") == 2)
    return made[shared] if made.loc[shared, "lr"].nunique() > 1 else made[:0]


def needed(made: pd.DataFrame) -> pd.DataFrame:
    """Return the lowest rate that ends at ``ENOUGH`` by seed (index) and objective, NaN for none.

    made: ``ends``.
    """
    low = made[made["asr"] <= ENOUGH].groupby(["seed", "objective"])["lr"].min()
    both = made["objective"].unique()
    return low.unstack().reindex(made["seed"].unique()).reindex(columns=both)


def times_as_high(made: pd.DataFrame, of: str = STRONG) -> Spread:
    """Return the rate that one objective's models need over MMCL's: geometric mean over seeds.

    made: ``ends`` of that objective and MMCL. Its interval takes no less spread than half a step
    of the rates tried, for those between are not known.
    """
    rates = needed(made)
    step = np.diff(np.log(np.unique(made["lr"]))).mean()
    times = over_seeds(np.log(rates[of] / rates[WEAK]), least_spread=step / 2)
    mean, low, high = map(math.exp, times[:3])
    return times._replace(mean=mean, low=low, high=high)


def answer(made: pd.DataFrame) -> Markdown:
    """Say how much higher a rate the MMCL + SSL model needs, and where the two are furthest apart.

    made: ``ends``.
    """
    if made.empty:
        return NEITHER
    rates, times = needed(made), times_as_high(made)
    seeds = f"{times.n} of {some(len(rates), 'seed')}" if times.missing else some(times.n, "seed")
    many = f"{times.mean:.1f} times as high{between(times)}, geometric mean of {seeds}"
    to_end = f"for runs to end at an ASR of at most {ENOUGH} %"
    told = [f"**That one model needs a higher learning rate {to_end} is not shown.**"]
    if times.low > 1 or times.high < 1:
        more = STRONG if times.low > 1 else WEAK
        told = [f"**The {NAMES[more]} model needs a higher learning rate {to_end}.**"]
    told.append(
        f"The MMCL + SSL model's is {many}." if times.n else "No seed has such runs of both."
    )
    if edge := int((rates[WEAK] == made.groupby("seed")["lr"].min().reindex(rates.index)).sum()):
        told.append(f"Of {some(edge, 'MMCL model')} the lowest rate tried is enough.")
    if times.n:  # of the seeds that have both
        kept = [f"{NAMES[one]} {_kept(made, rates.dropna()[one])}" for one in OBJECTIVES]
        told.append(f"At the rates needed, this share of accuracy is kept: {', '.join(kept)}.")
    asr = made.pivot_table(index="lr", columns="objective", values="asr")
    apart = float(str((asr[STRONG] - asr[WEAK]).abs().idxmax()))
    at = made[made["lr"] == apart]
    both = [f"{NAMES[o]} {_mean(at[at['objective'] == o], 'asr')}" for o in OBJECTIVES]
    told.append(f"At {short(apart)} the ASRs lie furthest apart: {', '.join(both)}.")
    told.append("(Seen in the rows: no criterion was set for it.)")
    return Markdown(" ".join(told))


def figure(made: pd.DataFrame) -> Figure | Markdown:
    """Draw the ends of runs by learning rate: each seed thin, their mean thick. made: ``ends``."""
    if made.empty:
        return NEITHER
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    panels = drawn.subplots(1, 2, sharex=True)
    shown = {"asr": "ASR after the last epoch (%)", "kept": "accuracy kept (% of before)"}
    for axes, (column, title) in zip(panels, shown.items(), strict=True):
        for objective, own in made.groupby("objective"):
            mark = style.objective(str(objective))
            look: dict[str, Any] = {"color": mark.colour, "marker": mark.marker}
            for _, one in own.groupby("seed"):
                one = one.sort_values("lr")
                axes.plot(one["lr"], one[column], lw=0.8, ms=3, alpha=0.5, **look)
            mean = own.groupby("lr")[column].mean()
            label = f"pre-trained with {NAMES[str(objective)]}"
            axes.plot(mean.index, mean, lw=2.5, ms=7, label=label, **look)
        axes.set(xscale="log", xlabel="learning rate of cleaning", ylabel=title, ylim=(-3, None))
    panels[0].axhline(ENOUGH, color="0.25", ls=":", lw=1.2)
    marks = panels[0].get_legend_handles_labels()
    drawn.legend(*marks, loc="outside lower center", ncols=2, frameon=False)
    return drawn


def table(made: pd.DataFrame) -> Styler | Markdown:
    """Return means over seeds with intervals, a line a learning rate. made: ``ends``."""
    if made.empty:
        return NEITHER
    lines = []
    for lr, at in made.groupby("lr"):
        line = {"learning rate": short(float(str(lr)))}
        for objective in OBJECTIVES:
            own = at[at["objective"] == objective]
            line[f"{NAMES[objective]}: accuracy kept, %"] = _mean(own, "kept", "")
            line[f"{NAMES[objective]}: ASR, %"] = _mean(own, "asr", "")
        lines.append(line | {"seeds": at["seed"].nunique()})
    return styled(pd.DataFrame(lines))


def _mean(rows: pd.DataFrame, column: str, unit: str = " %") -> str:
    """A column's mean over seeds, with its interval."""
    limits = (0.0, 100.0 if column == "asr" else np.inf)
    spread = over_seeds(by_seed(rows, lambda own: own[column].mean()), limits=limits)
    return f"{spread.mean:.0f}{unit}{between(spread, '.0f')}" if spread.n else "–"


def _kept(made: pd.DataFrame, rates: pd.Series) -> str:
    """Accuracy kept by one objective's models (percent), each seed at its own rate."""
    own = made[(made["objective"] == rates.name) & (made["lr"] == made["seed"].map(rates))]
    return _mean(own, "kept")
