"""Rows without ASR, of a model of which nobody said what attacked it, and every reader of rows."""

import inspect

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.display import Markdown

from bdnb import models, sweep
from bdnb.analysis import conclusions
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data.labelled import LabelledSet
from bdnb.explore import explore_figures, loaded_models, recorded_runs
from bdnb.poison.triggers import TRIGGERS
from bdnb.report import (
    figures,
    interactive_figure,
    model_kinds,
    pages,
    panels,
    scoreboard,
    studies,
    tables,
)
from bdnb.runs import elsewhere, experiments
from bdnb.runtime.errors import ConfigError

MINE = {"poisoned": "mine.pt", "pretrain_objective": "elsewhere", "asr": np.nan}
OURS = {"poisoned": "train_mmcl", "pretrain_objective": "mmcl"}


def rows(*kinds: dict) -> pd.DataFrame:
    """Cleaning runs of two epochs, one of each kind."""
    frames = []
    for number, kind in enumerate(kinds):
        about = {"run": f"r{number}", "seed": 0, "lr": 1e-3, "loss": "mmcl_ssl", "study": "main"}
        about |= {"defence": "cleanclip", "scale": "tiny", "finished": "2026-01-01"}
        about |= {"device": "cpu", "commit": "abc", "poisons": 0, "ssl_weight": 1.0}
        values = {"epoch": [0, 1, 2], "accuracy": [50.0, 45.0, 40.0], "asr": [90.0, 50.0, 4.0]}
        frames.append(pd.DataFrame(values | about | kind))
    return pd.concat(frames, ignore_index=True)


def titles(figure) -> str:
    found = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join([*found, figure.get_suptitle()])


@pytest.mark.parametrize("both", [False, True], ids=["alone", "beside one of ours"])
def test_figures_say_that_it_was_not_measured_and_nothing_of_the_training(both):
    made = rows(MINE, *[OURS] * both)
    start = made[made["epoch"] == 0]
    for figure in (
        figures.scatter(made, start),
        panels.trajectories(made, start),
        panels.learning_rates(made, "elsewhere"),
    ):
        told = titles(figure)
        assert "a checkpoint from elsewhere" in told
        assert "ASR not measured" in told
        assert "pre-trained with elsewhere" not in told
        figure.savefig("/dev/null", format="svg")
    assert isinstance(interactive_figure.explorer(made), Markdown) is not both
    alone = explore_figures.of_runs({"": made[made["poisoned"] == "mine.pt"]}, 1)
    assert "accuracy 45.0 %, ASR not measured" in titles(alone)


def test_tables_show_dashes_and_not_that_nothing_was_cleaned():
    made = rows(MINE)
    alone = pages.best_models(made).to_html()
    assert "none cleaned" not in alone
    assert all(number in alone for number in ("50.0", "45.0", "40.0", "not measured"))
    assert "none cleaned" not in pages.best_models(rows(MINE, OURS)).to_html()
    told = tables.best(studies.settings(made, "stopping")).to_html()
    assert "a checkpoint from elsewhere" in told
    assert "0 of" not in told + pages.best_models(made).to_html()
    assert "–" in tables.last_epochs(made).to_html()
    assert "–" in tables.smoothness(made).to_html()
    assert "None of the paper" in scoreboard.of_models(made).data
    assert conclusions.lowest_asr(made) != conclusions.lowest_asr(made)


def test_where_rows_are_from_says_once_whose_asr_is_missing_and_what_to_give():
    told = pages.provenance(rows(MINE, MINE | {"run": "other"})).data
    assert told.count("give -p trigger, -p trigger_size and -p target") == 1
    assert told.count("`mine.pt`") == 1
    assert "make book" not in told
    assert "not measured" not in pages.provenance(rows(OURS)).data
    assert "not measured" not in pages.provenance(rows(MINE | {"asr": 1.0})).data


