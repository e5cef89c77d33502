"""Studies name their settings in order, and their tables say what the rows say."""

import math

import pandas as pd
import pytest

from bdnb.analysis.conclusions import CONCLUSIONS
from bdnb.analysis.metrics import over_seeds
from bdnb.report import answers, model_kinds, studies, tables
from bdnb.runtime.errors import ConfigError


def cleaning(weight: float, points: list[tuple[float, float]]) -> pd.DataFrame:
    asr, accuracy = zip(*points, strict=True)
    about = {"run": f"w{weight}", "seed": 0, "scale": "tiny", "poisoned": "elsewhere", "lr": 1e-3}
    about |= {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "ssl_weight"}
    about |= {"pretrain_objective": "mmcl_ssl", "ssl_weight": weight, "poisons": 0}
    return pd.DataFrame(about | {"epoch": range(len(points)), "asr": asr, "accuracy": accuracy})


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.concat(
        [
            cleaning(8, [(90.0, 50.0), (3.0, 30.0), (50.0, 45.0)]),
            cleaning(2, [(90.0, 50.0), (60.0, 48.0), (40.0, 40.0)]),
        ],
        ignore_index=True,
    )


def test_settings_are_words_in_the_order_of_the_values(rows, tiny):
    shown = studies.settings(rows, "ssl_weight")
    assert list(shown["setting"].cat.categories) == ["SSL weight 2", "SSL weight 8"]
    assert set(shown["panel"]) == {"MMCL + SSL"}


def test_beside_a_study_stand_plain_runs_of_its_seeds_and_rates_alone(rows, monkeypatch):
    asked = []
    monkeypatch.setattr(studies.results, "rows", lambda runs: asked.extend(runs) or rows)
    tried = [("train_mmcl", 2, 1e-3), ("train_mmcl_ssl", 1, 3e-3), ("train_mmcl_ssl", 1, 5e-2)]
    about = pd.DataFrame(tried, columns=["poisoned", "seed", "lr"]).assign(scale="laptop")
    studies.main_rows(about)
    assert {(run.poisoned, run.seed, run.lr) for run in asked} == set(tried[:2])
    assert {run.loss for run in asked} == {"mmcl_ssl"}


def test_rows_without_what_the_study_varies_are_refused(rows, tiny):
    with pytest.raises(ConfigError, match="deep_cluster: rows without option_labels"):
        studies.settings(rows, "deep_cluster")
    with pytest.raises(ConfigError, match="study='magic': unknown; there are deep_cluster"):
        studies.of("magic")


def test_last_epochs_stand_beside_all_of_them_with_the_model_before(rows):
    both = studies.last_alone(rows).groupby("which")
    every, last = both.get_group("every epoch"), both.get_group("last epochs alone")
    assert len(every) == len(rows)
    assert last.sort_values(["run", "epoch"])[["epoch", "asr"]].to_numpy().tolist() == [
        [0, 90.0],
        [2, 40.0],
        [0, 90.0],
        [2, 50.0],
    ]
    assert studies.last_alone(rows[:0]).empty


def test_every_study_belongs_to_a_conclusion():
    known = {conclusion.id for conclusion in CONCLUSIONS}
    assert {study.conclusion for study in studies.STUDIES.values()} <= known


def test_the_best_model_of_each_setting_is_told(rows, tiny):
    made = tables.best(studies.settings(rows, "ssl_weight")).data
    made = made.set_index("setting")
    best = made["best accuracy at ASR ≤ 5 %"]
    assert best.to_dict() == {"SSL weight 2": "none (1 seed)", "SSL weight 8": "30.0"}
    assert made["kept accuracy, %"].to_dict() == {"SSL weight 2": "0.0", "SSL weight 8": "54.0"}


def test_a_mean_over_some_of_the_seeds_says_so():
    assert tables.cell(over_seeds([48.0, 50.0, math.nan])) == "49.0 (2 of 3 seeds)"
    assert tables.cell(over_seeds([48.0, 50.0])) == "49.0 (36.3 to 61.7)"
    assert tables.cell(over_seeds([math.nan] * 3)) == "none (3 seeds)"
    assert tables.cell(over_seeds([48.0])) == "48.0"


def test_the_last_epoch_stands_beside_the_oracle_s_choice(rows):
    (line,) = tables.last_epochs(rows).data.to_dict("records")
    assert line["oracle: best accuracy at ASR ≤ 5 %"] == "30.0"
    assert line["last epoch: accuracy, %"] == pytest.approx((45 + 40) / 2)
    assert line["of them at ASR ≤ 5 %"] == "0 of 2"


