"""The answer that stands under a page's question: rows in, a sentence or two of Markdown out."""

from collections.abc import Collection

import pandas as pd
from IPython.display import Markdown

from bdnb.analysis import arms, conclusions, price
from bdnb.analysis.metrics import CLEANED, last_epoch, whole
from bdnb.analysis.verdict_rules import FAILS, HOLDS, MUTE, OPEN
from bdnb.report.style import NAMES, some
from bdnb.runs import elsewhere

NOTHING = Markdown("*Nothing is recorded yet: `make book`, `train.ipynb` or `clean.ipynb` do it.*")
TITLE = {
    HOLDS: "The pre-training objective decides what cleaning costs here.",
    FAILS: f"The MMCL + SSL model does not pay {conclusions.CONTRAST:g} points more for it here.",
}
OPEN_TITLE = "Whether the pre-training objective decides what cleaning costs is left open here."
"""Verdict on C0, the paper's title -> a sentence; what any other verdict comes to."""
REVERSED = "It is the MMCL model that pays more for it here."
"""Instead, where all of the interval lies as far on the other side."""
FREE = {
    HOLDS: " Models pre-trained with MMCL are cleaned at no cost.",
    FAILS: " Models pre-trained with MMCL are not cleaned for free here.",
}
"""Verdict on C1 -> what stands behind it."""


def trained(kept: pd.DataFrame) -> Markdown:
    """Return whether the backdoor of trained models took, and what it cost in accuracy.

    kept: rows of the epochs that are cleaned later, as ``results.kept_rows`` returns them.
    """
    poisoned = kept[kept["experiment"] != "train_clean"] if len(kept) else kept
    if poisoned.empty:
        return NOTHING
    took = (poisoned["asr"] >= arms.BACKDOORED).all()
    said = [
        f"{NAMES.get(str(objective), objective)}: ASR {own['asr'].mean():.1f} %, accuracy "
        f"{own['accuracy'].mean():.1f} %"
        for objective, own in poisoned.groupby("objective", sort=False)
    ]
    alike = poisoned[["pairs", "epochs"]].drop_duplicates()
    clean = kept[kept["experiment"] == "train_clean"].merge(alike)
    number = f"{clean['accuracy'].mean():.1f} % ({some(clean['seed'].nunique(), 'seed')})"
    beside = f" Trained as long without poison, accuracy is {number}." if len(clean) else ""
    verdict = "The backdoor takes" if took else "The backdoor does not take in every model"
    seeds = some(poisoned["seed"].nunique(), "seed")
    return Markdown(f"**{verdict}** (mean of {seeds}). {'; '.join(said)}.{beside}")


def cleaned(rows: pd.DataFrame, poisoned: Collection[str] = ()) -> Markdown:
    """Return what CleanCLIP leaves the two models, and whether the paper's title holds.

    rows: of cleaning runs, a line an epoch; plain CleanCLIP with MMCL + SSL counts. poisoned: only
    these models. Of several with one objective each is named. The two that C0 is about are told
    at the seeds that both have.
    """
    if rows.empty:
        return NOTHING
    if elsewhere.unmeasured(rows):
        return Markdown(f"*{elsewhere.NOT_MEASURED}, so there is no price to tell.*")
    mine = main_study(whole(rows))
    mine = mine[(mine["loss"] == "mmcl_ssl") & mine["asr"].notna()]
    mine = mine[mine["poisoned"].isin(poisoned)] if poisoned else mine
    pair = mine["poisoned"].isin((conclusions.WEAK, conclusions.STRONG))
    seeds = [set(own["seed"]) for _, own in mine[pair].groupby("poisoned")]
    if seeds and (shared := set.intersection(*seeds)):
        mine = mine[~pair | mine["seed"].isin(shared)]
    several = bool((mine.groupby("pretrain_objective")["poisoned"].nunique() > 1).any())
    said: list[str] = []
    for name, own in mine.groupby("poisoned", sort=False):
        made = price.groups(own, by=["poisoned"]).iloc[0]
        objective = own["pretrain_objective"].iloc[0]
        words = elsewhere.trained(objective, NAMES)
        if objective != elsewhere.ELSEWHERE:
            words = f"{'the one' if said else 'the model'} {words}"
        words += f" (`{name}`)" * several
        said.append(
            f"{words} keeps **{made['kept'].mean:.1f} %** of its accuracy "
            f"(its ASR was {made['asr_before'].mean:.0f} %)"
        )
    if not said:
        return Markdown("*No run of CleanCLIP with its own loss is among these.*")
    at = f"mean over the ASRs allowed, {price.KEPT_AT[0]:g} to {price.KEPT_AT[-1]:g} %"
    kept = f"Cleaned with CleanCLIP, {', '.join(said)}; {at}."
    judged = conclusions.verdicts(mine).set_index("id")
    first = judged.loc["C0"].to_dict()
    if not first["n"]:
        return Markdown(kept)
    between = "" if pd.isna(first["low"]) else f", {first['low']:.1f} to {first['high']:.1f}"
    word, free = (str(judged.loc[name, "verdict"]).partition(" (")[0] for name in ("C0", "C1"))
    other = first["high"] < -conclusions.CONTRAST
    title = REVERSED if word == FAILS and other else TITLE.get(word, OPEN_TITLE)
    return Markdown(
        f"{kept} The difference is **{first['ours']:.1f} points** "
        f"({some(first['n'], 'seed')}{between}); in the paper it is {first['paper']}. "
        f"**{title}{FREE.get(free, '')}**"
    )


