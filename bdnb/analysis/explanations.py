"""Why the contrast is as it is: explanations as claims, whose edges are older than their rows.

Rows of cleaning runs in, verdicts out, by the rule of ``verdict_rules``. W5 to W8 were added later
than the others, before any of their rows had been looked at.
"""

from dataclasses import replace

import pandas as pd

from bdnb.analysis.arms import Arm
from bdnb.analysis.conclusions import MAIN, MODELS, STRONG, WEAK, more
from bdnb.analysis.effect import (
    asr_after,
    mean_comeback,
    regained,
    same_way,
    same_way_by_chance,
    ssl_at_start,
    ssl_share,
)
from bdnb.analysis.verdict_rules import Claim, Conclusion, Measure, judge


def _arm(poisoned: str, **where: str) -> Arm:
    return Arm(poisoned=poisoned, where=where)


def _contrast(quantity: str, measure: Measure, *, weak_first: bool, **where: str) -> Claim:
    models = (WEAK, STRONG) if weak_first else (STRONG, WEAK)
    of, less = (_arm(model, **where) for model in models)
    return more(f"{quantity}, {MODELS[models[0]]} minus {MODELS[models[1]]}", of, less, measure)


def _together(rows: pd.DataFrame) -> float:
    """How much more often (points) accuracy moves with ASR than by chance."""
    return same_way(rows, "accuracy") - same_way_by_chance(rows, "accuracy")


CROSSING = MAIN | {"study": "crossing"}
BARLOW = _arm("train_mmcl_barlow", **CROSSING)
CROPS = _arm(STRONG, study="views", image_views="crop_flip")

EXPLANATIONS: tuple[Conclusion, ...] = (
    Conclusion(
        id="W1",
        statement="A model pre-trained with SSL has little left for SSL to change",
        paper="not asked",
        claims=(
            _contrast(
                "SSL loss at first, % of chance", ssl_at_start, weak_first=True, defence="probe"
            ),
            _contrast(
                "SSL's share of the pull on the image tower",
                ssl_share,
                weak_first=True,
                defence="probe",
            ),
        ),
    ),
    Conclusion(
        id="W2",
        statement="The image tower alone carries the backdoor over to a clean text tower",
        paper="not asked",
        claims=tuple(
            more(
                f"ASR with the image tower alone minus with the text tower alone, {name}",
                _arm(model, defence="swap", option_backdoored="image"),
                _arm(model, defence="swap", option_backdoored="text"),
                asr_after,
            )
            for model, name in MODELS.items()
        ),
    ),
    Conclusion(
        id="W3",
        statement="ASR comes back within cleaning runs of MMCL + SSL models more than of MMCL's",
        paper="figure only (5, 19, 20)",
        claims=(_contrast("largest rise of ASR", mean_comeback, weak_first=False, **MAIN),),
    ),
    Conclusion(
        id="W4",
        statement="In an MMCL + SSL model's cleaning ASR and accuracy move the same way",
        paper="not asked",
        claims=(
            Claim(
                quantity="epochs in which both move the same way, beyond chance",
                of=_arm(STRONG, **MAIN),
                edge=0.0,
                measure=_together,
            ),
        ),
    ),
    Conclusion(
        id="W5",
        statement="A self-supervised loss cleans better where it is new to the model",
        paper="not asked",
        claims=(
            more(
                "kept accuracy under CleanCLIP, MMCL + Barlow Twins minus MMCL + SSL",
                BARLOW,
                Arm(poisoned=STRONG, where=MAIN, like=BARLOW),
            ),
            more(
                "the same under Barlow Twins, MMCL + SSL minus MMCL + Barlow Twins",
                _arm(STRONG, **CROSSING | {"loss": "mmcl_barlow"}),
                _arm("train_mmcl_barlow", **CROSSING | {"loss": "mmcl_barlow"}),
            ),
        ),
    ),
    Conclusion(
        id="W6",
        statement="It is SSL of images, not of captions, that makes cleaning costlier",
        paper="not asked",
        claims=(
            more(
                "kept accuracy, MMCL + SSL of captions minus MMCL + SSL of images",
                _arm(f"{STRONG}_text", **CROSSING),
                _arm(f"{STRONG}_image", **CROSSING),
            ),
        ),
    ),
    Conclusion(
        id="W7",
        statement="Second views unlike those of pre-training clean an MMCL + SSL model better",
        paper="not asked",
        claims=(
            more(
                "kept accuracy of MMCL + SSL, cleaned with crops minus AutoAugment",
                CROPS,
                Arm(poisoned=STRONG, where=MAIN, like=CROPS),
            ),
        ),
    ),
    Conclusion(
        id="W8",
        statement="A user's fine-tuning brings ASR back more in cleaned MMCL + SSL models",
        paper="not asked",
        claims=(
            replace(
                _contrast("ASR regained", regained, weak_first=False, study="rebound"),
                cleaned=True,
            ),
        ),
    ),
)


def explanations(clean: pd.DataFrame) -> pd.DataFrame:
    """Return each explanation's verdict, as ``verdict_rules.judge`` does. clean: rows, or none."""
    asked = ("option_backdoored", "image_views")
    missing = {name: None for name in asked if name not in clean and len(clean)}
    return judge(EXPLANATIONS, clean.assign(**missing))
