"""What the page says that the arena lacks."""

import pandas as pd

from bdnb.analysis.arena import CELL
from bdnb.report import arena, arena_missing
from tests.analysis.test_arena import BAD, CONTROL, GOOD, PAR, runs
from tests.report.test_arena import of


def test_what_is_missing_is_said():
    made = pd.concat([of(GOOD, BAD), runs(PAR, GOOD, attack="sig", seeds=(0,))])
    found = arena_missing.missing(arena.entries(made)).data
    assert "MMCL alone: no run of sig on MMCL" in found
    assert "PAR: fewer than 3 seeds of sig on MMCL; no control of its length for sig" in found
    assert "no attack failed" in arena_missing.missing(arena.entries(of(GOOD, BAD))).data


def test_what_is_planned_and_was_not_run_is_said():
    made = arena.entries(of(GOOD, BAD))
    lines = [("par", "mmcl", "badnet", True), ("clp", "mmcl", "badnet", False)]
    lines += [("", "", "sig", True), ("par", "mmcl", "sig", False)]
    plan = [(way, loss, attack, "scratch", "mmcl", ran) for way, loss, attack, ran in lines]
    planned = pd.DataFrame(plan, columns=["defence", "loss", *CELL, "ran"])
    found = arena_missing.missing(made, planned).data
    assert "2 of 4 planned runs are there" in found
    assert "Ways not run yet: CLP. Models not cleaned yet: sig on MMCL." in found
    assert "planned" not in arena_missing.missing(made, planned[planned["ran"]]).data


def test_cells_with_fewer_settings_than_their_way_has_are_named():
    made = [of(GOOD, BAD), runs(PAR, BAD, lr=1e-3)]
    found = arena_missing.missing(arena.entries(pd.concat(made))).data
    assert found == "- PAR: fewer than 2 settings of badnet on MMCL + SSL"


def test_an_attack_that_failed_is_named_and_lacks_nothing():
    failed = [runs(PAR, GOOD, asr=50.0), runs(PAR, GOOD, attack="sig"), runs(CONTROL, GOOD)]
    found = arena_missing.missing(arena.entries(pd.concat(failed[:2]))).data
    assert "attack failed: badnet on MMCL" in found
    assert "seeds of badnet" not in found
    assert "setting of badnet" not in found


def test_a_way_that_met_only_a_failed_seed_lacks_the_others():
    seeds = [runs(PAR, GOOD, seeds=(0, 1)), runs(CONTROL, GOOD, seeds=(2,), asr=20.0)]
    found = arena_missing.missing(arena.entries(pd.concat(seeds))).data
    assert "MMCL alone: fewer than 2 seeds of badnet on MMCL" in found
    assert "failed" not in found
