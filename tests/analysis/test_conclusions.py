import math
import subprocess
import sys

import pandas as pd
import pytest

from bdnb.analysis import conclusions
from bdnb.analysis.verdict_rules import Band, decide
from bdnb.runtime.errors import ConfigError

START = {"accuracy": 60.0, "asr": 98.0}
WEAK, STRONG = "train_mmcl", "train_mmcl_ssl"


def runs(poisoned, way, *, seeds=(0, 1, 2), **columns):
    """One cleaning run a seed: epoch 0, then (asr, accuracy) for each epoch of ``way``."""
    frames = []
    for seed in seeds:
        epochs = [(START["asr"], START["accuracy"]), *way]
        rows = pd.DataFrame(epochs, columns=["asr", "accuracy"], dtype=float)
        rows["accuracy"] += 0.1 * seed
        defaults = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main", "poisons": 0}
        defaults |= {"lr": 1e-3}
        about = {"seed": seed, "poisoned": poisoned, "epoch": range(len(rows)), "ssl_weight": 1.0}
        rows = rows.assign(**(defaults | about | columns))
        run = "-".join(map(str, (poisoned, seed, *columns.values())))
        frames.append(rows.assign(run=run))
    return pd.concat(frames, ignore_index=True)


def verdict(number, *frames, train=None):
    table = conclusions.verdicts(pd.concat(frames, ignore_index=True), train)
    return table.set_index("id").loc[f"C{number}"]


CLEAN = [(30, 59), (2, 60)]
COSTLY = [(60, 50), (3, 30)]
NEVER = [(70, 58), (60, 57)]


def test_without_rows_nothing_is_decided_and_every_conclusion_is_listed():
    table = conclusions.verdicts(pd.DataFrame())
    assert table["id"].tolist() == [f"C{i}" for i in range(1, 16)]
    assert set(table["verdict"]) == {"not decided here (no rows)"}
    assert table["ours"].isna().all()
    assert table["rule"].equals(conclusions.rules()["rule"])
    assert table["rule"].str.contains("holds if every seed").all()


def test_c1_holds_when_the_mmcl_model_is_cleaned_at_full_accuracy():
    row = verdict(1, runs(WEAK, CLEAN))
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(0)
    assert row["low"] <= 0 <= row["high"]
    assert row["n"] == 3


@pytest.mark.parametrize("way", [COSTLY, NEVER], ids=["at a cost", "never"])
def test_c1_does_not_hold_when_cleaning_costs_accuracy_or_fails(way):
    assert verdict(1, runs(WEAK, way))["verdict"] == "does not hold"


def test_c2_holds_when_the_mmcl_ssl_model_loses_half_its_accuracy():
    row = verdict(2, runs(STRONG, COSTLY))
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(-50, abs=1)


def test_c2_holds_with_no_number_when_no_model_is_cleaned_and_says_so():
    row = verdict(2, runs(STRONG, NEVER))
    assert row["verdict"] == "holds"
    assert math.isnan(row["ours"])
    assert "none cleaned in 3 of 3 seeds" in row["evidence"]


def test_c2_does_not_hold_when_the_mmcl_ssl_model_is_cleaned():
    assert verdict(2, runs(STRONG, CLEAN))["verdict"] == "does not hold"


def test_a_seed_that_is_never_cleaned_is_not_dropped_in_silence():
    mixed = [runs(STRONG, COSTLY, seeds=(0, 1)), runs(STRONG, NEVER, seeds=(2,))]
    row = verdict(2, *mixed)
    assert row["verdict"] == "holds"
    assert row["n"] == 3
    assert "none cleaned in 1 of 3 seeds" in row["evidence"]
    against = [runs(WEAK, CLEAN, seeds=(0, 1)), runs(WEAK, NEVER, seeds=(2,))]
    assert verdict(1, *against)["verdict"] == "not decided here"


def test_one_seed_decides_nothing_but_its_number_is_shown():
    row = verdict(1, runs(WEAK, CLEAN, seeds=(0,)))
    assert row["verdict"] == "not decided here (one seed)"
    assert row["ours"] == pytest.approx(0)
    assert math.isnan(row["low"])


def test_seeds_that_disagree_leave_it_undecided():
    rows = [runs(STRONG, COSTLY, seeds=(0, 1)), runs(STRONG, CLEAN, seeds=(2,))]
    assert verdict(2, *rows)["verdict"] == "not decided here"