def stopped(rows: pd.DataFrame) -> Markdown:
    """Return whether the last epoch of a cleaning run is one to keep, by pre-training objective.

    Runs on models that had no backdoor do not count: any of their epochs is one to keep.
    """
    measured = whole(rows[rows["asr"].notna()]) if len(rows) else rows
    if measured.empty:
        return NOTHING
    start = measured[measured["epoch"] == 0].groupby("run")["asr"].mean()
    measured = measured[measured["run"].map(start) >= arms.BACKDOORED]
    if measured.empty:
        return Markdown("*No model here had a backdoor to clean.*")
    last = last_epoch(measured).groupby("run")["asr"].mean()
    lowest = measured[measured["epoch"] > 0].groupby("run")["asr"].min()
    ends, ever = last[last <= CLEANED].index, lowest[lowest <= CLEANED].index
    first, then = [], []
    for objective, own in measured.groupby("pretrain_objective"):
        runs, words = set(own["run"]), elsewhere.trained(str(objective), NAMES)
        first.append(f"{len(runs & set(ends))} of {len(runs & set(ever))} {words}")
        back = conclusions.rebound(own)
        then.append(f"{len(runs)} {words}, ASR ends {back:.1f} points above its lowest")
    if not len(ever):
        told = f"None of {some(len(last), 'run')} has an epoch at ASR ≤ {CLEANED:g} %."
    else:
        told = (
            f"Of the runs that have an epoch at ASR ≤ {CLEANED:g} %, these end so: "
            f"{'; '.join(first)}."
        )
    return Markdown(f"**{told}** In the mean of all runs, {'; '.join(then)}.")


def defended(rows: pd.DataFrame) -> Markdown:
    """Return which additions to CleanCLIP buy the MMCL + SSL model anything.

    rows: of a scale's cleaning runs; compared are the seeds and rates that both were run at.
    """
    made = conclusions.verdicts(rows)
    tried = made[made["id"].isin([f"C{number}" for number in range(10, 16)]) & (made["n"] > 0)]
    if tried.empty:
        return NOTHING
    # The first claim of each is that it buys less than this: where that fails, it buys as much.
    said = [
        (str(one["statement"]).partition(" buys")[0], one["findings"][0].verdict)
        for one in tried.to_dict("records")
    ]
    buys, little, left = (
        [name[0].lower() + name[1:] for name, verdict in said if verdict.startswith(words)]
        for words in ((FAILS,), (HOLDS,), (OPEN, MUTE))
    )
    points = f"the MMCL + SSL model {conclusions.CONTRAST:g} points of kept accuracy or more"
    parts = [f"none is shown to buy {points}"]
    if buys:
        parts = [f"{len(buys)} buy{'s' * (len(buys) == 1)} {points} ({', '.join(buys)})"]
    if little:
        do = "does" if len(little) == 1 else "do"
        parts.append(f"{len(little)} {do} not ({', '.join(little)})")
    if left:
        parts.append(f"of {len(left)} it is not decided or cannot be told here ({', '.join(left)})")
    count = some(len(tried), "addition")
    return Markdown(
        f"**Of {count} to CleanCLIP, {'; '.join(parts)}.** In the paper none cleaned it."
    )


def with_poisons_left(rows: pd.DataFrame) -> Markdown:
    """Say what share of accuracy is kept, by the poisoned pairs left among the cleaning pairs.

    rows: of ``settings`` of the study nonideal.
    """
    rows = rows[rows["asr"].notna()]
    if rows.empty:
        return Markdown("*No run of this study is recorded yet.*")
    plain = rows.astype({"panel": str})
    made = price.groups(plain, by=["poisons", "panel"])
    pairs = plain.groupby("poisons")["cleaning_pairs"].max().astype(int)
    said = []
    for count, own in made.groupby("poisons"):
        kept = ", ".join(f"{one['kept'].mean:.0f} % ({one['panel']})" for _, one in own.iterrows())
        share = 100 * int(str(count)) / pairs[count]
        said.append(f"{count} of {pairs[count]:,} ({share:.1f} %): {kept}")
    seeds = " to ".join(map(str, sorted({*made["seeds"]})))
    return Markdown(
        f"**Kept accuracy by how many of the clean pairs are poisoned: {'; '.join(said)}** "
        f"(seeds: {seeds})."
    )


def main_study(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of CleanCLIP under the paper's main conditions: those of its Table 2."""
    if rows.empty:
        return rows
    return rows[(rows["study"] == "main") & (rows["defence"] == "cleanclip")]
