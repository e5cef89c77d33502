"""Detectors and inverted triggers of the arena, from rows as runs leave them."""

import pandas as pd
import pytest

from bdnb.config.defence_facts import DETECTORS
from bdnb.evaluate.detectors import registry
from bdnb.report import arena_ways, detection

CELL = {"attack": "badnet", "route": "scratch", "objective": "mmcl"}


def detected(seed, objective="mmcl", **auroc):
    """Epoch 0, and the row of a run that looks for poison."""
    about = CELL | {"objective": objective, "defence": "detect", "seed": seed, "run": f"{seed}"}
    values = {f"{name}_auroc": value for name, value in auroc.items()}
    values |= {f"{name}_fpr95": 100 - value for name, value in auroc.items()}
    return pd.DataFrame([about | {"epoch": 0}, about | {"epoch": 1} | values])


def test_the_facts_of_detectors_are_those_of_the_detectors_there_are():
    ours = {name: of for name, of in registry.OF.items() if name in DETECTORS}
    assert ours == {name: facts.of for name, facts in DETECTORS.items()}
    theirs = [n for n, f in registry.DETECTORS.items() if f.__module__.startswith("bdnb.")]
    assert set(theirs) == set(DETECTORS)


def test_each_detector_has_a_line_the_best_first():
    rows = pd.concat([detected(0, dao=90.0, lid=20.0), detected(1, dao=70.0, lid=30.0)])
    lines = detection.table(detection.found(rows)).data
    assert lines["detector"].tolist() == ["DAO", "LID"]
    assert lines["AUROC, %"].tolist() == [80.0, 25.0]
    assert lines["FPR at 95 % TPR, %"].tolist() == [20.0, 75.0]
    assert lines["seeds"].tolist() == [2, 2]
    assert "F1, %" not in lines  # no row has one
    assert lines["judges"].unique() == ["pairs"]


def test_the_answer_names_the_best_of_each_objective_and_what_points_the_wrong_way():
    rows = [detected(0, dao=90.0, lid=20.0, mine=60.0)]
    rows += [detected(0, "mmcl_ssl", dao=55.0, lid=30.0, mine=95.0)]
    said = detection.answer(detection.found(pd.concat(rows))).data
    assert "DAO on MMCL (AUROC 90 %); mine on MMCL + SSL (AUROC 95 %)" in said
    assert "with LID on every model" in said
    assert "most for DAO: 90 % on MMCL, 55 % on MMCL + SSL" in said
    apart = [detected(0, dao=90.0), detected(0, "mmcl_ssl", mine=95.0)]
    said = detection.answer(detection.found(pd.concat(apart))).data
    assert "mine on MMCL + SSL" in said
    assert "depends on" not in said  # nothing was run on both
    good = detection.answer(detection.found(detected(0, dao=90.0, lid=51.0))).data
    assert "every model" not in good


def test_the_figure_has_a_mark_for_each_detector_and_objective():
    rows = pd.concat([detected(0, dao=90.0, lid=20.0), detected(0, "mmcl_ssl", dao=55.0, lid=30.0)])
    (axes,) = detection.figure(detection.found(rows)).axes
    marks = {one.get_label(): one.get_offsets().tolist() for one in axes.collections[1:]}
    assert marks["pre-trained with MMCL"] == [[90.0, 0.0], [20.0, 1.0]]
    assert marks["pre-trained with MMCL + SSL"] == [[55.0, 0.0], [30.0, 1.0]]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["DAO", "LID"]


@pytest.mark.parametrize("rows", [pd.DataFrame(), detected(0).assign(defence="swap")])
def test_without_detectors_the_page_says_so(rows):
    made = detection.found(rows)
    assert "No detector" in detection.answer(made).data
    assert "No detector" in detection.table(made).data
    assert "No detector" in detection.figure(made).data


def test_inverted_triggers_are_counted_by_run():
    about = {"defence": "invertune", "inverted_asr": 80.0, "mask_share": 0.25}
    rows = pd.DataFrame(
        [
            about | {"run": str(i), "epoch": e, "found_target": target if e else None}
            for i, target in enumerate(["banana", "banana", "moai"])
            for e in (0, 1, 2)
        ]
    )
    said = arena_ways.inverted(rows, "banana").data
    assert "**2 of 3 runs** (else it took moai for it)" in said
    assert "80 % of the images" in said
    assert "a mask of 25 %" in said
    assert arena_ways.inverted(pd.DataFrame(), "banana").data == ""