@pytest.mark.parametrize(
    ("given", "lacks"),
    [
        ({}, ["trigger", "trigger_size", "target"]),
        ({"trigger": "badnet", "target": "banana"}, ["trigger_size"]),
        ({"trigger": "badnet", "trigger_size": 8.0}, ["target"]),
        ({"trigger": "badnet", "trigger_size": 8.0, "target": "banana"}, []),
        ({"trigger": "badnet", "trigger_options": {"size": 8}, "target": "banana"}, []),
        ({"trigger": "blended", "target": "banana"}, []),
    ],
)
def test_the_attack_is_known_when_all_of_it_was_given(given, lacks):
    assert elsewhere.lacking(vars(CleanConfig(**given))) == lacks


def test_a_page_says_how_models_were_poisoned_only_of_those_of_its_file(tiny):
    asked = experiments.of_file("tiny", "clean")
    assert "from scratch" in model_kinds.models("clean", asked).data
    mine = [CleanConfig(scale="tiny", poisoned="mine.pt", model="rn_test")]
    assert model_kinds.models("clean", mine).data.endswith(
        "`mine.pt` is a checkpoint from elsewhere."
    )
    assert "from scratch" not in model_kinds.models("clean", [*asked, *mine]).data


def test_poison_and_picking_by_asr_are_refused_before_any_work(fresh, tmp_path):
    torch.save(models.build("rn_test", seed=0).clip.state_dict(), tmp_path / "mine.pt")
    about = {"poisoned": str(tmp_path / "mine.pt"), "model": "rn_test", "data": "tiny"}
    given = {"scale": "tiny", "experiment": "clean", "poisons": 1} | about
    with pytest.raises(ConfigError, match="give -p trigger, -p trigger_size, -p target"):
        sweep.from_notebook("clean", given)
    with pytest.raises(ConfigError, match="'sticker': unknown"):
        sweep.from_notebook("clean", given | {"poisons": 0, "trigger": "sticker"})
    assert not (fresh / "runs").exists()


def test_a_model_of_one_s_own_is_asked_without_a_target_that_nobody_named():
    images = np.zeros((2, 3, 32, 32), dtype=np.uint8)
    mine = LabelledSet("m", images, np.array([0, 1]), ["a", "b"], ["cat", "dog"], [], {})
    model = models.build("rn_test", seed=0).eval()
    attack = TrainConfig(model="rn_test", templates="simple")
    loaded = loaded_models.Loaded({"x": model}, attack, known=False)
    unknown = loaded_models.measured(loaded, mine, trigger=None, target="")
    assert not {"ASR, %", "target"} & set(unknown)
    assert unknown["classes"].tolist() == [2]
    stamp = loaded_models.stamp(loaded, "badnet", size=8, place="middle")
    chosen = loaded_models.measured(loaded, mine, trigger=stamp, target="banana")
    assert chosen["target"].tolist() == ["banana"]
    assert chosen["classes"].tolist() == [3]


def test_a_run_of_a_file_from_elsewhere_can_be_explored(fresh, tmp_path):
    torch.save(models.build("rn_test", seed=0).clip.state_dict(), tmp_path / "mine.pt")
    about = {"poisoned": str(tmp_path / "mine.pt"), "model": "rn_test", "data": "tiny"}
    sweep.from_notebook("clean", {"scale": "tiny", "experiment": "clean"} | about).run()
    (run,) = recorded_runs.recorded().values()
    subject = loaded_models.of_run(run, 2)
    assert len(subject.models) == 2
    assert not subject.known
    assert subject.attack.model == "rn_test"
    assert recorded_runs.table()["ASR, %"].isna().all()


def test_the_triggers_without_a_size_are_those_that_take_none():
    plain = {name for name, made in TRIGGERS.items() if made.__module__.startswith("bdnb.")}
    taking = {n for n in plain if "size" in inspect.signature(TRIGGERS[n]).parameters}
    assert plain - taking == set(elsewhere.WITHOUT_SIZE)
