"""Every objective against every way of cleaning, on hand-made rows."""

import pandas as pd
import pytest

from bdnb.report import comebacks, crossed, rates
from bdnb.runs import experiments
from tests.analysis.test_effect import MODELS, SEEDS, run

FAIR, POOR = [20.0, 4.0, 1.0], [60.0, 50.0, 30.0]
OF = {
    "train_mmcl": "mmcl",
    "train_mmcl_ssl": "mmcl_ssl",
    "train_mmcl_barlow": "mmcl_barlow",
    "train_mmcl_ssl_image": "mmcl_ssl_image",
}


def made(model, asrs, *, rates=(3e-4, 1e-3), seeds=SEEDS, experiment="clean", **columns):
    about = {
        "pretrain_objective": OF[model],
        "experiment": experiment,
        "image_views": "autoaugment",
    }
    return [run(model, s, asrs, lr=lr, **about | columns) for s in seeds for lr in rates]


def test_each_model_has_a_line_and_each_way_a_column():
    rows = made(MODELS[0], FAIR, rates=(1e-4, 3e-4, 1e-3)) + made(MODELS[1], POOR)
    rows += made(MODELS[1], FAIR, study="views", image_views="none", experiment="clean_views")
    rows += made(MODELS[1], POOR, defence="par", study="crossing", experiment="clean_crossing")
    rows += made(
        "train_mmcl_barlow", FAIR, loss="mmcl_barlow", study="crossing", experiment="clean_parts"
    )
    clean = pd.concat(rows, ignore_index=True)
    lines = crossed.table(clean).data.set_index(crossed.MODEL)
    views = "CleanCLIP without second views"
    assert set(lines) == {"CleanCLIP", views, "PAR", "MMCL + Barlow Twins"}
    assert lines.loc["MMCL + SSL", "CleanCLIP"] == "0.0 (0 to 0), n = 3"
    assert lines.loc["MMCL + SSL", views].endswith("n = 3")
    assert lines.loc["MMCL", "PAR"] == "–"
    said = crossed.answer(clean).data
    assert f"{views} on MMCL + SSL (" in said
    assert " %, 3 seeds)**: means over the seeds that all ways compared" in said
    assert "3e-4 and 1e-3" in said
    assert "7 of 12 pairs" in said


def test_every_way_is_run_at_the_rates_that_are_compared():
    for name in crossed.EXPERIMENTS:
        runs = experiments.of_file("effect", name)
        rates = {}
        for one in runs:
            key = (one.poisoned, one.defence, one.loss, one.image_views, one.seed)
            rates.setdefault(key, set()).add(one.lr)
        assert all(set(crossed.RATES) <= own for own in rates.values()), name


def test_a_seed_without_one_of_the_rates_does_not_count():
    rows = made(MODELS[0], POOR) + made(MODELS[0], FAIR, rates=(3e-4,), seeds=(7,))
    lines = crossed.table(pd.concat(rows, ignore_index=True)).data
    assert lines["CleanCLIP"].tolist() == ["0.0 (0 to 0), n = 3"]


def test_rates_that_one_way_alone_was_run_at_count_for_none():
    rows = made(MODELS[0], POOR) + made(MODELS[0], FAIR, rates=(1e-4,))
    rows += made(MODELS[1], POOR)
    lines = crossed.table(pd.concat(rows, ignore_index=True)).data.set_index(crossed.MODEL)
    assert lines.loc["MMCL", "CleanCLIP"].startswith("0.0")


@pytest.mark.parametrize(
    "what", [{"defence": "swap"}, {"study": "rebound"}, {"experiment": "clean_vit"}]
)
def test_other_runs_do_not_count(what):
    rows = pd.concat(made(MODELS[0], FAIR), ignore_index=True).assign(**what)
    assert "Nothing" in crossed.table(rows).data
    assert "Nothing" in crossed.answer(pd.DataFrame()).data


