"""The paper's conclusions C1 to C15 as a table of claims, and C0, added after the first runs.

Every claim is decided by the rule of ``verdict_rules``; almost all are about kept accuracy
(``price``), whose edges are such that the authors' own published points meet C0, C1 and C2.
"""

from dataclasses import replace

import pandas as pd

from bdnb.analysis.arms import Arm
from bdnb.analysis.metrics import candidates, smoothness
from bdnb.analysis.price import kept_accuracy
from bdnb.analysis.verdict_rules import Claim, Conclusion, Measure, judge

KEPT, CONTRAST = 90.0, 5.0
"""Edges: share of the accuracy (percent) that is as good as all; points that are a difference."""
WEAK, STRONG = "train_mmcl", "train_mmcl_ssl"
MODELS = {WEAK: "MMCL", STRONG: "MMCL + SSL"}
MAIN = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main"}
OBJECTIVES = "kept accuracy, MMCL minus MMCL + SSL"


def verdicts(rows_clean: pd.DataFrame, rows_train: pd.DataFrame | None = None) -> pd.DataFrame:
    """Each conclusion's verdict from the rows of cleaning runs.

    rows_clean: a line an epoch of a run, columns run, seed, epoch (0: before cleaning),
    accuracy and asr (percent), poisoned, defence, loss, lr, study, and where they apply poisons,
    ssl_weight, options and loss terms; where there is a column finished, runs without it are left
    out. May be empty. rows_train: rows of training runs, to name seeds that were trained but not
    cleaned. Out: columns id, statement, quantity, paper (words), ours, low, high (of the first
    claim; NaN when there is none), n (seeds), at_5 (the first claim's number at ASR <= 5 % alone),
    verdict, rule, evidence (each claim in words) and findings. Errors: ConfigError for rows without
    a needed column.
    """
    return judge(CONCLUSIONS, rows_clean, rows_train)


def rebound(rows: pd.DataFrame) -> float:
    """How far ASR comes back from its lowest to the last epoch, points, mean over a seed's runs."""
    narrow = rows[["run", "epoch", "accuracy", "asr"]]
    runs = [smoothness(run).rebound for _, run in narrow.groupby("run")]
    return sum(runs) / len(runs)


def lowest_asr(rows: pd.DataFrame) -> float:
    """Lowest ASR (percent) of any epoch, whatever the accuracy."""
    return float(candidates(rows)["asr"].min())


def more(quantity: str, of: Arm, less: Arm, measure: Measure = kept_accuracy) -> Claim:
    """Claim by ``CONTRAST`` points more of one arm than of the other."""
    return Claim(quantity=quantity, of=of, less=less, edge=CONTRAST, measure=measure)


def _arm(poisoned: str, *, like: Arm | None = None, **where: str) -> Arm:
    """CleanCLIP, with its own loss in the main study unless ``where`` says otherwise."""
    return Arm(poisoned=poisoned, where=MAIN | where, like=like)


def _contrast(number: int, how: str, kind: str, paper: str) -> Conclusion:
    """C5, C6, C7: C0 for other models."""
    weak, strong = f"train_{kind}_mmcl", f"train_{kind}_mmcl_ssl"
    return Conclusion(
        id=f"C{number}",
        statement=f"{how}, cleaning costs the MMCL + SSL model more accuracy than the MMCL model",
        paper=paper,
        claims=(more(OBJECTIVES, _arm(weak), _arm(strong)),),
    )


def _tried(number: int, how: str, paper: str, tried: Arm) -> Conclusion:
    """C10 to C15: what else was tried on the MMCL + SSL model, against plain CleanCLIP.

    What it buys is asked at the seeds and rates that both were run at.
    """
    return Conclusion(
        id=f"C{number}",
        statement=f"{how} buys the MMCL + SSL model little: it stays behind the MMCL model",
        paper=paper,
        claims=(
            Claim(
                quantity="kept accuracy, with the best of its settings minus with plain CleanCLIP",
                of=replace(tried, like=_arm(STRONG)),
                less=_arm(STRONG, like=tried),
                edge=CONTRAST,
                above=False,
            ),
            more(
                "kept accuracy, MMCL with plain CleanCLIP minus MMCL + SSL with it",
                _arm(WEAK),
                tried,
            ),
        ),
    )


def _kept(arm: Arm, name: str, edge: float = KEPT, *, above: bool = False) -> Claim:
    return Claim(quantity=f"kept accuracy, {name}", of=arm, edge=edge, above=above, unit="%")


POISONS = {
    name: replace(_arm(name, study="nonideal"), above={"poisons": 0}, fewest="poisons")
    for name in MODELS
}
"""Of the non-ideal runs those with the fewest poisons (5 per 100K in the paper)."""


def _defence(name: str) -> Arm:
    return Arm(poisoned=STRONG, where={"defence": name})


