"""The arena's rules on hand-made rows: gate, settings, both picks, and control."""

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
    route="scratch",
    objective="mmcl",
    lr=3e-4,
    seeds=(0, 1, 2),
    asr=98.0,
    options="{}",
    epochs=20,
    steps=10,
):
    defence, loss = way
    lines = []
    for seed in seeds:
        name = f"{way}-{attack}-{route}-{objective}-{lr}-{options}-{epochs}-{seed}"
        for epoch, (after, accuracy) in enumerate([(asr, 60.0), *path]):
            line = {"attack": attack, "route": route, "objective": objective, "seed": seed}
            line |= {"defence": defence, "loss": loss, "lr": lr, "options": options}
            line |= {"epochs": epochs, "run": name, "epoch": epoch, "step": steps * epoch}
            lines.append(line | {"asr": float(after), "accuracy": accuracy})
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
    other = [runs(PAR, COSTLY, lr=1e-3, attack="sig"), runs(PAR, GOOD, lr=1e-4, attack="sig")]
    line = entry(*tuned, *other, attack="sig")
    assert line["setting"] == {"lr": 1e-3, "options": "{}", "epochs": 20}
    assert line["tuned"]
    assert line["kept"].mean == pytest.approx(100)  # the oracle takes the other rate
    assert line["kept_frozen"].mean == pytest.approx(50)
    assert line["kept_blind"].mean == pytest.approx(50)


def test_options_and_epochs_are_settings_too():
    made = [runs(PAR, COSTLY, options="{'tau': 1}"), runs(PAR, GOOD[:2], options="{'tau': 2}")]
    assert entry(*made)["setting"]["options"] == "{'tau': 2}"
    made = [runs(PAR, COSTLY), runs(PAR, GOOD[:2], epochs=4)]
    assert entry(*made)["setting"]["epochs"] == 4
    assert entry(*made)["settings"] == 2


def test_settings_are_compared_over_the_seeds_that_were_run_with_most_of_them():
    hard = runs(PAR, BAD, lr=1e-3, seeds=(3, 4, 5, 6))
    made = [runs(PAR, GOOD[:2], lr=1e-3), runs(PAR, COSTLY, lr=1e-4), hard]
    assert entry(*made)["setting"]["lr"] == 1e-3


def test_a_way_that_was_not_tuned_is_picked_by_accuracy_and_says_so():
    made = [runs(PAR, COSTLY, attack="sig"), runs(PAR, BAD, attack="sig", lr=1e-3)]
    line = entry(*made)
    assert not line["tuned"]
    assert line["setting"] is None
    assert line["asr_blind"] == 95
    assert line["kept_frozen"].n == 0


def test_nothing_is_tuned_on_a_model_that_was_poisoned_by_fine_tuning():
    line = entry(runs(PAR, GOOD, route="fine-tuned"))
    assert (line["tuned"], line["tuning"]) == (False, False)
    line = entry(runs(PAR, GOOD))
    assert (line["tuned"], line["tuning"]) == (True, True)


def test_nothing_is_tuned_where_the_attack_failed():
    line = entry(runs(PAR, GOOD, asr=50.0), runs(PAR, GOOD, attack="sig"), attack="sig")
    assert not line["tuned"]


def test_a_line_says_how_many_of_its_way_s_settings_it_has():
    made = [runs(PAR, GOOD), runs(PAR, BAD, lr=1e-3), runs(PAR, GOOD, attack="sig")]
    here, there = entry(*made, attack="badnet"), entry(*made, attack="sig")
    names = ("settings", "settings_anywhere", "whole")
    assert [here[name] for name in names] == [2, 2, True]
    assert [there[name] for name in names] == [1, 2, False]
    of_one_seed = runs(PAR, GOOD, attack="sig", lr=1e-3, seeds=(0,))
    there = entry(*made, of_one_seed, attack="sig")
    assert [there[name] for name in names] == [2, 2, False]  # two seeds lack one


def test_an_attack_that_failed_has_no_numbers_and_a_failed_seed_does_not_count():
    assert entry(runs(PAR, GOOD, asr=89.9))["failed"]
    assert "kept" not in entry(runs(PAR, GOOD, asr=89.9))
    line = entry(runs(PAR, GOOD, seeds=(0, 1)), runs(PAR, GOOD, seeds=(2,), asr=20.0))
    assert (line["failed"], line["seeds"], line["runs"]) == (False, 2, 3)
    assert line["asr_before"] == 98.0
    assert entry(runs(PAR, GOOD, asr=89.9))["asr_before"] == pytest.approx(89.9)