def test_a_run_that_turns_back_is_less_smooth(rows):
    (line,) = tables.smoothness(rows).data.to_dict("records")
    assert line["largest rise of ASR in one epoch"] == pytest.approx((47 + 0) / 2)
    assert line["best epoch at ASR ≤ 5 % / last"] == "0.50 (1 of 2 runs)"
    assert line["n"] == 2


def test_each_addition_stands_in_order_below_cleanclip_alone(rows):
    names = ["ablations_more_epochs", "clean", "ablations_deep_cluster", "nonideal"]
    every = pd.concat([rows.assign(experiment=name, loss="mmcl_ssl") for name in names])
    made = studies.additions(every)["addition"]
    assert list(made.unique()) == [
        "CleanCLIP alone",
        "deep clustering",
        "up to five times the epochs",
    ]
    assert studies.additions(pd.DataFrame()).empty


def test_each_kind_of_model_is_of_the_first_scale_that_has_it(rows, monkeypatch):
    def of_scale(scale):
        there = {"big": ["clean_vit"], "small": ["clean_vit", "clean"], "none": []}[scale]
        frames = [rows.assign(experiment=name, scale=scale, loss="mmcl_ssl") for name in there]
        return pd.DataFrame(), pd.concat(frames) if frames else pd.DataFrame()

    monkeypatch.setattr(model_kinds.results, "rows_of_scale", of_scale)
    made = model_kinds.kinds(["none", "big", "small"])
    assert dict(zip(made["kind"], made["scale"], strict=True)) == {
        "from scratch, small": "small",
        "vision transformers, big": "big",
    }
    assert list(made["kind"].unique()) == ["from scratch, small", "vision transformers, big"]
    assert list(model_kinds.kinds(["small"])["kind"].unique()) == [
        "from scratch",
        "vision transformers",
    ]
    assert model_kinds.kinds(["none"]).empty


def test_models_from_scratch_stand_beside_each_scale_s_other_kinds(rows, monkeypatch):
    def of_scale(scale):
        names = {"big": ["clean"], "small": ["clean", "clean_vit"], "more": ["clean"]}[scale]
        frames = [rows.assign(experiment=name, scale=scale, loss="mmcl_ssl") for name in names]
        return pd.DataFrame(), pd.concat(frames)

    monkeypatch.setattr(model_kinds.results, "rows_of_scale", of_scale)
    made = model_kinds.kinds(["big", "small", "more"])
    assert list(made["kind"].unique()) == [
        "from scratch, big",
        "from scratch, small",
        "vision transformers, small",
    ]


def test_it_is_said_which_kinds_compare_and_which_were_tried_at_few_rates(rows):
    few = rows.assign(poisoned="train_mmcl", scale="laptop", kind="vision transformers, laptop")
    more = [
        rows.assign(poisoned="train_mmcl", scale="effect", kind="from scratch, effect", lr=lr)
        for lr in (1e-4, 3e-4, 1e-3)
    ]
    said = model_kinds.comparable(pd.concat([*more, few])).data
    assert "Of scale `effect` (490 classes): from scratch (3 learning rates)." in said
    assert "Of scale `laptop` (150 classes): vision transformers (1 learning rate)." in said
    assert "Only kinds of the same scale compare" in said
    assert "at 2 learning rates or fewer: vision transformers, laptop." in said
    alone = model_kinds.comparable(pd.concat(more)).data
    assert "same scale" not in alone
    assert "or fewer" not in alone
    assert model_kinds.comparable(pd.DataFrame()).data == ""


def test_what_poisons_left_cost_is_said_of_each_number_of_them(tiny):
    clean = cleaning(1, [(90.0, 50.0), (1.0, 40.0)]).assign(panel="MMCL", setting="0 poisons left")
    some = cleaning(1, [(90.0, 50.0), (90.0, 50.0)]).assign(panel="MMCL", setting="6 poisons left")
    some = some.assign(run="other", poisons=6, cleaning_pairs=500)
    rows = pd.concat([clean.assign(cleaning_pairs=2000), some])
    assert answers.with_poisons_left(rows).data == (
        "**Kept accuracy by how many of the clean pairs are poisoned: 0 of 2,000 (0.0 %): "
        "80 % (MMCL); 6 of 500 (1.2 %): 0 % (MMCL)** (seeds: 1)."
    )
    assert "recorded" in answers.with_poisons_left(rows[:0]).data
