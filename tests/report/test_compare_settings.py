"""Numbers of settings, side by side and by seed, worked out by hand."""

import pandas as pd
import pytest

from bdnb.report import compare_settings, price
from bdnb.runtime.errors import ConfigError


def answer(rows) -> str:
    return compare_settings.answer(rows).data


def cleaned(poisoned, points, *, pairs=8, seed=0):
    """Rows of one cleaning run: (accuracy, asr) an epoch, the first before cleaning."""
    about = {"scale": "tiny", "poisoned": poisoned, "seed": seed, "defence": "cleanclip"}
    about |= {"experiment": "clean", "pretrain_objective": poisoned.removeprefix("train_")}
    about |= {"run": f"{poisoned}-{pairs}-{seed}", "epochs": len(points) - 1}
    about |= {"cleaning_pairs": pairs, "pairs": 0}
    return pd.DataFrame(
        [about | {"epoch": e, "accuracy": a, "asr": s} for e, (a, s) in enumerate(points)]
    )


@pytest.fixture
def rows(tiny):
    weak = cleaned("train_mmcl", [(80, 99), (76, 4), (60, 1)])
    strong = cleaned("train_mmcl_ssl", [(80, 97), (78, 60), (40, 3)])
    return compare_settings.settings(pd.concat([weak, strong], ignore_index=True))


def test_a_setting_is_described_by_its_data_and_training(rows):
    assert set(rows["setting"]) == {"main"}
    assert set(rows["objective"]) == {"mmcl", "mmcl_ssl"}
    assert set(rows["cleaning"]) == {"8 × 2"}
    assert rows["train_epochs"].nunique() == 1


def test_a_setting_is_described_by_where_its_patch_is():
    places = [compare_settings.about_model("search", f"train_c50{n}_mmcl") for n in ("", "_corner")]
    assert [about["train_place"] for about in places] == ["random", "bottom_right"]


def test_settings_are_counted_in_which_either_model_keeps_more(rows, tiny):
    said = compare_settings.answer(rows).data
    assert "keeps at least 5 points more of its accuracy in 1 (main), the MMCL + SSL" in said
    assert "the MMCL + SSL model in 0.**" in said
    weak = cleaned("train_mmcl", [(80, 99), (76, 60)], pairs=96)
    strong = cleaned("train_mmcl_ssl", [(80, 99), (76, 4)], pairs=96)
    more = pd.concat(
        [rows, compare_settings.settings(pd.concat([weak, strong], ignore_index=True))]
    )
    assert "in 1 (main), the MMCL + SSL model in 1 (main).**" in answer(more)
    assert "Of 1 pair of models in 2 settings" in answer(more)


def test_both_objectives_stand_on_one_line_with_the_numbers_worked_out_by_hand(rows):
    (line,) = compare_settings.compare(rows).to_dict("records")
    # 2 of the 10 thresholds lie below an ASR of 4 %: 60 of 80; at the others 76 of 80.
    assert line["kept_mmcl"] == pytest.approx((2 * 75 + 8 * 95) / 10)
    assert line["kept_mmcl_ssl"] == pytest.approx(9 * 50 / 10)
    assert (line["kept_at_5_mmcl"], line["kept_at_5_mmcl_ssl"]) == (95, 50)
    assert (line["rebound_mmcl"], line["rebound_mmcl_ssl"]) == (0, 0)
    assert (line["asr_before_mmcl"], line["accuracy_before_mmcl_ssl"]) == (99, 80)


def test_another_amount_of_clean_data_is_another_line(rows, tiny):
    more = compare_settings.settings(cleaned("train_mmcl", [(80, 99), (70, 40)], pairs=96))
    made = compare_settings.compare(pd.concat([rows, more], ignore_index=True))
    assert made["cleaning"].tolist() == ["8 × 2", "96 × 1"]
    assert made["kept_mmcl"].iloc[1] == 0