def test_a_model_without_a_backdoor_decides_nothing():
    rows = runs(WEAK, CLEAN)
    rows.loc[(rows["epoch"] == 0) & (rows["seed"] == 1), "asr"] = 30.0
    row = verdict(1, rows)
    assert row["verdict"].startswith("not decided here (no backdoor to clean: train_mmcl seed 1")
    assert row["n"] == 3


def test_runs_that_are_not_finished_are_left_out():
    rows = pd.concat([runs(WEAK, CLEAN), runs(WEAK, [], seeds=(3,))])
    rows["finished"] = ["2026-01-01"] * 9 + [None]
    assert verdict(1, rows)["verdict"] == "holds"


def test_c3_holds_when_mmcl_alone_leaves_asr_high_and_not_when_it_lowers_it():
    high = [runs(name, NEVER, loss="mmcl") for name in (WEAK, STRONG)]
    assert verdict(3, *high)["verdict"] == "holds"
    low = [runs(name, CLEAN, loss="mmcl") for name in (WEAK, STRONG)]
    assert verdict(3, *low)["verdict"] == "does not hold"
    assert verdict(3, high[0])["verdict"] == f"not decided here (no rows of poisoned {STRONG})"


def test_c3_counts_a_low_asr_only_where_accuracy_is_kept():
    rows = [runs(name, COSTLY, loss="mmcl") for name in (WEAK, STRONG)]
    row = verdict(3, *rows)
    assert row["verdict"] == "holds"
    assert row["ours"] == 98.0


def test_c4_needs_asr_to_fall_and_accuracy_to_be_lost_in_both_models():
    def ssl(way):
        return [runs(name, way, loss="ssl") for name in (WEAK, STRONG)]

    assert verdict(4, *ssl(COSTLY))["verdict"] == "holds"
    assert verdict(4, *ssl(CLEAN))["verdict"] == "does not hold"
    assert verdict(4, *ssl([(97, 59), (96, 58)]))["verdict"] == "does not hold"


@pytest.mark.parametrize(("number", "kind"), [(5, "finetune"), (6, "vit"), (7, "label")])
def test_c5_to_c7_ask_for_the_contrast_between_the_two_models(number, kind):
    weak, strong = f"train_{kind}_mmcl", f"train_{kind}_mmcl_ssl"
    row = verdict(number, runs(weak, CLEAN), runs(strong, COSTLY))
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(50, abs=1)
    turned = verdict(number, runs(weak, COSTLY), runs(strong, CLEAN))
    assert turned["verdict"] == "does not hold"
    never = verdict(number, runs(weak, CLEAN), runs(strong, NEVER))
    assert never["verdict"] == "holds"
    neither = verdict(number, runs(weak, NEVER), runs(strong, NEVER))
    assert neither["verdict"].startswith("not decided here (no number for seed 0, 1, 2")
    unpaired = verdict(number, runs(weak, CLEAN), runs(strong, COSTLY, seeds=(0, 1)))
    assert unpaired["verdict"] == "not decided here (no number for seed 2)"


def test_c8_asks_whether_asr_comes_back_and_where_trajectories_end():
    smooth, back = [(40, 58), (3, 60)], [(3, 50), (50, 58)]
    assert verdict(8, runs(WEAK, smooth), runs(STRONG, back))["verdict"] == "holds"
    assert verdict(8, runs(WEAK, back), runs(STRONG, smooth))["verdict"] == "does not hold"
    assert verdict(8, runs(WEAK, smooth), runs(STRONG, smooth))["verdict"] == "does not hold"


def test_c9_compares_the_fewest_poisons_with_none():
    def both(weak, strong):
        poisoned = {"study": "nonideal", "poisons": 2}
        more = {"study": "nonideal", "poisons": 4}
        return [
            runs(WEAK, CLEAN),
            runs(STRONG, [(20, 58)]),
            runs(WEAK, [(weak, 60)], **poisoned),
            runs(STRONG, [(strong, 60)], **poisoned),
            runs(WEAK, [(99, 60)], **more),
        ]

    hurt = verdict(9, *both(40, 90))
    assert hurt["verdict"] == "holds"
    assert hurt["ours"] == pytest.approx(38)
    assert verdict(9, *both(2, 20))["verdict"] == "does not hold"
    assert verdict(9, *both(90, 40))["verdict"] == "does not hold"
    assert verdict(9, *both(40, 90)[:2])["verdict"] == (
        "not decided here (no rows of study nonideal)"
    )


