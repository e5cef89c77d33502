"""The criteria of a regime, on numbers that can be worked out by hand."""

import math

import pandas as pd
import pytest

from bdnb.analysis import regime_criteria as criteria

TRAIN = pd.DataFrame(
    [
        {"objective": "mmcl", "epoch": 1, "accuracy": 40.0, "asr": 90.0},
        {"objective": "mmcl", "epoch": 2, "accuracy": 50.0, "asr": 97.0},
        {"objective": "mmcl_ssl", "epoch": 1, "accuracy": 45.0, "asr": 95.0, "loss_ssl": 0.20},
        {"objective": "mmcl_ssl", "epoch": 2, "accuracy": 51.5, "asr": 96.0, "loss_ssl": 0.192},
        {"objective": "mmcl_ssl", "epoch": 3, "accuracy": 60.0, "asr": 98.0, "loss_ssl": 0.19},
    ]
)
CLEAN = pd.DataFrame(
    {"run": ["a", "a", "b"], "seconds": [50.0, 60.0, 100.0], "eval_seconds": [5.0, 5.0, 20.0]}
)
FRESH = pd.DataFrame({"epoch": [0, 1, 2], "accuracy": [90.0, 8.0, 10.0]})
KEPT = {"mmcl": 2, "mmcl_ssl": 2}


def test_each_number_is_that_of_the_kept_epochs():
    found = criteria.numbers(TRAIN, CLEAN, FRESH, KEPT)
    assert found == {
        "accuracy, lower model": 50.0,
        "accuracy, higher model": 51.5,
        "ASR, lower model": 96.0,
        "distance of accuracies": 1.5,
        "retraining ratio": pytest.approx(0.2),
        "fall of the SSL loss": pytest.approx(0.04),
        "minutes of a cleaning run": 2.0,
    }
    assert criteria.judged(found)["met"].all()


@pytest.mark.parametrize("name", [one.name for one in criteria.CRITERIA])
def test_each_criterion_can_fail_by_itself(name):
    found = criteria.numbers(TRAIN, CLEAN, FRESH, KEPT) | {name: math.nan}
    made = criteria.judged(found).set_index("criterion")
    assert not made.loc[name, "met"]
    assert made.drop(name)["met"].all()


def test_one_epoch_says_nothing_of_convergence():
    assert math.isnan(criteria.fall_of_ssl(TRAIN[TRAIN["epoch"] == 1]))
