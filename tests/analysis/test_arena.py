"""The arena's rules on hand-made rows: gate, both picks, control, and what holds of both."""

import itertools

import pandas as pd
import pytest

from bdnb.analysis import arena

GOOD, BAD, COSTLY = [(30, 59), (2, 60), (90, 60)], [(90, 60), (80, 60), (95, 60)], [(2, 30)] * 3
"""(ASR, accuracy) after each epoch, of 60 % before. GOOD ends with the backdoor back."""


def runs(
    way,
    path,
    *,
    attack="badnet",
    objective="mmcl",
    lr=3e-4,
    seeds=(0, 1, 2),
    asr=98.0,
    options="{}",
    steps=10,
):
    defence, loss = way
    lines = []
    for seed in seeds:
        for epoch, (after, accuracy) in enumerate([(asr, 60.0), *path]):
            line = {"attack": attack, "route": "scratch", "objective": objective, "seed": seed}
            line |= {"defence": defence, "loss": loss, "lr": lr, "options": options}
            line |= {"run": f"{way}-{attack}-{objective}-{lr}-{options}-{seed}", "epoch": epoch}
            lines.append(line | {"step": steps * epoch, "asr": float(after), "accuracy": accuracy})
    return pd.DataFrame(lines)


PAR, CONTROL = ("par", "mmcl"), arena.CONTROL


def entry(*frames, way=PAR, rules=None, **cell):
    made = arena.entries(pd.concat(frames, ignore_index=True), rules or {})
    chosen = made[(made[["defence", "loss"]] == list(way)).all(axis=1)]
    for name, value in cell.items():
        chosen = chosen[chosen[name] == value]
    (line,) = chosen.to_dict("records")
    return line


def test_the_oracle_takes_any_epoch_and_the_blind_rule_its_own():
    line = entry(runs(PAR, GOOD))
    assert line["kept"].mean == pytest.approx(100)
    assert (line["kept_blind"].mean, line["cost"], line["asr_blind"]) == (0, 100, 90)
    assert line["lowest_asr"] == 2
    line = entry(runs(PAR, GOOD[:2]))
    assert (line["cost"], line["asr_blind"]) == (pytest.approx(0), 2)
    assert line["accuracy_blind"] == pytest.approx(100)


def test_the_rule_that_a_defence_declares_is_used():
    path = [(2, 60.0), (90, 55.0)]
    assert entry(runs(PAR, path), rules={"par": "best_accuracy"})["asr_blind"] == 2
    assert entry(runs(PAR, path))["asr_blind"] == 90


def test_settings_are_frozen_on_one_cell_and_kept_in_the_others():
    tuned = [runs(PAR, GOOD[:2], lr=1e-3), runs(PAR, BAD, lr=1e-4)]
    other = [runs(PAR, BAD, lr=1e-3, attack="sig"), runs(PAR, GOOD[:2], lr=1e-4, attack="sig")]
    line = entry(*tuned, *other, attack="sig")
    assert line["setting"] == {"lr": 1e-3, "options": "{}"}
    assert line["tuned"]
    assert line["kept"].mean == pytest.approx(100)  # the oracle takes the other rate
    assert line["kept_blind"].mean == 0


def test_options_are_settings_too():
    made = [runs(PAR, COSTLY, options="{'tau': 1}"), runs(PAR, GOOD[:2], options="{'tau': 2}")]
    assert entry(*made)["setting"]["options"] == "{'tau': 2}"


def test_a_way_that_was_not_tuned_is_picked_by_accuracy_and_says_so():
    made = [runs(PAR, COSTLY, attack="sig"), runs(PAR, BAD, attack="sig", lr=1e-3)]
    line = entry(*made)
    assert not line["tuned"]
    assert line["setting"] is None
    assert line["asr_blind"] == 95


def test_an_attack_that_failed_has_no_numbers_and_a_failed_seed_does_not_count():
    assert entry(runs(PAR, GOOD, asr=89.9))["failed"]
    assert "values" not in entry(runs(PAR, GOOD, asr=89.9))
    line = entry(runs(PAR, GOOD, seeds=(0, 1)), runs(PAR, GOOD, seeds=(2,), asr=20.0))
    assert (line["failed"], line["seeds"], line["runs"]) == (False, 2, 3)


def test_the_control_has_no_more_steps_than_what_it_stands_beside():
    control = runs(CONTROL, [(50, 60), (2, 60)], steps=10)
    late = entry(runs(PAR, GOOD), control)
    assert late["control"].mean == pytest.approx(100)
    assert late["gain"].tolist() == pytest.approx([0] * 3)
    early = entry(runs(PAR, GOOD[1:2], steps=10), control)
    assert early["control"].mean == 0
    assert early["gain"].tolist() == pytest.approx([100] * 3)
    none = entry(runs(PAR, GOOD[1:2], steps=0), control)
    assert none["control"].n == 0
    assert none["gain"].empty


def test_a_best_at_the_edge_of_its_rates_is_marked_and_one_rate_has_no_edge():
    three = [runs(PAR, path, lr=lr) for lr, path in ((1e-4, BAD), (3e-4, GOOD), (1e-3, BAD))]
    assert not entry(*three)["edge"]
    assert entry(*three[:2])["edge"]
    assert not entry(three[1])["edge"]


def of_both(first, second):
    pairs = itertools.product(
        ("badnet", "sig"), zip(arena.OBJECTIVES, (first, second), strict=True)
    )
    made = [
        runs(PAR, path, attack=attack, objective=objective) for attack, (objective, path) in pairs
    ]
    control = [
        runs(CONTROL, BAD, attack=a, objective=o)
        for a, o in itertools.product(("badnet", "sig"), arena.OBJECTIVES)
    ]
    return arena.entries(pd.concat([*made, *control], ignore_index=True), {})


@pytest.mark.parametrize(
    ("first", "second", "side", "level", "gains"),
    [
        (GOOD, BAD, "mmcl", False, ("mmcl",)),
        (BAD, GOOD, "mmcl_ssl", False, ("mmcl_ssl",)),
        (GOOD, GOOD, "", True, ("mmcl", "mmcl_ssl")),
    ],
)
def test_what_holds_across_objectives_is_decided_over_seeds(first, second, side, level, gains):
    made = of_both(first, second)
    line = arena.across(made).set_index("defence").loc["par"]
    assert (line["side"], line["level"], line["gains"]) == (side, level, gains)
    assert line["attacks"] == 2
    if first is GOOD:
        assert arena.best(made, "mmcl") == ("par", "mmcl", pytest.approx(100))


def test_two_seeds_do_not_show_a_tie():
    rows = [runs(PAR, GOOD, objective=o, seeds=range(2)) for o in arena.OBJECTIVES]
    line = arena.across(arena.entries(pd.concat(rows), {})).iloc[0]
    assert not line["level"]
    assert not line["side"]


def test_a_way_on_one_objective_alone_is_not_compared():
    made = arena.entries(runs(PAR, GOOD), {})
    assert arena.across(made).empty
    assert arena.best(made, "mmcl_ssl") is None
