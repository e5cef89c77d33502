"""Tables of the studies: best models, verdict, smoothness, and what the last epoch gives.

Rows of a study in, a styled table out, as notebooks show it (Sections 4 and 5).
"""

from dataclasses import fields

import pandas as pd
from pandas.io.formats.style import Styler

from bdnb import defences, frontier, studies
from bdnb.figures import NAMES
from bdnb.poison import triggers
from bdnb.recipes import CleanConfig, TrainConfig

VERDICT = ["id", "statement", "paper", "ours", "low", "high", "n", "verdict", "rule"]
"""What is shown of a conclusion."""


def best(rows: pd.DataFrame) -> Styler:
    """Best accuracy at ASR of at most 5 % for each setting, and what the last epochs give.

    rows: as ``settings`` returns them.
    """
    ordered = rows.sort_values(["panel", "setting"], kind="stable")
    plain = ordered.astype({"panel": str, "setting": str})
    made = frontier.table(plain, by=["panel", "setting"])
    frame = pd.DataFrame(
        {
            "": made["panel"],
            "setting": made["setting"],
            "accuracy before, %": made["accuracy_before"],
            "ASR before, %": made["asr_before"],
            "best accuracy at ASR ≤ 5 %": made["best_accuracy"],
            "change, %": made["change"],
            "lowest ASR at 90 % of the accuracy": made["lowest_asr"],
            "models under": made["points_under"].astype(str) + " of " + made["points"].astype(str),
            "seeds": made["seeds"],
        }
    )
    return styled(frame)


def verdict(rows: pd.DataFrame, name: str) -> Styler:
    """The study's conclusion: the paper's number, ours over seeds, the verdict and its rule."""
    made = frontier.verdicts(rows[rows["defence"] != "screen"])
    line = made[made["id"] == studies.of(name).conclusion]
    return styled(line[VERDICT])


def conclusions(rows: pd.DataFrame) -> Styler:
    """Those of C1 to C7 that are about the poisoned models of these rows, each with its verdict.

    rows: of cleaning runs, a line an epoch.
    """
    made = frontier.verdicts(rows)
    there = set(rows["poisoned"])
    about = {c.id: set(c.where["poisoned"]) for c in frontier.CONCLUSIONS[:7]}
    line = made[[bool(about.get(name, set()) & there) for name in made["id"]]]
    return styled(line[VERDICT])


def smoothness(rows: pd.DataFrame) -> Styler:
    """How smooth the runs of each objective and rate are: means over seeds.

    Lengths in percentage points; tortuosity 1 is straight; best epoch 1 is the last.
    """
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        ways = pd.DataFrame([frontier.smoothness(run) for _, run in own.groupby("run")])
        names = {"path": "path", "chord": "chord", "tortuosity": "path / chord"}
        names |= {"asr_rise": "largest rise of ASR", "rebound": "ASR at the end above its lowest"}
        names |= {"best_at": "best epoch at ASR ≤ 5 %, of all"}
        line = {"objective": NAMES.get(str(objective), str(objective)), "rate": f"{lr:.2g}"}
        means = {new: ways[old].mean() for old, new in names.items()}
        lines.append(line | means | {"n": len(ways)})
    return styled(pd.DataFrame(lines), 2)


def last_epochs(rows: pd.DataFrame) -> Styler:
    """What a defender gets who keeps the last epoch of a run, beside the oracle's choice."""
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        last = frontier.last_epoch(own)
        oracle = frontier.over_seeds(frontier.by_seed(own, frontier.best_accuracy_at))
        lines.append(
            {
                "objective": NAMES.get(str(objective), str(objective)),
                "rate": f"{lr:.2g}",
                "oracle: best accuracy at ASR ≤ 5 %": oracle.mean,
                "last epoch: accuracy, %": last["accuracy"].mean(),
                "last epoch: ASR, %": last["asr"].mean(),
                "of them at ASR ≤ 5 %": f"{(last['asr'] <= frontier.CLEANED).sum()} of {len(last)}",
            }
        )
    return styled(pd.DataFrame(lines))


def departures() -> Styler:
    """Where the authors' code departs from the paper: each as a parameter, its value as theirs."""
    lines = []
    for cls, stage in ((TrainConfig, "training"), (CleanConfig, "cleaning")):
        for spec in fields(cls):
            theirs = spec.metadata.get("authors")
            if theirs is not None:
                lines.append((stage, spec.name, spec.default, theirs, spec.metadata["doc"]))
    for of, options in (("trigger", triggers.AUTHORS), ("defence", defences.AUTHORS)):
        for name, values in options.items():
            about = f"option of the {of} {name}"
            lines += [(of, f"{name}: {key}", "", value, about) for key, value in values.items()]
    frame = pd.DataFrame(lines, columns=["where", "parameter", "the paper", "the authors", "what"])
    both = frame.groupby(["parameter", "what"], sort=False, as_index=False).agg(
        {"where": ", ".join, "the paper": "first", "the authors": "first"}
    )
    return styled(both[["where", "parameter", "the paper", "the authors", "what"]].astype(str))


def styled(frame: pd.DataFrame, precision: int = 1) -> Styler:
    """A table as the book shows it: no index, so many decimals, a dash for nothing."""
    return frame.style.hide(axis="index").format(precision=precision, na_rep="–", escape="html")