def test_an_asr_that_comes_back_is_counted(tiny):
    weak = [cleaned("train_mmcl", [(80, 99), (50, 2), (70, 4)], seed=seed) for seed in (0, 1)]
    strong = [
        cleaned("train_mmcl_ssl", [(80, 99), (50, 2), (70, last)], seed=seed)
        for seed, last in enumerate((30, 50))
    ]
    rows = compare_settings.settings(pd.concat([*weak, *strong], ignore_index=True))
    (line,) = compare_settings.compare(rows).to_dict("records")
    assert (line["rebound_mmcl"], line["rebound_mmcl_ssl"]) == (2, 38)
    assert "more than the other's in 1, by as much less in 0." in answer(rows)


def test_the_answer_counts_settings(rows):
    said = compare_settings.answer(rows).data
    assert "Of 1 setting in which both models have an ASR of 95 % or more" in said
    assert "Of 1 pair of models in 1 setting, the former does in 1 (main)" in said
    assert "other sign than in kept accuracy in 0." in said
    assert "91.0 % for MMCL and 45.0 % for MMCL + SSL" in said


def test_settings_without_a_backdoor_are_left_out_and_named(rows, tiny):
    weak = cleaned("train_mmcl", [(80, 99), (76, 4)], pairs=96)
    strong = cleaned("train_mmcl_ssl", [(80, 40), (120, 1)], pairs=96)
    without = compare_settings.settings(pd.concat([weak, strong], ignore_index=True))
    without = without.assign(setting="faint")
    said = answer(pd.concat([rows, without]))
    assert "Left out, since a model had no backdoor to clean: faint." in said
    assert said.startswith(answer(rows))
    assert answer(without) == "*In no setting had both models a backdoor to clean (faint).*"


def test_settings_whose_backdoor_hardly_took_are_counted_apart(tiny):
    weak = cleaned("train_mmcl", [(80, 90), (76, 4)])
    strong = cleaned("train_mmcl_ssl", [(80, 99), (40, 4)])
    said = answer(compare_settings.settings(pd.concat([weak, strong], ignore_index=True)))
    assert "Of 0 settings in which both models have an ASR of 95 % or more" in said
    assert "in 0, the MMCL + SSL model in 0.** Of 1 pair of models" in said
    assert "the former does in 1 (main)" in said


def test_a_difference_that_turns_at_an_asr_of_5_percent_is_named(tiny):
    weak = cleaned("train_mmcl", [(80, 99), (40, 2), (80, 6)])
    strong = cleaned("train_mmcl_ssl", [(80, 99), (60, 2), (60, 2)])
    rows = compare_settings.settings(pd.concat([weak, strong], ignore_index=True))
    assert "other sign than in kept accuracy in 1 (main)." in answer(rows)


def test_the_table_has_both_objectives_in_a_cell_and_a_dash_for_one_that_is_not_there(rows):
    (line,) = compare_settings.table(rows).data.to_dict("records")
    assert line["kept accuracy, %"] == "91.0 / 45.0"
    assert line["kept at ASR ≤ 5 %"] == "95.0 / 50.0"
    weak = compare_settings.table(rows[rows["objective"] == "mmcl"]).data
    assert weak["kept at ASR ≤ 5 %"].tolist() == ["95.0 / –"]


def test_a_setting_is_described_once_by_what_differs(rows):
    other = rows.assign(setting="c50_batch", train_batch_size=256)
    again = rows.assign(cleaning="96 × 1")
    made = compare_settings.described(pd.concat([rows, again, other], ignore_index=True)).data
    assert list(made) == ["setting", "clean pairs × epochs", "batch size"]
    assert made["setting"].tolist() == ["main", "main", "c50_batch"]
    assert made["clean pairs × epochs"].tolist() == ["8 × 2", "96 × 1", "8 × 2"]


def test_settings_that_differ_in_cleaning_alone_are_told_apart(rows):
    rows = rows.assign(optimiser="fresh")
    other = rows.assign(setting="adam", optimiser="authors")
    made = compare_settings.described(pd.concat([rows, other], ignore_index=True)).data
    assert made["cleaning optimiser"].tolist() == ["fresh", "authors"]


def test_the_figure_has_a_line_a_setting(rows):
    axes = price.settings(rows, "label").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["main, 8 × 2"]


