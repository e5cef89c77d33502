"""What the page says that the arena lacks."""

import pandas as pd

from bdnb.analysis.arena import CELL
from bdnb.report import arena, arena_missing
from bdnb.report.pages import NOTHING
from tests.analysis.test_arena import BAD, CONTROL, GOOD, PAR, runs
from tests.report.test_arena import of


def plan(*lines):
    made = [
        (way, loss, attack, "scratch", objective, ran)
        for way, loss, attack, objective, ran in lines
    ]
    return pd.DataFrame(made, columns=["defence", "loss", *CELL, "ran"])


PLANNED = plan(
    ("par", "mmcl", "badnet", "mmcl", True),
    ("par", "mmcl", "badnet", "mmcl", False),
    ("par", "mmcl", "badnet", "mmcl_ssl", True),
    ("clp", "mmcl", "badnet", "mmcl", False),
    ("", "", "sig", "mmcl", True),
)


def test_each_cell_has_the_runs_that_are_there_of_those_planned():
    frame = arena_missing.coverage(PLANNED).data.set_index("way of cleaning")
    assert frame.loc["PAR"].tolist() == ["1 of 2", "1 of 1"]
    assert frame.columns.tolist() == ["badnet on MMCL", "badnet on MMCL + SSL"]
    assert frame.loc["CLP", "badnet on MMCL"] == "0 of 1"
    assert pd.isna(frame.loc["CLP", "badnet on MMCL + SSL"])


def test_nothing_is_planned_where_only_models_are_trained():
    assert arena_missing.coverage(PLANNED[PLANNED["defence"] == ""]) is NOTHING


def test_all_planned_runs_are_counted_and_ways_without_control_named():
    made = pd.concat([of(GOOD, BAD), runs(PAR, GOOD, attack="sig", seeds=(0,))])
    found = arena_missing.missing(arena.entries(made), PLANNED).data
    control = "No control of their length at its frozen setting yet, on one of their models or more"
    assert found == f"3 of 5 planned runs are there. {control}: PAR."  # not on sig's
    other = pd.concat([made, runs(CONTROL, GOOD, attack="sig", seeds=(0,), lr=1e-3)])
    found = arena_missing.missing(arena.entries(other), PLANNED).data
    assert f"{control}: MMCL alone; PAR." in found  # as long, at another rate
    found = arena_missing.missing(arena.entries(of(GOOD, BAD)), PLANNED).data
    assert found == "3 of 5 planned runs are there."


def test_models_of_which_nothing_was_run_are_named():
    planned = pd.concat([PLANNED, plan(("", "", "badnet", "roclip", False))], ignore_index=True)
    found = arena_missing.missing(arena.entries(of(GOOD, BAD)), planned).data
    assert found == "3 of 6 planned runs are there. Models without any run yet: badnet on RoCLIP."


def test_an_attack_that_failed_is_named_once_all_its_seeds_did():
    failed = [runs(PAR, GOOD, asr=50.0), runs(PAR, GOOD, attack="sig"), runs(CONTROL, GOOD)]
    found = arena_missing.missing(arena.entries(pd.concat(failed[:2])), PLANNED).data
    assert "Attack failed, ASR before under 90 %: badnet on MMCL." in found
    seeds = [runs(PAR, GOOD, seeds=(0, 1)), runs(CONTROL, GOOD, seeds=(2,), asr=20.0)]
    assert "failed" not in arena_missing.missing(arena.entries(pd.concat(seeds)), PLANNED).data
