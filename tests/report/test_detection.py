"""Detectors of the arena, from rows as runs leave them."""

import inspect

import pandas as pd
import pytest

from bdnb.config.defence_facts import DETECTORS, LOOK_AT_IMAGES, NEIGHBOURS
from bdnb.evaluate.detectors import registry
from bdnb.report import detection

CLEAN, RAW = {"reference": "clean"}, {"features": "raw"}
CELL = {"attack": "badnet", "route": "scratch", "objective": "mmcl"}


def detected(seed, objective="mmcl", *, attack="badnet", given=None, **auroc):
    """Epoch 0, and the row of a run that looks for poison. given: options of each detector."""
    about = CELL | {"objective": objective, "attack": attack, "defence": "detect", "seed": seed}
    about |= {"run": f"{attack}-{objective}-{seed}-{given}"}
    if given:
        about["option_options"] = str(dict.fromkeys(auroc, given))
    values = {f"{name}_auroc": value for name, value in auroc.items()}
    values |= {f"{name}_fpr95": 100 - value for name, value in auroc.items()}
    return pd.DataFrame([about | {"epoch": 0, "asr": 99.0}, about | {"epoch": 1} | values])


def both(seed=0, **auroc):
    """Rows of a detector on models of both objectives: name=(MMCL, MMCL + SSL)."""
    plain = {k: v for k, v in auroc.items() if k in ("attack", "given")}
    values = {name: pair for name, pair in auroc.items() if name not in plain}
    rows = [
        detected(seed, objective, **plain, **{name: pair[i] for name, pair in values.items()})
        for i, objective in enumerate(("mmcl", "mmcl_ssl"))
    ]
    return pd.concat(rows)


def test_the_facts_of_detectors_are_those_of_the_detectors_there_are():
    ours = {name: of for name, of in registry.OF.items() if name in DETECTORS}
    assert ours == {name: facts.of for name, facts in DETECTORS.items()}
    theirs = {n: f for n, f in registry.DETECTORS.items() if f.__module__.startswith("bdnb.")}
    assert set(theirs) == set(DETECTORS)
    for option, names in (("reference", NEIGHBOURS), ("features", LOOK_AT_IMAGES)):
        takes = {n for n, f in theirs.items() if option in inspect.signature(f).parameters}
        assert takes == set(names)


def test_each_detector_has_a_line_the_best_first():
    rows = [detected(0, dao=90.0, lid=20.0), detected(1, dao=70.0, lid=30.0)]
    rows += [detected(0, lid=85.0, given=CLEAN), detected(0, lid=95.0, given=CLEAN | RAW)]
    lines = detection.table(pd.concat(rows)).data
    clean = ["LID, raw features, clean reference", "LID, clean reference"]
    assert lines["detector"].tolist() == [*clean, "DAO", "LID"]
    assert lines["AUROC, %"].tolist() == [95.0, 85.0, 80.0, 25.0]
    assert lines["FPR at 95 % TPR, %"].tolist() == [5.0, 15.0, 20.0, 75.0]
    assert lines["models"].tolist() == [1, 1, 2, 2]
    assert "F1, %" not in lines  # no row has one
    assert lines["judges"].unique() == ["pairs"]


def test_the_answer_names_the_best_of_each_objective_with_its_models():
    rows = [both(0, dao=(90.0, 60.0), mine=(65.0, 95.0)), both(1, dao=(80.0, 61.0))]
    said = detection.answer(pd.concat(rows)).data
    assert "DAO on MMCL (AUROC 85 %, 2 models); mine on MMCL + SSL (AUROC 95 %, 1 model)" in said
    assert "over 1 attack." in said
    assert "Of the detectors, the pre-training objective matters most for mine: 65 % on" in said
    assert "MMCL (1 model), 95 % on MMCL + SSL (1 model)" in said
    assert "chance" not in said


def test_detectors_are_compared_over_the_attacks_that_all_were_run_on_with_both_objectives():
    rows = [both(dao=(90.0, 90.0), gmm=(70.0, 70.0)), both(attack="stripes", gmm=(80.0, 80.0))]
    rows += [detected(0, attack="blended", gmm=0.0)]
    said = detection.answer(pd.concat(rows)).data
    assert "DAO on MMCL (AUROC 90 %, 1 model)" in said  # on BadNet, that both were run on
    assert "over 1 attack" in said
    apart = [both(dao=(90.0, 90.0)), both(attack="stripes", gmm=(95.0, 80.0))]
    assert "mixture of cosines on MMCL (AUROC 95 %" in detection.answer(pd.concat(apart)).data


