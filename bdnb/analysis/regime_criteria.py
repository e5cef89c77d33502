"""What a small setting must be like before the paper's contrast can be asked for in it.

Rows of a setting's training and cleaning runs in; each criterion with its number and whether it is
met out. Written before the rows of the regime that they choose. None of them looks at the contrast.
"""

from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd


class Criterion(NamedTuple):
    """A quantity (percent, ratio or minutes) with the bounds that it must lie in."""

    name: str
    why: str
    least: float
    most: float


CRITERIA = (
    Criterion("accuracy, lower model", "room to lose and to gain accuracy", 40.0, 85.0),
    Criterion("accuracy, higher model", "room to lose and to gain accuracy", 40.0, 85.0),
    Criterion("ASR, lower model", "the attack worked on both", 95.0, 100.0),
    Criterion("distance of accuracies", "matched by the paper's rule (Appendix A)", 0.0, 3.0),
    Criterion("retraining ratio", "the clean pairs cannot train the model anew", 0.0, 0.25),
    Criterion("fall of the SSL loss", "share of its loss that the kept epoch took", -1.0, 0.05),
    Criterion("minutes of a cleaning run", "many runs can be paid for", 0.0, 3.0),
)  # fmt: skip


def retraining_ratio(fresh: pd.DataFrame, accuracy: float) -> float:
    """Accuracy of a fresh model trained on the clean pairs with the cleaning budget, as a share.

    fresh: rows of the runs of the defence ``retrain``. accuracy: of the backdoored model, percent.
    """
    return float(fresh[fresh["epoch"] > 0]["accuracy"].max()) / accuracy


def fall_of_ssl(train: pd.DataFrame) -> float:
    """Return by what share of its value the SSL loss fell in the last of these epochs.

    train: rows of one run that has ``loss_ssl``, to the epoch that is kept: what is trained beyond
    it is not used. NaN for fewer than two epochs.
    """
    losses = train[train["epoch"] > 0].sort_values("epoch")["loss_ssl"]
    if len(losses) < 2:
        return float("nan")
    before, last = losses.iloc[-2:]
    return float((before - last) / before)


def judged(values: Mapping[str, float]) -> pd.DataFrame:
    """Return a line a criterion: its number, its bounds, why, and whether it is met (NaN is not).

    Errors: KeyError for a criterion without a number.
    """
    made = pd.DataFrame(CRITERIA, columns=["criterion", "why", "from", "to"])
    made["value"] = [values[name] for name in made["criterion"]]
    return made.assign(met=made["value"].between(made["from"], made["to"]))


def numbers(
    train: pd.DataFrame, clean: pd.DataFrame, fresh: pd.DataFrame, epochs: Mapping[str, int]
) -> dict[str, float]:
    """Return each criterion's number for one setting and seed.

    train: rows of both training runs. clean: rows of its cleaning runs (their seconds). fresh: rows
    of a fresh model trained on the clean pairs. epochs: objective -> kept epoch.
    """
    kept = train["objective"].map(epochs)
    models = train[train["epoch"] == kept]
    ssl = train[(train["objective"] == "mmcl_ssl") & (train["epoch"] <= kept)]
    accuracies = models["accuracy"]
    minutes = clean.groupby("run")[["seconds", "eval_seconds"]].sum().sum(axis=1) / 60
    return {
        "accuracy, lower model": float(accuracies.min()),
        "accuracy, higher model": float(accuracies.max()),
        "ASR, lower model": float(models["asr"].min()),
        "distance of accuracies": float(accuracies.max() - accuracies.min()),
        "retraining ratio": retraining_ratio(fresh, float(accuracies.min())),
        "fall of the SSL loss": fall_of_ssl(ssl),
        "minutes of a cleaning run": float(minutes.median()),
    }