def test_what_differs_between_the_two_models_is_described_of_both(rows):
    rows.loc[rows["objective"] == "mmcl", "train_batch_size"] = 256
    rows.loc[rows["objective"] == "mmcl_ssl", "train_batch_size"] = 128
    assert compare_settings.compare(rows)["train_batch_size"].tolist() == ["256 / 128"]


def test_a_setting_has_the_name_of_its_file(tiny):
    one = cleaned("train_mmcl", [(80, 99), (70, 40)]).assign(experiment="clean_overlap")
    assert set(compare_settings.settings(one)["setting"]) == {"overlap"}


def test_without_rows_it_says_so(tiny):
    with pytest.raises(ConfigError, match="no cleaning run"):
        compare_settings.settings(pd.DataFrame())


def changed(setting, objective, seed, points):
    """A run: (accuracy, asr) an epoch, the first before cleaning."""
    about = {"setting": setting, "objective": objective, "seed": seed}
    about |= {"run": f"{setting}-{objective}-{seed}"}
    return [about | {"epoch": e, "accuracy": a, "asr": s} for e, (a, s) in enumerate(points)]


@pytest.fixture
def seeds():
    return pd.DataFrame(
        [
            *changed("main", "mmcl", 1, [(80, 99), (70, 4)]),
            *changed("main", "mmcl", 2, [(60, 90), (50, 60)]),
            *changed("fixed", "mmcl", 1, [(82, 99), (60, 4), (75, 5)]),
            *changed("fixed", "mmcl", 2, [(61, 80), (50, 1)]),
            *changed("wrap", "mmcl", 1, [(80, 70), (60, 50)]),
            *changed("wrap", "mmcl", 2, [(60, 70), (60, 50)]),
            *changed("wrap", "mmcl", 3, [(60, 70), (60, 50)]),
        ]
    )


def test_a_setting_is_compared_with_the_base_s_same_seed(seeds):
    made = compare_settings.changes(seeds).set_index(["setting", "seed"])
    fixed = made.loc[("fixed", 1)]
    assert fixed[["accuracy", "asr"]].tolist() == [2, 0]
    # main keeps 70 of 80 from ASR 4 %, fixed 60 of 82 there and 75 of 82 from ASR 5 %.
    main, own = 8 * 100 * 70 / 80, 100 * 60 / 82 + 7 * 100 * 75 / 82
    assert fixed["kept"] == pytest.approx((own - main) / 10)
    assert fixed["kept_at_5"] == pytest.approx(100 * (75 / 82 - 70 / 80))
    assert made.loc[("wrap", 1), "kept_at_5"] == -87.5
    assert made.loc[("wrap", 2), "kept"] == 0
    assert ("wrap", 3) not in made.index


def test_a_change_too_small_to_show_has_no_minus_sign():
    base = changed("main", "mmcl", 1, [(80.0, 70), (60, 50)])
    other = changed("wrap", "mmcl", 1, [(79.96, 70), (60, 50)])
    shown = compare_settings.change_table(pd.DataFrame([*base, *other])).data
    assert shown["accuracy before, points"].tolist() == ["+0.0"]


def test_the_table_says_means_and_ranges_over_all_seeds(seeds):
    shown = compare_settings.change_table(seeds).data.set_index("setting")
    assert shown["accuracy before, points"].tolist() == [
        "+1.5 (+1.0 to +2.0)",
        "+0.0 (+0.0 to +0.0)",
    ]
    assert shown.loc["wrap", "kept at ASR ≤ 5 %, points"] == "-43.8 (-87.5 to +0.0)"
    assert shown["seeds"].tolist() == [2, 2]


def test_both_objectives_are_told_at_the_seeds_that_both_have(tiny):
    paths = [(80, 99), (76, 4), (60, 1)], [(80, 99), (48, 4), (48, 4)]
    weak = [cleaned("train_mmcl", paths[n > 0], seed=n) for n in range(3)]
    strong = [cleaned("train_mmcl_ssl", paths[1], seed=n) for n in (1, 2)]
    made = compare_settings.compare(compare_settings.settings(pd.concat([*weak, *strong])))
    assert made["kept_mmcl"].tolist() == made["kept_mmcl_ssl"].tolist()
    assert made["seeds"].tolist() == [2]
