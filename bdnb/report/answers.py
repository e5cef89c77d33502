"""The answer that stands under a page's question: rows in, a sentence or two of Markdown out."""

import pandas as pd
from IPython.display import Markdown

from bdnb.analysis import conclusions, price
from bdnb.analysis.metrics import CLEANED, last_epoch
from bdnb.analysis.verdict_rules import FAILS, HOLDS, MUTE, OPEN
from bdnb.report.style import NAMES, some
from bdnb.runs import elsewhere

NOTHING = Markdown("*Nothing is recorded yet: `make book`, `train.ipynb` or `clean.ipynb` do it.*")
WORDS = {HOLDS: "holds here", FAILS: "does not hold here", OPEN: "is not decided here"}
"""Verdict -> how a sentence says it of a claim; the others can not be told here."""


def trained(kept: pd.DataFrame) -> Markdown:
    """Return whether the backdoor of trained models took, and what it cost in accuracy.

    kept: rows of the epochs that are cleaned later, as ``results.kept_rows`` returns them.
    """
    poisoned = kept[kept["experiment"] != "train_clean"] if len(kept) else kept
    if poisoned.empty:
        return NOTHING
    took = (poisoned.groupby("experiment")["asr"].mean() >= 50).all()
    said = [
        f"{NAMES[str(objective)]}: ASR {own['asr'].mean():.1f} %, accuracy "
        f"{own['accuracy'].mean():.1f} %"
        for objective, own in poisoned.groupby("objective", sort=False)
    ]
    clean = kept.loc[kept["experiment"] == "train_clean", "accuracy"]
    beside = f" Trained without poison, accuracy is {clean.mean():.1f} %." if len(clean) else ""
    verdict = "The backdoor takes" if took else "The backdoor does not take in every model"
    seeds = some(poisoned["seed"].nunique(), "seed")
    return Markdown(f"**{verdict}** (mean of {seeds}). {'; '.join(said)}.{beside}")


def cleaned(rows: pd.DataFrame) -> Markdown:
    """Return what CleanCLIP leaves the two models, and whether the paper's title holds.

    rows: of cleaning runs, a line an epoch; plain CleanCLIP with MMCL + SSL counts.
    """
    if rows.empty:
        return NOTHING
    if elsewhere.unmeasured(rows):
        return Markdown(f"*{elsewhere.NOT_MEASURED}, so there is no price to tell.*")
    mine = main_study(rows)
    mine = mine[(mine["loss"] == "mmcl_ssl") & mine["asr"].notna()]
    said: list[str] = []
    for _, own in mine.groupby("poisoned", sort=False):
        made = price.groups(own, by=["poisoned"]).iloc[0]
        objective = own["pretrain_objective"].iloc[0]
        words = elsewhere.trained(objective, NAMES)
        if objective != elsewhere.ELSEWHERE:
            words = f"{'the one' if said else 'the model'} {words}"
        said.append(
            f"{words} **{made['kept'].mean:.0f} %** of its accuracy "
            f"(it had an ASR of {made['asr_before'].mean:.0f} %)"
        )
    if not said:
        return Markdown("*No run of CleanCLIP with its own loss is among these.*")
    first = conclusions.verdicts(mine).iloc[0]
    if not first["n"]:
        return Markdown(f"CleanCLIP leaves {', '.join(said)}.")
    between = "" if pd.isna(first["low"]) else f", {first['low']:.0f} to {first['high']:.0f}"
    word = WORDS.get(first["verdict"].partition(" (")[0], "cannot be told here")
    return Markdown(
        f"CleanCLIP leaves {', '.join(said)}. The difference is **{first['ours']:.0f} points** "
        f"({some(first['n'], 'seed')}{between}); in the paper it is {first['paper']}. **That the "
        f"pre-training objective decides what cleaning costs {word}.**"
    )


def stopped(rows: pd.DataFrame) -> Markdown:
    """Return whether the last epoch of a cleaning run is one to keep."""
    measured = rows[rows["asr"].notna()] if len(rows) else rows
    if measured.empty:
        return NOTHING
    last = last_epoch(measured)
    clean = last["asr"] <= CLEANED
    word = "Yes" if clean.mean() > 0.5 else "No"
    said = []
    for objective, own in measured.groupby("pretrain_objective"):
        ends = last.loc[last["pretrain_objective"] == objective, "asr"] <= CLEANED
        back = conclusions.rebound(own)
        said.append(
            f"{elsewhere.trained(str(objective), NAMES)}, {ends.sum()} of {len(ends)} runs end at "
            f"ASR ≤ {CLEANED:g} %, and ASR ends {back:.1f} points above its lowest"
        )
    return Markdown(
        f"**{word}: {clean.sum()} of {some(len(clean), 'run')} end clean.** "
        f"Of models {'; '.join(said)} (means)."
    )


def defended(rows: pd.DataFrame) -> Markdown:
    """Return which additions to CleanCLIP buy the MMCL + SSL model anything.

    rows: of a scale's cleaning runs; compared are the seeds and rates that both were run at.
    """
    made = conclusions.verdicts(rows)
    tried = made[made["id"].isin([f"C{number}" for number in range(10, 16)]) & (made["n"] > 0)]
    if tried.empty:
        return NOTHING
    mute = tried["verdict"].str.startswith(MUTE)
    buys = tried[~mute & (tried["ours"] >= conclusions.CONTRAST)]
    names = "; ".join(
        f"{one['statement'].partition(' buys')[0].lower()}, {one['ours']:.0f} points"
        for one in buys.to_dict("records")
    )
    return Markdown(
        f"**Of {len(tried)} additions to CleanCLIP, {mute.sum()} can tell nothing here; of the "
        f"others {len(buys) or 'none'} buy the MMCL + SSL model {conclusions.CONTRAST:g} points of "
        f"accuracy or more{': ' * bool(names)}{names}.** In the paper none helped."
    )


def main_study(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of CleanCLIP under the paper's main conditions: those of its Table 2."""
    if rows.empty:
        return rows
    return rows[(rows["study"] == "main") & (rows["defence"] == "cleanclip")]
