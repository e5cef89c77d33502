"""Differences between settings are those of the same seeds, worked out by hand."""

import math

import pandas as pd
import pytest

from bdnb.report import compare_settings


def cleaned(setting, objective, seed, points):
    """A run: (accuracy, asr) an epoch, the first before cleaning."""
    about = {"setting": setting, "objective": objective, "seed": seed}
    about |= {"run": f"{setting}-{objective}-{seed}"}
    return [about | {"epoch": e, "accuracy": a, "asr": s} for e, (a, s) in enumerate(points)]


@pytest.fixture
def rows():
    return pd.DataFrame(
        [
            *cleaned("main", "mmcl", 1, [(80, 99), (70, 4)]),
            *cleaned("main", "mmcl", 2, [(60, 90), (50, 60)]),
            *cleaned("fixed", "mmcl", 1, [(82, 99), (60, 4), (75, 5)]),
            *cleaned("fixed", "mmcl", 2, [(61, 80), (50, 1)]),
            *cleaned("wrap", "mmcl", 1, [(80, 70), (60, 50)]),
            *cleaned("wrap", "mmcl", 2, [(60, 70), (60, 50)]),
            *cleaned("wrap", "mmcl", 3, [(60, 70), (60, 50)]),
        ]
    )


def test_a_setting_is_compared_with_the_base_s_same_seed(rows):
    made = compare_settings.compare(rows).set_index(["setting", "seed"])
    assert made.loc[("fixed", 1), ["accuracy", "asr", "cleaned"]].tolist() == [2, 0, 5]
    assert made.loc[("fixed", 2), ["accuracy", "asr", "cleaned"]].tolist() == [1, -10, math.inf]
    assert made.loc[("wrap", 1), "cleaned"] == -math.inf
    assert math.isnan(made.loc[("wrap", 2), "cleaned"])
    assert ("wrap", 3) not in made.index


def test_the_table_says_means_ranges_and_who_was_not_cleaned(rows):
    shown = compare_settings.table(rows).data.set_index("setting")
    assert shown["accuracy before, points"].tolist() == [
        "+1.5 (+1.0 to +2.0)",
        "+0.0 (+0.0 to +0.0)",
    ]
    told = shown["best accuracy at ASR ≤ 5 %, points"]
    assert told["fixed"] == "+5.0; only this one cleaned (1 seed)"
    assert told["wrap"] == "not cleaned (1 seed); neither cleaned (1 seed)"
    assert shown["seeds"].tolist() == [2, 2]


def test_the_sentence_names_the_largest_change_of_each_number(rows):
    assert compare_settings.answer(rows).data == (
        "2 settings against `main`, by seed. Most by `fixed`, MMCL: accuracy before +1.5 points. "
        "Most by `wrap`, MMCL: ASR before -24.5 points. "
        "Most by `fixed`, MMCL: lowest ASR at 90 % of the accuracy -52.0 points."
    )
