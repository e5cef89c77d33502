"""Tables of the studies: best models, verdict, smoothness, and what the last epoch gives.

Rows of a study in, a styled table out, as notebooks show it (Sections 4 and 5).
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from html import escape
from typing import Any

import pandas as pd
from IPython.display import Markdown
from pandas.api.types import is_numeric_dtype
from pandas.io.formats.style import Styler

from bdnb.analysis import conclusions
from bdnb.config import authors
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.report import studies
from bdnb.report.style import NAMES, short
from bdnb.runs import elsewhere

OURS = "ours (95 % interval)"
VERDICT = ["id", "statement", "quantity", "paper", OURS, "n", "verdict"]
"""What is shown of a conclusion."""


def best(rows: pd.DataFrame) -> Styler:
    """Best accuracy at ASR of at most 5 % for each setting, and what the last epochs give.

    rows: as ``settings`` returns them.
    """
    ordered = rows.sort_values(["panel", "setting"], kind="stable")
    plain = ordered.astype({"panel": str, "setting": str})
    made = conclusions.table(plain, by=["panel", "setting"])
    frame = pd.DataFrame(
        {
            "model": made["panel"],
            "setting": made["setting"],
            "accuracy before, %": made["accuracy_before"],
            "ASR before, %": made["asr_before"],
            "best accuracy at ASR ≤ 5 %": made["best_accuracy"],
            "change, %": made["change"],
            "lowest ASR at 90 % of the accuracy, %": made["lowest_asr"],
            "models at ASR ≤ 5 %": counted(made),
            "seeds": made["seeds"],
        }
    )
    return styled(frame)


def counted(made: pd.DataFrame) -> pd.Series:
    """ "3 of 40" models under the threshold; a dash where no ASR was measured.

    made: lines of ``conclusions.table``.
    """
    counts = made["points_under"].astype(str) + " of " + made["points"].astype(str)
    return counts.where(made["points"] > 0, "–")


def verdict(rows: pd.DataFrame, name: str) -> Styler:
    """The study's conclusion: the paper's number, ours over seeds, the verdict and its rule."""
    made = conclusions.verdicts(rows[rows["defence"] != "screen"])
    line = made[made["id"] == studies.of(name).conclusion]
    return judged(line)


def model_verdicts(rows: pd.DataFrame) -> Styler | Markdown:
    """Those of C1 to C7 that are about the poisoned models of these rows, each with its verdict.

    rows: of cleaning runs, a line an epoch. A sentence where none is about them.
    """
    made = conclusions.verdicts(rows)
    there = set(rows["poisoned"])
    about = {c.id: set(c.where["poisoned"]) for c in conclusions.CONCLUSIONS[:7]}
    line = made[[bool(about.get(name, set()) & there) for name in made["id"]]]
    if line.empty:
        return Markdown("None of the paper's conclusions is about these models.")
    return judged(line)


def judged(made: pd.DataFrame, *, rules: bool = True) -> Styler:
    """Conclusions with the paper's number, ours with its interval over seeds, and the verdict.

    made: lines of ``conclusions.verdicts``. rules: below the table, by what rule each was decided.
    """
    ours = [_ours(line) for line in made.to_dict("records")]
    shown = made.assign(**{OURS: ours})
    table = styled(shown[VERDICT])
    if not rules:
        return table
    lines = zip(made["id"], made["rule"], strict=True)
    words = [f"<b>{name}</b>: {escape(rule)}." for name, rule in lines]
    return table.set_caption("Decided by rule:<br>" + "<br>".join(words))


def _ours(line: Mapping[Any, Any]) -> str:
    if pd.isna(line["ours"]):
        return "none cleaned" if "none cleaned" in str(line["evidence"]) else "–"
    spread = "" if pd.isna(line["low"]) else f" ({line['low']:.1f} to {line['high']:.1f})"
    return f"{line['ours']:.1f}{spread}"


def smoothness(rows: pd.DataFrame) -> Styler:
    """How smooth the runs of each objective and rate are: means over seeds.

    Lengths in percentage points; tortuosity 1 is straight; best epoch 1 is the last.
    """
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        measured = own[own["asr"].notna()]
        found = [conclusions.smoothness(run) for _, run in measured.groupby("run")]
        ways = pd.DataFrame(found, columns=conclusions.Smoothness._fields)
        names = {"path": "path", "chord": "chord", "tortuosity": "path / chord"}
        names |= {"asr_rise": "largest rise of ASR", "rebound": "ASR at the end above its lowest"}
        names |= {"best_at": "best epoch at ASR ≤ 5 % / last"}
        line = {
            "objective": _named(str(objective)),
            "rate": short(float(str(lr))),
        }
        means = {new: ways[old].mean() for old, new in names.items()}
        lines.append(line | means | {"n": len(ways)})
    return styled(
        pd.DataFrame(lines), formats={"path / chord": "{:.2f}", names["best_at"]: "{:.2f}"}
    )


def last_epochs(rows: pd.DataFrame) -> Styler:
    """What a defender gets who keeps the last epoch of a run, beside the oracle's choice."""
    lines = []
    for (objective, lr), own in rows.groupby(["pretrain_objective", "lr"]):
        last = conclusions.last_epoch(own)
        oracle = conclusions.over_seeds(conclusions.by_seed(own, conclusions.best_accuracy_at))
        lines.append(
            {
                "objective": _named(str(objective)),
                "rate": short(float(str(lr))),
                "oracle: best accuracy at ASR ≤ 5 %": oracle.mean,
                "last epoch: accuracy, %": last["accuracy"].mean(),
                "last epoch: ASR, %": last["asr"].mean(),
                "of them at ASR ≤ 5 %": "–"
                if elsewhere.unmeasured(own)
                else f"{(last['asr'] <= conclusions.CLEANED).sum()} of {len(last)}",
            }
        )
    return styled(pd.DataFrame(lines))


