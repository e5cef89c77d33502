"""Which runs stand in the arena, recorded or planned, and those that a reader asks for."""

import pandas as pd
import pytest

from bdnb.analysis.arena import CELL
from bdnb.report import arena_runs
from bdnb.runs import experiments, shipped
from bdnb.runtime.errors import ConfigError

ABOUT = {"poisoned": "train_mmcl", "defence": "cleanclip", "loss": "mmcl", "study": "main"}
ABOUT |= {"experiment": "clean", "epoch": 1, "finished": "2026-11-23"}


def recorded(monkeypatch, lines):
    """Rows of the scale arena: a line a run."""
    frame = pd.DataFrame([line | {"run": str(i)} for i, line in enumerate(lines)])
    monkeypatch.setattr(arena_runs.shipped, "rows_anywhere", lambda _: (pd.DataFrame(), frame))


def test_a_run_that_is_not_finished_does_not_count(monkeypatch):
    cut = ABOUT | {"finished": None}
    recorded(monkeypatch, [ABOUT, cut, cut | {"defence": "detect"}])
    ways, measured = arena_runs.rows("arena")
    assert ways["run"].tolist() == ["0"]
    assert measured.empty
    recorded(monkeypatch, [cut])
    assert all(part.empty for part in arena_runs.rows("arena"))


def test_what_trains_with_the_model_s_own_objective_is_one_way(monkeypatch):
    ends = {"train_mmcl": "mmcl", "train_mmcl_ssl": "mmcl_ssl"}
    made = [ABOUT | {"poisoned": name, "loss": loss} for name, loss in ends.items()]
    recorded(monkeypatch, made + [one | {"defence": "drop"} for one in made])
    assert arena_runs.rows("arena")[0]["loss"].tolist() == ["mmcl", "mmcl_ssl", "", ""]
    planned = arena_runs.planned("arena")
    assert set(planned.loc[planned["defence"] == "drop", "loss"]) == {""}
    assert set(planned.loc[planned["defence"] == "drop", "objective"]) == {"mmcl", "mmcl_ssl"}


def test_a_route_names_a_model_that_few_experiments_have(fresh):
    trained = experiments.trained("tiny", "train_mmcl", 0)
    usual = arena_runs.planned("tiny")["route"]
    assert set(usual) == {"scratch"}
    path = fresh / "params" / "tiny" / "train_mmcl.yaml"
    other = path.read_text().replace(trained.model, "vit_tiny32")
    path.with_name("train_other.yaml").write_text(other.replace("train_mmcl", "train_other"))
    assert set(arena_runs.planned("tiny")["route"]) == {"scratch", "scratch, vit_tiny32"}


def test_the_control_is_planned_for_both_lengths_and_what_is_shipped_stays_asked_for():
    control = experiments.of_file("arena", "clean_control")
    rates = {(one.epochs, one.lr) for one in control}
    assert rates == {(20, 1e-4), (20, 3e-4), (20, 1e-3), (4, 3e-4), (4, 1e-3), (4, 3e-3)}
    tuned = {one.lr for one in experiments.of_file("arena", "clean_invertune")}
    assert tuned == {lr for epochs, lr in rates if epochs == 4}
    badnet = ("train_mmcl", "train_mmcl_ssl")
    long = [one for one in control if one.epochs == 20 and one.poisoned in badnet]
    assert len(long) == 12
    assert {shipped.shipped_name(one) for one in long} <= set(shipped.read("arena"))


def test_heavy_regularisation_is_by_the_optimisers_decay():
    planned = experiments.of_file("arena", "clean_heavy_regularisation")
    assert {one.options["by"] for one in planned} == {"decay"}
    assert {one.options["weight"] for one in planned} == {1.0, 5.0}


def test_the_plan_is_the_scale_s_and_what_was_run_counts(tiny):
    planned = arena_runs.planned("tiny")
    assert {"", "cleanclip"} <= set(planned["defence"])
    listed = [one for made in experiments.of_scale("tiny").values() for one in made]
    assert len(planned) == len({experiments.folder(one) for one in listed})
    ran = {experiments.folder(one) for one in listed if experiments.recorded(one)}
    assert planned["ran"].sum() == len(ran)


def test_a_readers_defence_is_asked_for_wherever_cleanclip_was_run(tiny):
    asked = arena_runs.asked("tiny", {"scale": "tiny", "defence": "mine", "code": "mine.py"})
    assert [(one.defence, one.poisoned) for one in asked] == [
        ("mine", "train_mmcl"),
        ("mine", "train_mmcl_ssl"),
    ]
    assert {one.code for one in asked} == {"mine.py"}
    fewer = arena_runs.asked(
        "tiny", {"defence": "par", "lr": [1e-3, 1e-4], "poisoned": "train_mmcl", "loss": "mmcl"}
    )
    assert [(one.lr, one.loss) for one in fewer] == [(1e-3, "mmcl"), (1e-4, "mmcl")]
    assert arena_runs.asked("tiny", {"scale": "tiny"}) == []
    missing = sum(not experiments.recorded(one) for one in experiments.needs(fewer[0]))
    models = "1 model" if missing else "0 models"  # another test may have trained it
    said = arena_runs.costs("tiny", fewer).data
    assert f"2 of 2 runs to do, and {models} to train first: about" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"code": "mine.py"}, "without a defence"),
        ({"defence": "par", "pairs": 3}, "pairs: unknown"),
        ({"defence": "par", "seed": 99}, "seed=99: CleanCLIP has no such run in params/tiny/"),
        ({"defence": "par", "seed": [0, "one"]}, "seed='one': CleanCLIP.*expected some of 0$"),
        ({"defence": "par", "poisoned": ["train_mmcl", "train_mcl"]}, "poisoned='train_mcl'"),
        ({"defence": "par", "lr": -1.0}, "lr"),
    ],
)
def test_what_no_run_can_have_is_refused(tiny, given, said):
    with pytest.raises(ConfigError, match=said):
        arena_runs.asked("tiny", given)


def test_what_only_measures_and_what_comes_after_cleaning_is_no_way_of_cleaning(monkeypatch):
    kinds = {"clean_control": {}, "clean_rebound": {"study": "rebound"}}
    kinds |= {f"clean_{name}": {"defence": name} for name in ("swap", "detect")}
    recorded(monkeypatch, [ABOUT | more | {"experiment": e} for e, more in kinds.items()])
    ways, measured = arena_runs.rows("arena")
    assert ways["experiment"].tolist() == ["clean_control"]
    assert ways[CELL].to_numpy().tolist() == [["badnet", "scratch", "mmcl"]]
    assert measured["experiment"].tolist() == ["clean_rebound", "clean_swap", "clean_detect"]
    planned = arena_runs.planned("arena").query("attack == 'badnet' and objective == 'mmcl'")
    control = planned[(planned["defence"] == "cleanclip") & (planned["loss"] == "mmcl")]
    assert (
        len(control) == 12
    )  # three rates of each length, two seeds; rebound's runs stand by themselves
