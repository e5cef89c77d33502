"""The price figures draw what the rows say."""

import numpy as np
import pandas as pd
import pytest

from bdnb.analysis.price import THRESHOLDS
from bdnb.report import price
from tests.analysis.test_conclusions import CLEAN, COSTLY, STRONG, WEAK, runs


@pytest.fixture
def rows():
    made = [runs(WEAK, CLEAN), runs(STRONG, COSTLY)]
    return pd.concat(
        [own.assign(pretrain_objective=own["poisoned"].str.removeprefix("train_")) for own in made]
    )


def drawn(axes):
    """Curves as (line width, value at an ASR of 5 %)."""
    place = THRESHOLDS.index(5)
    lines = [line for line in axes.get_lines() if len(line.get_ydata()) == len(THRESHOLDS)]
    return [(line.get_linewidth(), round(float(line.get_ydata()[place]))) for line in lines]


def test_ours_has_each_seed_and_their_mean_and_the_authors_stand_beside_it(rows):
    ours, theirs = price.curves(rows).axes
    assert drawn(ours) == [(0.8, 100)] * 3 + [(2.5, 100)] + [(0.8, 50)] * 3 + [(2.5, 50)]
    assert sorted(drawn(theirs)) == [(1.0, 83), (1.0, 103), (2.5, 55), (2.5, 101)]
    assert ours.get_xscale() == "log"
    assert ours.get_xlim() == (1, 100)


def test_only_the_models_named_are_drawn_and_no_rows_are_said_to_be_none(rows):
    ours, _ = price.curves(rows, [STRONG]).axes
    assert drawn(ours) == [(0.8, 50)] * 3 + [(2.5, 50)]
    assert "Nothing is recorded" in price.curves(pd.DataFrame(), [STRONG]).data


def test_a_page_of_another_loss_or_objective_has_its_curve_too(rows):
    ssl = rows.assign(loss="ssl", pretrain_objective="siglip")
    ours, _ = price.curves(ssl).axes
    assert len(drawn(ours)) == 4


def test_a_model_whose_asr_is_not_known_has_no_curve_rather_than_one_at_nothing(rows):
    without = rows.assign(asr=float("nan"), pretrain_objective="elsewhere")
    assert "ASR not measured" in price.curves(without).data
    ours, _ = price.curves(pd.concat([rows, without.assign(seed=9)])).axes
    assert len(drawn(ours)) == 8


def test_each_defence_has_its_curve(rows):
    own = rows.assign(defence="mine", accuracy=rows["accuracy"].where(rows["epoch"] == 0, 1.0))
    ours, _ = price.curves(pd.concat([rows, own])).axes
    assert len([width for width, _ in drawn(ours) if width == 2.5]) == 4
    told = [text.get_text() for text in ours.figure.legends[0].get_texts()]
    assert told[1] == "pre-trained with MMCL, cleaned with mine · MMCL + SSL"


def test_each_setting_has_a_panel_of_its_own_in_order_and_the_authors_stand_last(rows):
    costly = rows.assign(setting="mine", accuracy=rows["accuracy"].where(rows["epoch"] == 0, 1.0))
    both = pd.concat([rows.assign(setting="no label smoothing"), costly])
    first, second, theirs = price.curves(both, label="setting").axes
    assert [axes.get_title(loc="left") for axes in (first, second)] == [
        "no label smoothing (3 seeds)",
        "mine (3 seeds)",
    ]
    assert [value for width, value in drawn(first) if width == 2.5] == [100, 50]
    kept = [value for width, value in drawn(second) if width == 2.5]
    assert kept[0] < 5
    assert kept[1] < 5
    assert len(drawn(theirs)) == 4


def test_more_panels_than_fit_a_row_go_on_below(rows):
    many = pd.concat([rows.assign(setting=f"setting {i}") for i in range(4)])
    axes = price.curves(many, label="setting").axes
    assert len(axes) == 5
    assert {own.get_subplotspec().colspan.start for own in axes} == {0, 1, 2}
    assert {own.get_subplotspec().rowspan.start for own in axes} == {0, 1}


def test_each_setting_has_a_dot_a_seed_and_a_bar_at_their_mean(rows):
    axes = price.settings(rows.assign(setting="a"), "setting").axes[0]
    both = [np.asarray(made.get_offsets())[:, 0] for made in axes.collections]
    for dots, mean in zip(both[::2], both[1::2], strict=True):
        assert len(dots) == 3
        assert mean.tolist() == pytest.approx([dots.mean()])
    assert both[1][0] - both[3][0] == pytest.approx(50, abs=0.2)
    assert "Nothing is recorded" in price.settings(pd.DataFrame(), "setting").data


def test_the_sentence_on_noise_names_images_and_models(rows):
    said = price.noise(rows.assign(test_images=1000)).data
    assert said.startswith("Were the 1,000 test images drawn again, kept accuracy would move by")
    assert "mean of 6 models" in said
    assert "Nothing is recorded" in price.noise(pd.DataFrame()).data