def _named(objective: str) -> str:
    return elsewhere.WORDS if objective == elsewhere.ELSEWHERE else NAMES.get(objective, objective)


NOT_BY_FIDELITY = (
    (
        "training",
        "model",
        "not said; here GELU (RN50)",
        "QuickGELU, in both towers and from scratch, too (RN50-quickgelu, rn_tiny32-quickgelu)",
        "activation: a model's name stands for it, so fidelity leaves it alone",
    ),
    (
        "cleaning",
        "checkpoints of label-consistent poison (no parameter)",
        "each objective's own",
        "run_cleaning_experiments2.py: the run called mmcl loads a checkpoint named mmcl_ssl, and "
        "the one called mmcl_ssl a checkpoint named mmcl",
        "what the script says; whether published numbers came from it, the repository does not say",
    ),
)
"""Departures that ``fidelity: authors`` does not switch: as the lines of ``departures``."""


def departures() -> Styler:
    """Where the authors' code departs from the paper: as parameters with their value, and others.

    What the code says, and not what the published numbers were made with.
    """
    lines: list[tuple[Any, ...]] = []
    for cls, stage in ((TrainConfig, "training"), (CleanConfig, "cleaning")):
        for spec in fields(cls):
            theirs = spec.metadata.get("authors")
            if theirs is not None:
                lines.append((stage, spec.name, spec.default, theirs, spec.metadata["doc"]))
    for of, options in (("trigger", authors.TRIGGERS), ("defence", authors.DEFENCES)):
        for name, values in options.items():
            about = f"option of the {of} {name}"
            lines += [(of, f"{name}: {key}", "", value, about) for key, value in values.items()]
    lines += NOT_BY_FIDELITY
    frame = pd.DataFrame(lines, columns=["where", "parameter", "the paper", "the authors", "what"])
    both = frame.groupby(["parameter", "what"], sort=False, as_index=False).agg(
        {"where": ", ".join, "the paper": "first", "the authors": "first"}
    )
    return styled(both[["where", "parameter", "the paper", "the authors", "what"]].astype(str))


def styled(
    frame: pd.DataFrame,
    precision: int = 1,
    formats: Mapping[Any, str | Callable[[Any], str]] | None = None,
) -> Styler:
    """A table as the book shows it: no index, so many decimals, a dash for nothing.

    Numbers stand at the right of their columns. formats: of columns that need another.
    """
    how: dict[Any, Any] = {name: one for name, one in (formats or {}).items() if name in frame}
    right = [i for i, name in enumerate(frame) if is_numeric_dtype(frame[name])]
    looks: Any = [{"selector": f".col{i}", "props": "text-align: right"} for i in right]
    plain = frame.style.hide(axis="index").set_table_styles(looks)
    return plain.format(how, precision=precision, na_rep="–", escape="html", thousands=",")
