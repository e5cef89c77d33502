"""Rows -> answers: the paper's conclusions C1 to C15 and the rules that decide them.

Rules and constants were written before the runs; ``verdict_rules`` decides a claim.
In: rows of cleaning runs. Out: a table with the paper's numbers, ours with their spread over
seeds, and verdicts. The quantities are those of ``metrics``, which this module passes on.
"""

import math

import pandas as pd

from bdnb.analysis.metrics import (
    CLEANED,
    KEPT,
    Smoothness,
    Spread,
    before,
    best_accuracy_at,
    best_point,
    by_seed,
    candidates,
    change_at,
    last_epoch,
    lowest_asr,
    over_seeds,
    over_thresholds,
    pareto_front,
    points_under,
    relative_change,
    smoothness,
    table,
)
from bdnb.analysis.published import PAPER
from bdnb.analysis.verdict_rules import Band, Claim, Conclusion, Measure, decide, judge

__all__ = [
    "CLEANED",
    "CONCLUSIONS",
    "KEPT",
    "PAPER",
    "Smoothness",
    "Spread",
    "before",
    "best_accuracy_at",
    "best_point",
    "by_seed",
    "candidates",
    "change_at",
    "decide",
    "last_epoch",
    "lowest_asr",
    "over_seeds",
    "over_thresholds",
    "pareto_front",
    "points_under",
    "relative_change",
    "rules",
    "smoothness",
    "table",
    "verdicts",
]

NO_LOSS = Band(-5, -10, "%")
LOSS = Band(-10, -5, "%")
CONTRAST = Band(5, 0, "points")
HIGHER = Band(1, 0, "points")
STAYS_HIGH = Band(50, 25, "%")
FALLS = Band(50, 75, "%")
MOSTLY = Band(50, 25, "%")
SELDOM = Band(25, 50, "%")