def test_a_user_s_fine_tuning_has_its_asr_before_at_most_and_after():
    rows = [
        run(MODELS[0], s, [10.0, 30.0 + s, 20.0], study="rebound", lr=1e-4).assign(
            asr=lambda own: own["asr"].where(own["epoch"] > 0, 2.0),
            cleaned_lr=3e-4,
        )
        for s in (0, 1)
    ]
    line = comebacks.users(pd.concat(rows, ignore_index=True)).data.iloc[0]
    assert line["ASR, cleaned"] == 2
    assert line["highest ASR"] == 30.5
    assert line["last ASR"] == 20
    assert (line["cleaned at"], line["fine-tuned at"], line["seeds"]) == ("3e-4", "1e-4", 2)
    assert "No cleaned model" in comebacks.users(pd.DataFrame()).data


def test_the_rate_that_each_objective_needs_is_beside_mmcl_of_the_same_seeds():
    parts = {"study": "crossing", "experiment": "clean_parts"}
    rows = made(MODELS[0], FAIR, rates=(3e-4, 1e-3))  # clean at the lowest
    rows += made(MODELS[1], POOR, rates=(3e-4,)) + made(MODELS[1], FAIR, rates=(1e-3,))
    rows += made("train_mmcl_ssl_image", FAIR, seeds=SEEDS[:1], **parts)
    rows += made("train_mmcl_barlow", POOR, seeds=SEEDS[:2], **parts)
    # What must not count: another loss, other views, rates and seeds of one model alone.
    rows += made("train_mmcl_ssl_image", POOR, seeds=(7,), **parts)
    rows += made("train_mmcl_ssl_image", FAIR, rates=(1e-5,), seeds=SEEDS[:1], **parts)
    rows += made(MODELS[1], FAIR, study="views", image_views="none", experiment="clean_views")
    rows += made(MODELS[1], FAIR, loss="mmcl_barlow", **parts)
    clean = pd.concat(rows, ignore_index=True)
    said = crossed.rates_answer(clean).data
    assert "MMCL + SSL 3.3 (" in said
    assert "3 seeds; MMCL + SSL of images 1.0, 1 seed (MMCL + SSL there: 3.3);" in said
    assert "MMCL + Barlow Twins none tried is enough" in said
    lines = crossed.rates_table(clean).data.set_index(crossed.MODEL)
    assert lines["seeds"].tolist() == [3, 1, 2]
    needed = lines[f"rate for ASR ≤ {rates.ENOUGH} %, times MMCL's"]
    assert needed["MMCL + SSL of images"] == "1.0"
    assert needed["MMCL + Barlow Twins"] == "–"
    images = ["ASR at 3e-4, %", "MMCL at 3e-4", "MMCL + SSL at 3e-4"]
    assert lines.loc["MMCL + SSL of images", images].tolist() == ["1", "1", "30"]


@pytest.mark.parametrize("shown", [crossed.rates_answer, crossed.rates_table])
def test_where_no_objective_is_beside_mmcl_nothing_is_said_of_rates(shown):
    alone = pd.concat(made(MODELS[0], FAIR), ignore_index=True)
    for rows in (alone, alone[:0], pd.DataFrame()):
        assert shown(rows).data == crossed.NOTHING.data


def test_what_keeps_most_is_said_of_the_seeds_that_all_ways_have():
    rows = made(MODELS[1], POOR, seeds=(0,)) + made(MODELS[1], FAIR, seeds=(1, 2))
    rows += made(MODELS[1], FAIR, defence="par", study="crossing", experiment="clean_crossing")
    views = {"study": "views", "experiment": "clean_views"}
    rows += made(MODELS[1], [1.0, 1.0, 1.0], seeds=(1,), image_views="crop_flip", **views)
    said = crossed.answer(pd.concat(rows, ignore_index=True)).data
    assert "Most is kept by PAR on MMCL + SSL (" in said
    assert ", 3 seeds; CleanCLIP with crops for second views: one seed, left out)" in said