def test_a_way_that_was_run_on_a_failed_seed_alone_has_no_numbers():
    weak = [runs(way, GOOD, seeds=(2,), asr=20.0) for way in (PAR, CONTROL)]
    line = entry(runs(CONTROL, GOOD, seeds=(0, 1)), *weak)
    assert (line["failed"], line["seeds"]) == (True, 0)


def test_a_longer_run_of_the_control_cut_short_is_no_control():
    control, par = runs(CONTROL, [(50, 60), (2, 60)]), runs(PAR, GOOD[1:2])
    alone = entry(par, control)
    assert alone["control"].n == 0
    assert alone["gain"].empty
    late = entry(runs(PAR, GOOD), control)
    assert late["control"].mean == pytest.approx(100)
    assert late["gain"].tolist() == pytest.approx([0] * 3)


def test_the_control_s_setting_is_frozen_among_runs_of_the_length_allowed():
    short = [runs(CONTROL, [(2, 30)], epochs=4), runs(CONTROL, [(90, 60)], epochs=4, lr=1e-3)]
    control = [*short, runs(CONTROL, [(2, 60)] * 2)]
    line = entry(runs(PAR, [(2, 60)]), *control)
    assert line["control"].mean == pytest.approx(50)
    assert line["gain"].tolist() == pytest.approx([50] * 3)
    assert entry(runs(PAR, GOOD), *control)["control"].mean == pytest.approx(100)


def test_a_gain_is_of_the_frozen_settings_of_both():
    tuned = [runs(PAR, GOOD[:2]), runs(PAR, BAD, lr=1e-3)]
    tuned += [runs(CONTROL, GOOD[:2]), runs(CONTROL, BAD, lr=1e-3)]
    other = [runs(PAR, COSTLY, attack="sig"), runs(PAR, GOOD, attack="sig", lr=1e-3)]
    other += [runs(CONTROL, BAD, attack="sig"), runs(CONTROL, GOOD, attack="sig", lr=1e-3)]
    line = entry(*tuned, *other, attack="sig")
    assert line["kept"].mean == pytest.approx(100)
    assert line["control"].mean == 0
    assert line["gain"].tolist() == pytest.approx([50] * 3)


def test_a_way_that_was_not_tuned_gains_nothing_that_is_known():
    control = [runs(CONTROL, BAD), runs(CONTROL, BAD, attack="sig")]
    line = entry(runs(PAR, GOOD, attack="sig"), *control)
    assert line["control"].n == 3
    assert line["gain"].empty


def test_a_best_at_the_edge_of_its_rates_is_marked_and_one_rate_has_no_edge():
    three = [runs(PAR, path, lr=lr) for lr, path in ((1e-4, BAD), (3e-4, GOOD), (1e-3, BAD))]
    assert not entry(*three)["edge"]
    assert entry(*three[:2])["edge"]
    assert not entry(three[1])["edge"]
    assert entry(*three[:2], runs(PAR, BAD, lr=3e-3, epochs=4))["edge"]


def test_the_control_is_of_the_seeds_that_the_way_was_run_with():
    control = [runs(CONTROL, GOOD, seeds=(0,)), runs(CONTROL, BAD, seeds=(1,))]
    line = entry(runs(PAR, COSTLY, seeds=(1,)), *control)
    assert (line["control"].mean, line["control"].n) == (0, 1)
    assert line["gain"].tolist() == pytest.approx([50])


def test_a_setting_is_frozen_among_those_that_all_seeds_compared_have():
    best, next_best = [(2, 57)], [(2, 54)]
    rows = [runs(PAR, best, lr=1e-3, seeds=(0,)), runs(PAR, [(2, 24)], lr=1e-3, seeds=(1,))]
    rows += [runs(PAR, next_best, lr=1e-4, seeds=(0,)), runs(PAR, [(2, 27)], lr=1e-2, seeds=(1,))]
    assert entry(*rows)["setting"]["lr"] == 1e-3
