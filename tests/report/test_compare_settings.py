"""Differences between settings are those of the same seeds, worked out by hand."""

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
    fixed = made.loc[("fixed", 1)]
    assert fixed[["accuracy", "asr"]].tolist() == [2, 0]
    # main keeps 70 of 80 from ASR 4 %, fixed 60 of 82 there and 75 of 82 from ASR 5 %.
    main, own = 8 * 100 * 70 / 80, 100 * 60 / 82 + 7 * 100 * 75 / 82
    assert fixed["kept"] == pytest.approx((own - main) / 10)
    assert fixed["kept_at_5"] == pytest.approx(100 * (75 / 82 - 70 / 80))
    assert made.loc[("wrap", 1), "kept_at_5"] == -87.5
    assert made.loc[("wrap", 2), "kept"] == 0
    assert ("wrap", 3) not in made.index


def test_the_table_says_means_and_ranges_over_all_seeds(rows):
    shown = compare_settings.table(rows).data.set_index("setting")
    assert shown["accuracy before, points"].tolist() == [
        "+1.5 (+1.0 to +2.0)",
        "+0.0 (+0.0 to +0.0)",
    ]
    assert shown.loc["wrap", "kept at ASR ≤ 5 %, points"] == "-43.8 (-87.5 to +0.0)"
    assert shown["seeds"].tolist() == [2, 2]


def test_the_sentence_names_the_largest_change_of_each_number(rows):
    said = compare_settings.answer(rows).data
    assert said.startswith(
        "2 settings against `main`, by seed. Most by `fixed`, MMCL: accuracy before +1.5 points. "
        "Most by `wrap`, MMCL: ASR before -24.5 points. Most by `fixed`, MMCL: kept accuracy +"
    )