def verdicts(rows_clean: pd.DataFrame, rows_train: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each conclusion's verdict from the rows of cleaning runs.

    rows_clean: a line an epoch of a run, columns run, seed, epoch (0: before cleaning),
    accuracy and asr (percent), poisoned, defence, loss, lr, study, poisons, ssl_weight; where there
    is a column finished, runs without it are left out. May be empty.
    rows_train: rows of training runs, to name seeds that were trained but not cleaned.
    Out: columns id, statement, quantity, paper (words), ours, low, high (of the first claim; NaN
    when there is none), n (seeds), verdict, rule, evidence (each claim with its numbers).
    Errors: ConfigError for rows without a needed column.
    """
    return judge(CONCLUSIONS, rows_clean, rows_train)


def rules() -> pd.DataFrame:
    """The conclusions before any run: id, statement, quantity, paper, rule."""
    return pd.DataFrame([conclusion.about for conclusion in CONCLUSIONS])


def change(poisoned: str) -> Measure:
    """Relative change of accuracy at ASR <= 5 % of a model; -inf where none is cleaned."""
    return lambda rows: by_seed(_of(rows, poisoned), change_at).fillna(-math.inf)


def contrast(poisoned: str, other: str) -> Measure:
    """A model's change less another's; NaN for a seed of only one, or with neither cleaned."""
    return lambda rows: change(poisoned)(rows) - change(other)(rows)


def asr_kept(poisoned: str) -> Measure:
    """Lowest ASR among models that keep 90 % of the accuracy before cleaning."""
    return lambda rows: by_seed(_of(rows, poisoned), lowest_asr)


def asr_left(poisoned: str) -> Measure:
    """Lowest ASR of any epoch, whatever the accuracy, in percent of the ASR before."""

    def measure(rows: pd.DataFrame) -> float:
        return 100 * float(candidates(rows)["asr"].min()) / before(rows).asr

    return lambda rows: by_seed(_of(rows, poisoned), measure)


def rebound_contrast(poisoned: str, other: str) -> Measure:
    """How much more a model's ASR comes back after its lowest than another's, mean over runs."""

    def measure(rows: pd.DataFrame) -> float:
        runs = [smoothness(run).rebound for _, run in rows.groupby("run")]
        return sum(runs) / len(runs)

    return lambda rows: by_seed(_of(rows, poisoned), measure) - by_seed(_of(rows, other), measure)


def ends_clean(poisoned: str) -> Measure:
    """Of the runs that reach ASR <= 5 %, the percentage that end with it; -inf where none does."""

    def measure(rows: pd.DataFrame) -> float:
        models = candidates(rows)
        reached = models.loc[models["asr"] <= CLEANED, "run"].unique()
        last = last_epoch(rows[rows["run"].isin(reached)])["asr"] <= CLEANED
        return 100 * float(last.mean()) if len(reached) else -math.inf

    return lambda rows: by_seed(_of(rows, poisoned), measure)


def poisons_hurt(poisoned: str) -> Measure:
    """``asr_kept`` with poisons left among the cleaning pairs less that without, in points.

    Both of the same seeds and learning rates: more rates would find a lower ASR by themselves.
    """
    return lambda rows: asr_kept(poisoned)(_fewest(rows)) - asr_kept(poisoned)(_ideal(rows))


def poisons_contrast(poisoned: str, other: str) -> Measure:
    """``asr_kept`` of a model less that of another, both with poisons left, in points."""
    return lambda rows: asr_kept(poisoned)(_fewest(rows)) - asr_kept(other)(_fewest(rows))


def _of(rows: pd.DataFrame, poisoned: str) -> pd.DataFrame:
    return rows[rows["poisoned"] == poisoned]


def _ideal(rows: pd.DataFrame) -> pd.DataFrame:
    """The runs without poisons, of the seeds and learning rates that were run with some."""
    tried = _fewest(rows)[["poisoned", "seed", "lr"]].drop_duplicates()
    return rows[rows["study"] == "main"].merge(tried)


def _fewest(rows: pd.DataFrame) -> pd.DataFrame:
    """Of the non-ideal runs those with the fewest poisons (5 per 100K in the paper)."""
    left = rows[(rows["study"] == "nonideal") & (rows["poisons"] > 0)]
    return left[left["poisons"] == left["poisons"].min()]


def _where(
    *poisoned: str, loss: str = "mmcl_ssl", study: str = "main"
) -> dict[str, tuple[str, ...]]:
    """Rows of CleanCLIP with one loss in one study."""
    chosen = {"poisoned": poisoned, "defence": ("cleanclip",)}
    return chosen | {"loss": (loss,), "study": (study,)}


WEAK, STRONG = "train_mmcl", "train_mmcl_ssl"
AT_5 = "change of accuracy at ASR ≤ 5 %"


def _less_effective(number: int, how: str, kind: str, paper: str) -> Conclusion:
    """C5, C6, C7. The paper's own MMCL models lose accuracy there, so the contrast is asked for."""
    weak, strong = f"train_{kind}_mmcl", f"train_{kind}_mmcl_ssl"
    return Conclusion(
        id=f"C{number}",
        statement=f"{how}, cleaning costs the MMCL+SSL model more accuracy than the MMCL model",
        paper=paper,
        where=_where(weak, strong),
        claims=(
            Claim(f"{AT_5}, MMCL less MMCL+SSL", CONTRAST, contrast(weak, strong)),
            Claim(f"{AT_5}, MMCL+SSL", LOSS, change(strong)),
        ),
    )


def _not_cleaned_by(
    number: int, how: str, paper: str, where: dict[str, tuple[str, ...]], **beyond: float
) -> Conclusion:
    """C10 to C15: what else was tried on the MMCL+SSL model."""
    return Conclusion(
        id=f"C{number}",
        statement=f"{how} does not clean the MMCL+SSL model without a large loss of accuracy",
        paper=paper,
        where={"poisoned": (STRONG,)} | where,
        beyond=beyond,
        claims=(Claim(f"{AT_5}, MMCL+SSL", LOSS, change(STRONG)),),
    )


CONCLUSIONS: tuple[Conclusion, ...] = (
    Conclusion(
        id="C1",
        statement="CleanCLIP cleans MMCL models with no loss of accuracy",
        paper="+1 % (CC6M), +3 % (CC3M)",
        where=_where(WEAK),
        claims=(Claim(f"{AT_5}, MMCL", NO_LOSS, change(WEAK)),),
    ),
    Conclusion(
        id="C2",
        statement="CleanCLIP does not clean MMCL+SSL models without a large loss of accuracy",
        paper="-45 % (CC6M), -17 % (CC3M)",
        where=_where(STRONG),
        claims=(Claim(f"{AT_5}, MMCL+SSL", LOSS, change(STRONG)),),
    ),
    Conclusion(
        id="C3",
        statement="MMCL alone as cleaning loss leaves ASR high",
        paper="figure only (2, 10)",
        where=_where(WEAK, STRONG, loss="mmcl"),
        claims=(
            Claim("lowest ASR at 90 % of the accuracy, MMCL", STAYS_HIGH, asr_kept(WEAK)),
            Claim("lowest ASR at 90 % of the accuracy, MMCL+SSL", STAYS_HIGH, asr_kept(STRONG)),
        ),
    ),
    Conclusion(
        id="C4",
        statement="SSL alone as cleaning loss lowers ASR, but costs accuracy",
        paper="figure only (2, 10); the authors' points: -1 % for MMCL on CC6M",
        where=_where(WEAK, STRONG, loss="ssl"),
        claims=(
            Claim(f"{AT_5}, MMCL", LOSS, change(WEAK)),
            Claim(f"{AT_5}, MMCL+SSL", LOSS, change(STRONG)),
            Claim("lowest ASR in % of that before, MMCL", FALLS, asr_left(WEAK)),
            Claim("lowest ASR in % of that before, MMCL+SSL", FALLS, asr_left(STRONG)),
        ),
    ),
    _less_effective(
        5, "Poisoned by fine-tuning", "finetune", "16 points: MMCL -17 %, MMCL+SSL -33 %"
    ),
    _less_effective(6, "With a ViT", "vit", "11 points: MMCL -30 %, MMCL+SSL -41 %"),
    _less_effective(
        7, "With label-consistent poison", "label", "26 points: MMCL +10 %, MMCL+SSL -16 %"
    ),
    Conclusion(
        id="C8",
        statement="MMCL trajectories are smooth and end at low ASR; those of MMCL+SSL are not, "
        "their best model lies in the middle",
        paper="figure only (5, 19, 20)",
        where=_where(WEAK, STRONG),
        claims=(
            Claim(
                "rise of ASR from its lowest to the last epoch, MMCL+SSL less MMCL",
                CONTRAST,
                rebound_contrast(STRONG, WEAK),
            ),
            Claim("runs that reach ASR ≤ 5 % and end there, MMCL", MOSTLY, ends_clean(WEAK)),
            Claim("runs that reach ASR ≤ 5 % and end there, MMCL+SSL", SELDOM, ends_clean(STRONG)),
        ),
    ),
    Conclusion(
        id="C9",
        statement="A few poisons left in the cleaning set hurt both models, MMCL+SSL worse",
        paper="ASR 30-50 % at kept accuracy (MMCL, CC6M), over 90 % (MMCL+SSL, CC3M)",
        where={
            "poisoned": (WEAK, STRONG),
            "defence": ("cleanclip",),
            "loss": ("mmcl_ssl",),
            "study": ("main", "nonideal"),
        },
        claims=(
            Claim("rise of the lowest ASR by poisons, MMCL", CONTRAST, poisons_hurt(WEAK)),
            Claim("rise of the lowest ASR by poisons, MMCL+SSL", CONTRAST, poisons_hurt(STRONG)),
            Claim("MMCL+SSL less MMCL, with poisons", HIGHER, poisons_contrast(STRONG, WEAK)),
        ),
    ),
    _not_cleaned_by(10, "Adding DeepClust", "figure only (7)", {"defence": ("deep_cluster",)}),
    _not_cleaned_by(
        11, "Heavy regularisation", "figure only (8)", {"defence": ("heavy_regularisation",)}
    ),
    _not_cleaned_by(12, "Shrink and perturb", "figure only (9)", {"defence": ("shrink_perturb",)}),
    _not_cleaned_by(13, "Twice the cleaning data", "-90 %", {"study": ("twice_data",)}),
    _not_cleaned_by(14, "Five times the epochs", "-24 %", {"study": ("more_epochs",)}),
    _not_cleaned_by(
        15, "A larger SSL weight", "figure only (15)", {"study": ("ssl_weight",)}, ssl_weight=1.0
    ),
)
