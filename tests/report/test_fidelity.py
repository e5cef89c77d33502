"""The page on fidelity: its sentence is counted, its table maps departures to what was run."""

import inspect

import pandas as pd
import pytest
from IPython.display import Markdown

from bdnb.config import authors
from bdnb.defences.registry import DEFENCES
from bdnb.poison.triggers import TRIGGERS
from bdnb.report import fidelity


def changed(setting, objective, seed, accuracy, asr, kept):
    about = {"setting": setting, "pretrain_objective": objective, "objective": objective}
    about |= {"seed": seed, "run": f"{setting}-{objective}-{seed}"}
    return [
        about | {"epoch": 0, "accuracy": accuracy, "asr": asr},
        about | {"epoch": 1, "accuracy": accuracy * kept / 100, "asr": 1.0},
    ]


@pytest.fixture
def rows():
    lines = []
    for seed in (1, 2):
        lines += changed("main", "mmcl", seed, 80, 99, 80)
        lines += changed("main", "mmcl_ssl", seed, 70, 98, 80)
        lines += changed("trigger", "mmcl", seed, 79, 89, 81)
        lines += changed("trigger", "mmcl_ssl", seed, 70, 68, 83)
        lines += changed("schedule", "mmcl", seed, 75, 99, 77.5)
        lines += changed("fixed", "mmcl", seed, 40, 99, 60)
    return pd.DataFrame(lines)


def test_the_answer_names_the_patch_and_the_most_of_all_departures(rows):
    said = fidelity.answer(rows).data
    assert said == (
        "**The authors' patch lowers the ASR before cleaning by 10.0 (MMCL) and 30.0 (MMCL + SSL) "
        "points; no departure that was run moves mean kept accuracy by more than 3.0 points (2 "
        "seeds).** Accuracy before cleaning changes most with `schedule`, by -5.0 points (MMCL)."
    )
    without = fidelity.answer(rows[rows["setting"] != "trigger"]).data
    most = "**No departure that was run moves mean kept accuracy by more than 2.5 points"
    assert without.startswith(most)
    batch = rows[rows["setting"] == "schedule"].assign(setting="negatives")
    said = fidelity.answer(pd.concat([rows, batch])).data
    assert "With twice the batch for MMCL, as in the paper (`negatives`), what MMCL keeps" in said


def test_without_departures_the_answer_says_so(rows):
    assert "No departure" in fidelity.answer(rows[rows["setting"].isin(["main", "fixed"])]).data


def test_the_axis_starts_near_the_data(rows):
    axes = fidelity.figure(rows[rows["setting"] != "fixed"]).axes[0]
    assert axes.get_xlim()[0] == 75
    assert isinstance(fidelity.figure(rows.iloc[:0]), Markdown)


def test_each_departure_names_the_setting_that_tries_it_and_whether_it_was_run(monkeypatch, rows):
    files = {f"clean_{name}": [] for name in ("trigger", "schedule", "fixed", "last")}
    monkeypatch.setattr(fidelity.experiments, "of_scale", lambda scale: files | {"clean": []})
    assert fidelity.not_run(rows, "any") == ["last"]
    shown = fidelity.departures(rows, "any").data.set_index("parameter")
    assert shown.loc["badnet: center", "by itself in"] == "trigger"
    assert shown.loc["last_batch", "by itself in"] == "last (not run yet)"
    assert pd.isna(shown.loc["resize", "by itself in"])
    assert (shown["the paper"] != "").all()


def test_every_setting_and_option_belongs_to_a_departure(rows):
    listed = set(fidelity.departures(rows, "authors").data["parameter"])
    assert {*fidelity.SETTINGS, *fidelity.PAPER} <= listed


@pytest.mark.parametrize("name", fidelity.PAPER)
def test_the_paper_s_option_is_the_default_of_the_code(name):
    of, _, option = name.partition(": ")
    made = (TRIGGERS if of in authors.TRIGGERS else DEFENCES)[of]
    default = inspect.signature(made).parameters[option].default
    expected = "that of the encoder" if default is None else str(default)
    assert fidelity.PAPER[name] == expected


def test_every_departure_of_the_authors_is_listed_once_with_both_values(rows):
    shown = fidelity.departures(rows, "authors").data.set_index("parameter")
    assert shown.index.is_unique
    assert shown.loc["text_views", ["the paper", "the authors"]].tolist() == ["fresh", "shifted"]
    assert shown.loc["text_views", "where"] == "training, cleaning"
    assert shown.loc["badnet: overflow", "the authors"] == "wrap"
    assert shown.loc["overlap", "where"] == "cleaning"
    assert shown.loc["last_batch", ["the paper", "the authors"]].tolist() == ["keep", "drop"]
    assert "RN50-quickgelu" in shown.loc["model", "the authors"]
    (script,) = [name for name in shown.index if "label-consistent" in name]
    assert "run_cleaning_experiments2.py" in shown.loc[script, "the authors"]
    assert "does not say" in shown.loc[script, "what"]
