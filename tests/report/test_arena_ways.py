"""What each way of the arena knows, and on how many models InverTune finds the target."""

import pandas as pd
import pytest

from bdnb.analysis import blind
from bdnb.config.defence_facts import FACTS
from bdnb.report import arena, arena_ways
from tests.analysis.test_arena import BAD, GOOD, PAR, runs
from tests.report.test_arena import of


def test_each_blind_rule_has_words_for_the_epoch_that_it_keeps():
    assert set(arena_ways.BLIND) == set(blind.RULES)


def test_each_way_has_a_line_of_rule_knowledge_and_paper():
    both = arena_ways.ways(arena.entries(of(GOOD, BAD))).data
    assert len(both) == 2
    par = both.set_index("way of cleaning").loc["PAR"]
    assert "arXiv 2412.00727" in par["paper"]
    assert par["blind pick"].startswith("the most accurate epoch")
    assert par["knows"] == "clean pairs, labelled images"
    assert par["runs"] == len(of(GOOD, BAD).query("defence == 'par'")["run"].unique())
    mine = arena_ways.ways(arena.entries(runs(("mine", "mmcl_ssl"), GOOD))).data.iloc[0]
    assert (mine["paper"], mine["knows"]) == ("yours", "not said")
    assert mine["blind pick"].startswith("the last epoch")
    assert "not tuned" not in par["blind pick"]
    other = arena_ways.ways(arena.entries(runs(PAR, GOOD, attack="sig"))).data.iloc[0]
    # Settings are frozen on BadNet.
    assert other["blind pick"] == "the most accurate epoch, not tuned"
    assert "Nothing" in arena_ways.ways(pd.DataFrame()).data


@pytest.mark.parametrize("name", FACTS)
def test_who_picks_by_accuracy_has_labelled_images(name):
    by_accuracy = FACTS[name].blind in ("best_accuracy", "accuracy_floor")
    assert ("labelled images" in FACTS[name].knows) == by_accuracy


def test_who_picks_an_untuned_way_s_model_has_labelled_images_too():
    def knows(way, **columns):
        return arena_ways.ways(arena.entries(runs((way, "mmcl"), GOOD, **columns))).data["knows"][0]

    assert knows("invertune") == "clean pairs, class names"
    assert knows("invertune", attack="sig") == "clean pairs, class names, labelled images"
    assert knows("clp", attack="sig") == "labelled images"
    assert knows("mine", attack="sig") == "not said"


def test_inverted_triggers_are_counted_by_model():
    about = {"defence": "invertune", "inverted_asr": 80.0, "mask_share": 0.25}
    found = [("a", 0, "banana"), ("a", 1, "banana"), ("b", 0, "moai")]
    rows = pd.DataFrame(
        [
            about
            | {"poisoned": poisoned, "seed": seed, "run": f"{poisoned}{seed}{lr}"}
            | {"epoch": epoch, "found_target": target if epoch else None}
            for poisoned, seed, target in found
            for lr in (1e-3, 3e-3)[: 1 + seed]  # a model of two runs counts once
            for epoch in (0, 1, 2)
        ]
    )
    said = arena_ways.inverted(rows, "banana").data
    assert "on **2 of 3 models** (else it took moai for it)" in said
    assert "80 % of the images" in said
    assert "a mask of 25 %" in said
    assert arena_ways.inverted(pd.DataFrame(), "banana").data == ""