def test_a_detector_is_called_below_chance_only_against_the_chance_that_grouping_gives():
    said = detection.answer(both(k_distance=(30.0, 40.0), lid=(9.0, 48.0), mine=(20.0, 9.0))).data
    chances = [f"{DETECTORS[name].null:.0f} % by" for name in ("k_distance", "lid")]
    assert f"about {chances[0]} k-distance, {chances[1]} LID, because" in said
    assert "below chance on every MMCL model and on every MMCL + SSL model: mine." in said
    said = detection.answer(both(k_distance=(90.0, 14.0), dao=(86.0, 45.0))).data
    assert "above chance on every MMCL model and below it on every MMCL + SSL model: k-di" in said
    assert said.endswith("model: k-distance.")
    said = detection.answer(both(dao=(20.0, 70.0))).data
    assert "below chance on every MMCL model and above it on every MMCL + SSL model: DAO." in said


def test_what_a_detector_was_not_given_is_said_beside_what_it_finds():
    rows = both(k_distance=(90.0, 14.0), isolation_forest=(34.0, 10.0), gmm=(90.0, 90.0))
    said = detection.answer(rows).data
    assert "Only unit features, while their authors take raw ones, had k-distance, isola" in said
    assert "Only neighbours in groups, none among clean pairs, had k-distance. Part" in said
    assert "may be their unit length or the grouping." in said
    clean = pd.concat([rows, both(given=CLEAN, k_distance=(90.0, 14.0))])
    assert "may be their unit length." in detection.answer(clean).data
    raw = both(given=RAW, k_distance=(99.0, 94.0), isolation_forest=(99.0, 92.0))
    said = detection.answer(pd.concat([clean, raw])).data
    assert "Only" not in said


def test_what_holds_in_one_way_has_to_hold_in_each():
    rows = [both(k_distance=(90.0, 14.0), lid=(9.0, 48.0))]
    alike = [*rows, both(given=CLEAN, k_distance=(95.0, 30.0), lid=(60.0, 90.0))]
    said = detection.answer(pd.concat(alike)).data
    assert "model: k-distance (in each of 2 ways)." in said
    other = [*rows, both(given=RAW, k_distance=(99.0, 94.0), lid=(38.0, 81.0))]
    said = detection.answer(pd.concat(other)).data
    assert "below it" not in said
    assert (
        "**How it is run decides what a detector finds:** k-distance on MMCL + SSL, 14 % (unit "
        "features) to 94 % (raw features); LID on MMCL + SSL, 48 % (unit features) to 81 % (raw "
        "features)."
    ) in said
    least = "Of the detectors, each in the way of running it that depends least, the pre-training "
    assert f"{least}objective matters most for LID: 9 % on MMCL" in said  # k-distance: raw features
    fewer = pd.concat([*other, both(attack="stripes", k_distance=(90.0, 14.0))])
    assert said == detection.answer(fewer).data.replace(", over 2", ", over 1")


@pytest.mark.parametrize(("f1", "is_said"), [(3.95, True), (4.2, True), (5.0, False), (0.0, False)])
def test_a_threshold_that_flags_nearly_everything_is_told_by_its_f1(tiny, f1, is_said):
    rows = both(gmm=(93.0, 88.0)).assign(gmm_f1=f1, scale="tiny", poisoned="train_mmcl")
    share = detection.found(rows)["poison"].iloc[0]
    scaled = rows.assign(gmm_f1=f1 / 3.92 * 200 * share / (1 + share))
    assert ("nearly every pair is flagged" in detection.answer(scaled).data) == is_said
    assert "nearly" not in detection.answer(scaled.drop(columns="scale")).data


def test_detectors_of_one_objective_alone_are_in_the_table_only():
    rows = pd.concat([detected(0, dao=90.0), detected(0, "mmcl_ssl", mine=95.0)])
    assert detection.answer(rows) == detection.figure(rows) == detection.ALONE
    assert len(detection.table(rows).data) == 2


def test_the_figure_has_a_mark_for_each_detector_and_objective_and_its_chance():
    rows = [both(dao=(90.0, 55.0), lid=(20.0, 30.0)), both(given=CLEAN, lid=(80.0, 70.0))]
    (axes,) = detection.figure(pd.concat(rows)).axes
    marks = {one.get_label(): one.get_offsets().tolist() for one in axes.collections[1:]}
    assert marks["pre-trained with MMCL"] == [[90.0, 0.0], [20.0, 1.0], [80.0, 2.0]]
    assert marks["pre-trained with MMCL + SSL"] == [[55.0, 0.0], [30.0, 1.0], [70.0, 2.0]]
    chances = [50.0, DETECTORS["lid"].null, 50.0]
    assert [x for x, _ in marks["chance"]] == chances
    names = [text.get_text() for text in axes.get_yticklabels()]
    assert names == ["DAO (1 + 1)", "LID (1 + 1)", "LID, clean reference (1 + 1)"]


@pytest.mark.parametrize("rows", [pd.DataFrame(), detected(0).assign(defence="swap")])
def test_without_detectors_the_page_says_so(rows):
    assert "No detector" in detection.answer(rows).data
    assert "No detector" in detection.table(rows).data
    assert "No detector" in detection.figure(rows).data