CONCLUSIONS: tuple[Conclusion, ...] = (
    Conclusion(
        id="C0",
        statement="CleanCLIP costs the MMCL + SSL model more accuracy than the MMCL model "
        "(the paper's title; added after the first runs)",
        paper="37 points (CC6M), 19 (CC3M), from the authors' points",
        claims=(more(OBJECTIVES, _arm(WEAK), _arm(STRONG)),),
    ),
    Conclusion(
        id="C1",
        statement="CleanCLIP cleans MMCL models with no loss of accuracy",
        paper="92 % (CC6M), 105 % (CC3M) kept, from the authors' points; +1 %, +3 % at ASR ≤ 5 %",
        claims=(_kept(_arm(WEAK), "MMCL", above=True),),
    ),
    Conclusion(
        id="C2",
        statement="CleanCLIP does not clean MMCL + SSL models without a large loss of accuracy",
        paper="55 % (CC6M), 86 % (CC3M) kept, from the authors' points; -45 %, -17 % at ASR ≤ 5 %",
        claims=(_kept(_arm(STRONG), "MMCL + SSL"),),
    ),
    Conclusion(
        id="C3",
        statement="MMCL alone as cleaning loss leaves ASR high",
        paper="0 % kept by both models (CC6M), 77 % and 81 % (CC3M: our rule would not pass it), "
        "from the authors' points",
        claims=tuple(_kept(_arm(model, loss="mmcl"), name, 50) for model, name in MODELS.items()),
    ),
    Conclusion(
        id="C4",
        statement="SSL alone as cleaning loss lowers ASR, but costs accuracy",
        paper="99 % kept by MMCL (our rule would not pass it), 31 % by MMCL + SSL (CC6M), 77 % and "
        "16 % (CC3M), from the authors' points",
        claims=(
            *(_kept(_arm(model, loss="ssl"), name) for model, name in MODELS.items()),
            *(
                Claim(
                    quantity=f"lowest ASR of any epoch, {name}",
                    of=_arm(model, loss="ssl"),
                    edge=20,
                    above=False,
                    unit="%",
                    measure=lowest_asr,
                )
                for model, name in MODELS.items()
            ),
        ),
    ),
    _contrast(
        5,
        "Poisoned by fine-tuning",
        "finetune",
        "accuracy: MMCL -17 %, MMCL + SSL -33 % at ASR ≤ 5 %",
    ),
    _contrast(6, "With a ViT", "vit", "accuracy: MMCL -30 %, MMCL + SSL -41 % at ASR ≤ 5 %"),
    _contrast(
        7,
        "With label-consistent poison",
        "label",
        "accuracy: MMCL +10 %, MMCL + SSL -16 % at ASR ≤ 5 %",
    ),
    Conclusion(
        id="C8",
        statement="ASR comes back in the trajectories of MMCL + SSL models, not in those of MMCL",
        paper="figure only (5, 19, 20)",
        claims=tuple(
            Claim(
                quantity=f"rise of ASR from its lowest to the last epoch, {name}",
                of=_arm(of),
                less=_arm(less) if less else None,
                edge=CONTRAST,
                above=above,
                measure=rebound,
            )
            for name, of, less, above in (
                ("MMCL + SSL minus MMCL", STRONG, WEAK, True),
                ("MMCL", WEAK, None, False),
                ("MMCL + SSL", STRONG, None, True),
            )
        ),
    ),
    Conclusion(
        id="C9",
        statement="A few poisons left in the cleaning set hurt both models, MMCL + SSL worse",
        paper="ASR 30-50 % with accuracy kept (MMCL, CC6M), over 90 % (MMCL + SSL, CC3M; our rule "
        "would not pass CC6M's points, where MMCL keeps 0 %, MMCL + SSL 34 %)",
        claims=(
            *(
                more(
                    f"kept accuracy, without poisons minus with the fewest, {name}",
                    _arm(model, like=POISONS[model]),
                    replace(POISONS[model], like=_arm(model)),
                )
                for model, name in MODELS.items()
            ),
            more(
                "kept accuracy with the fewest poisons, MMCL minus MMCL + SSL",
                POISONS[WEAK],
                POISONS[STRONG],
            ),
        ),
    ),
    _tried(10, "Adding DeepClust", "figure only (7)", _defence("deep_cluster")),
    _tried(11, "Heavy regularisation", "figure only (8)", _defence("heavy_regularisation")),
    _tried(12, "Shrink and perturb", "figure only (9)", _defence("shrink_perturb")),
    _tried(
        13,
        "Twice the cleaning data",
        "accuracy -90 % at ASR ≤ 5 %",
        _arm(STRONG, study="twice_data"),
    ),
    _tried(
        14,
        "Cleaning for five times the epochs",
        "accuracy -24 % at ASR ≤ 5 %, -45 % without it (our rule would not pass it)",
        _arm(STRONG, study="more_epochs"),
    ),
    _tried(
        15,
        "A larger SSL weight",
        "figure only (15)",
        replace(_arm(STRONG, study="ssl_weight"), above={"ssl_weight": 1.0}),
    ),
)