def test_c9_compares_the_same_seeds_and_rates():
    poisoned = {"study": "nonideal", "poisons": 2}
    given = [runs(name, way) for name, way in ((WEAK, CLEAN), (STRONG, [(20, 58)]))]
    given += [runs(name, [(1, 60)], lr=2e-3) for name in (WEAK, STRONG)]
    given += [runs(WEAK, CLEAN, seeds=(3, 4))]
    given += [runs(WEAK, [(40, 60)], **poisoned), runs(STRONG, [(90, 60)], **poisoned)]
    hurt = verdict(9, *given)
    assert hurt["verdict"] == "holds"
    assert (hurt["ours"], hurt["n"]) == (pytest.approx(38), 3)


STUDIES = {
    10: {"defence": "deep_cluster", "study": "deep_cluster"},
    11: {"defence": "heavy_regularisation", "study": "heavy_regularisation", "loss": "ssl"},
    12: {"defence": "shrink_perturb", "study": "shrink_perturb"},
    13: {"study": "twice_data"},
    14: {"study": "more_epochs"},
    15: {"study": "ssl_weight", "ssl_weight": 4.0},
}


@pytest.mark.parametrize("number", STUDIES)
def test_c10_to_c15_look_at_their_own_rows_of_the_mmcl_ssl_model(number):
    main = runs(STRONG, CLEAN)
    other = runs(WEAK, CLEAN, **STUDIES[number])
    assert verdict(number, main, other)["verdict"] == "not decided here (no rows)"
    failed = verdict(number, main, other, runs(STRONG, COSTLY, **STUDIES[number]))
    assert failed["verdict"] == "holds"
    cleaned = verdict(number, main, other, runs(STRONG, CLEAN, **STUDIES[number]))
    assert cleaned["verdict"] == "does not hold"


def test_c15_does_not_count_the_weight_of_one():
    rows = runs(STRONG, COSTLY, study="ssl_weight")
    assert verdict(15, rows)["verdict"] == "not decided here (no rows)"


def test_a_run_without_its_starting_point_decides_nothing():
    rows = runs(WEAK, CLEAN)
    rows = rows[~((rows["epoch"] == 0) & (rows["seed"] == 2))]
    assert (
        verdict(1, rows)["verdict"] == "not decided here (no row before cleaning in train_mmcl-2)"
    )


def test_seeds_trained_but_not_cleaned_are_named():
    train = pd.DataFrame({"experiment": WEAK, "seed": [0, 1, 2, 3, 4]})
    row = verdict(1, runs(WEAK, CLEAN), train=train)
    assert "train_mmcl: seed 3, 4 trained, but not cleaned" in row["evidence"]
    assert row["verdict"] == "holds"


def test_rows_without_a_needed_column_are_refused():
    with pytest.raises(ConfigError, match=r"\['study'\]"):
        conclusions.verdicts(runs(WEAK, CLEAN).drop(columns="study"))


def test_the_interval_must_clear_the_other_bound():
    """All seeds beyond -10 %, but so spread that the mean's interval reaches -5 %."""
    band = Band(-10, -5, "%")
    assert decide(pd.Series([-30.0, -31.0, -32.0]), band) == "holds"
    assert decide(pd.Series([-11.0, -12.0, -90.0]), band) == "not decided here"
    assert decide(pd.Series([-1.0, -2.0]), band) == "does not hold"
    assert decide(pd.Series([-7.0, -7.5]), band) == "not decided here"
    assert decide(pd.Series([-math.inf, -30.0]), band) == "holds"
    assert decide(pd.Series([-math.inf, -1.0]), band) == "not decided here"
    assert decide(pd.Series([math.nan, -30.0]), band).startswith("not decided here (no number")


def test_a_band_and_its_reverse_never_both_hold():
    for values in ([-30.0, -31.0], [-1.0, -2.0], [-7.0, -7.1], [-math.inf, -math.inf]):
        found = [decide(pd.Series(values), Band(*b, "%")) for b in ((-10, -5), (-5, -10))]
        opposite = {"holds": "does not hold", "does not hold": "holds"}
        assert found[0] == opposite.get(found[1], found[1])


def test_frontier_is_imported_without_torch():
    code = "import sys; from bdnb import frontier; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
