"""Every conclusion from hand-made rows: each of the four verdicts, and what each is about."""

import math

import pandas as pd
import pytest

from bdnb.analysis import conclusions, price
from bdnb.runtime.errors import ConfigError

START = {"accuracy": 60.0, "asr": 98.0}
NOTHING = [(98, 60)]
WEAK, STRONG = "train_mmcl", "train_mmcl_ssl"


def runs(poisoned, way, *, seeds=(0, 1, 2), **columns):
    """One cleaning run a seed: epoch 0, then (asr, accuracy) for each epoch of ``way``.

    Beside it a run at a smaller and one at a larger rate that do nothing, unless lr is given.
    """
    if "lr" not in columns:
        rates = [(1e-4, NOTHING), (1e-3, way), (1e-2, NOTHING)]
        made = [runs(poisoned, its, seeds=seeds, lr=lr, **columns) for lr, its in rates]
        return pd.concat(made, ignore_index=True)
    frames = []
    for seed in seeds:
        epochs = [(START["asr"], START["accuracy"]), *way]
        rows = pd.DataFrame(epochs, columns=["asr", "accuracy"], dtype=float)
        rows["accuracy"] += 0.1 * seed
        defaults = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main", "poisons": 0}
        defaults |= {"option_k": math.nan}
        about = {"seed": seed, "poisoned": poisoned, "epoch": range(len(rows)), "ssl_weight": 1.0}
        rows = rows.assign(**(defaults | about | columns))
        run = "-".join(map(str, (poisoned, seed, *columns.values())))
        frames.append(rows.assign(run=run))
    return pd.concat(frames, ignore_index=True)


def verdict(number, *frames, train=None):
    table = conclusions.verdicts(pd.concat(frames, ignore_index=True), train)
    return table.set_index("id").loc[f"C{number}"]


CLEAN = [(30, 59), (1, 60)]
COSTLY = [(60, 50), (1, 30)]
NEVER = [(70, 58), (60, 57)]
FREE_LATE = [(30, 59), (15, 60)]
"""No loss, but only where an ASR of 15 % is allowed."""


def test_without_rows_nothing_is_decided_and_every_conclusion_is_listed():
    table = conclusions.verdicts(pd.DataFrame())
    assert table["id"].tolist() == [f"C{i}" for i in range(16)]
    assert set(table["verdict"]) == {"not decided (no rows)"}
    assert table["ours"].isna().all()
    assert table["rule"].str.contains("holds if the interval is").all()


def test_c0_is_the_contrast_of_kept_accuracy_and_says_that_it_came_later():
    row = verdict(0, runs(WEAK, CLEAN), runs(STRONG, COSTLY))
    assert row["verdict"] == "holds"
    assert (row["ours"], row["at_5"]) == pytest.approx((50, 50), abs=0.2)
    assert "added after the first runs" in row["statement"]
    assert verdict(0, runs(WEAK, COSTLY), runs(STRONG, CLEAN))["verdict"] == "does not hold"
    assert verdict(0, runs(WEAK, CLEAN), runs(STRONG, FREE_LATE))["at_5"] == pytest.approx(100)


def test_c0_pairs_the_seeds_that_both_models_have():
    row = verdict(0, runs(WEAK, CLEAN, seeds=(0, 1, 2, 3)), runs(STRONG, COSTLY, seeds=(2, 1, 0)))
    assert (row["verdict"], row["n"]) == ("holds", 3)


def test_c1_holds_when_the_mmcl_model_is_cleaned_at_full_accuracy():
    row = verdict(1, runs(WEAK, CLEAN))
    assert row["verdict"] == "holds"
    assert row["ours"] == pytest.approx(100)
    assert row["low"] <= 100 <= row["high"]
    assert row["n"] == 3


@pytest.mark.parametrize("way", [COSTLY, NEVER], ids=["at a cost", "never"])
def test_c1_does_not_hold_and_c2_does_when_cleaning_costs_accuracy_or_fails(way):
    assert verdict(1, runs(WEAK, way))["verdict"] == "does not hold"
    row = verdict(2, runs(STRONG, way))
    assert row["verdict"] == "holds"
    assert not math.isnan(row["ours"])


def test_c2_does_not_hold_when_the_mmcl_ssl_model_is_cleaned():
    assert verdict(2, runs(STRONG, CLEAN))["verdict"] == "does not hold"


def test_a_seed_that_is_never_cleaned_counts_as_one_that_keeps_nothing():
    mixed = [runs(STRONG, COSTLY, seeds=(0, 1)), runs(STRONG, NEVER, seeds=(2,))]
    row = verdict(2, *mixed)
    assert (row["verdict"], row["n"]) == ("holds", 3)
    assert row["ours"] == pytest.approx(100 / 3, abs=0.2)
    against = [runs(WEAK, CLEAN, seeds=(0, 1)), runs(WEAK, NEVER, seeds=(2,))]
    assert verdict(1, *against)["verdict"] == "not decided"


def test_one_seed_decides_nothing_but_its_number_is_shown():
    row = verdict(1, runs(WEAK, CLEAN, seeds=(0,)))
    assert row["verdict"] == "not decided (one seed)"
    assert row["ours"] == pytest.approx(100)
    assert math.isnan(row["low"])


def test_a_model_without_a_backdoor_tells_nothing():
    rows = runs(WEAK, CLEAN)
    rows.loc[(rows["epoch"] == 0) & (rows["seed"] == 1), "asr"] = 30.0
    row = verdict(1, rows)
    assert row["verdict"].startswith("cannot tell here (no backdoor to clean: train_mmcl seed 1")
    assert row["n"] == 3


def test_runs_that_are_not_finished_are_left_out():
    rows = pd.concat([runs(WEAK, CLEAN, lr=1e-3), runs(WEAK, [], seeds=(3,), lr=1e-3)])
    rows["finished"] = ["2026-01-01"] * 9 + [None]
    assert verdict(1, rows)["n"] == 3


def test_a_loss_at_the_edge_of_the_rates_tells_nothing_and_a_success_there_does():
    """A rate beyond the edge may keep more, and never makes what was measured worse."""
    for lr in (1e-4, 1e-3):
        other = runs(STRONG, NEVER, lr=5e-4)
        costly = pd.concat([runs(STRONG, COSTLY, lr=lr), other])
        edge = "cannot tell here (the best MMCL + SSL models at the edge of the learning rates)"
        assert verdict(2, costly)["verdict"] == edge
        clean = pd.concat([runs(STRONG, CLEAN, lr=lr), other])
        assert verdict(2, clean)["verdict"] == "does not hold"
    inside = [runs(STRONG, NEVER, lr=lr) for lr in (1e-2, 1e-4)]
    assert verdict(2, runs(STRONG, COSTLY, lr=1e-3), *inside)["verdict"] == "holds"


def test_c3_asks_whether_mmcl_alone_leaves_asr_high_in_both_models():
    high = [runs(name, NEVER, loss="mmcl") for name in (WEAK, STRONG)]
    assert verdict(3, *high)["verdict"] == "holds"
    low = [runs(name, CLEAN, loss="mmcl") for name in (WEAK, STRONG)]
    assert verdict(3, *low)["verdict"] == "does not hold"
    assert verdict(3, high[0])["verdict"].startswith(
        "not decided (no rows of the MMCL + SSL models"
    )


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
    assert verdict(number, runs(weak, COSTLY), runs(strong, CLEAN))["verdict"] == "does not hold"
    assert verdict(number, runs(weak, CLEAN), runs(strong, NEVER))["verdict"] == "holds"
    neither = verdict(number, runs(weak, NEVER), runs(strong, NEVER))
    assert neither["verdict"] == "cannot tell here (neither model keeps any accuracy)"


def test_c8_asks_whether_asr_comes_back():
    smooth, back = [(40, 58), (3, 60)], [(3, 50), (90, 58)]

    def both(weak, strong):
        return runs(WEAK, weak, lr=1e-3), runs(STRONG, strong, lr=1e-3)

    assert verdict(8, *both(smooth, back))["verdict"] == "holds"
    assert verdict(8, *both(back, smooth))["verdict"] == "does not hold"
    assert verdict(8, *both(smooth, smooth))["verdict"] == "does not hold"


def left(poisoned, way, poisons=2, **columns):
    return runs(poisoned, way, study="nonideal", poisons=poisons, **columns)


def test_c9_compares_the_fewest_poisons_with_none():
    def both(weak, strong):
        clean = [runs(WEAK, CLEAN), runs(STRONG, CLEAN)]
        return [*clean, left(WEAK, weak), left(STRONG, strong), left(WEAK, NEVER, poisons=4)]

    hurt = verdict(9, *both(COSTLY, NEVER))
    assert hurt["verdict"] == "holds"
    assert hurt["ours"] == pytest.approx(50, abs=1)
    assert verdict(9, *both(CLEAN, NEVER))["verdict"] == "does not hold"
    assert verdict(9, *both(NEVER, COSTLY))["verdict"] == "does not hold"
    none = verdict(9, *both(NEVER, NEVER)[:2])
    assert none["verdict"].startswith("not decided (no rows of the MMCL")


def test_c9_compares_the_same_seeds_and_rates():
    clean = [runs(WEAK, CLEAN), runs(STRONG, CLEAN), runs(WEAK, CLEAN, seeds=(3, 4))]
    clean += [runs(name, [(1, 90)], lr=2e-3) for name in (WEAK, STRONG)]
    hurt = verdict(9, *clean, left(WEAK, COSTLY), left(STRONG, NEVER))
    assert (hurt["ours"], hurt["n"]) == (pytest.approx(50, abs=1), 3)


STUDIES = {
    10: {"defence": "deep_cluster", "study": "deep_cluster"},
    11: {"defence": "heavy_regularisation", "study": "heavy_regularisation", "loss": "ssl"},
    12: {"defence": "shrink_perturb", "study": "shrink_perturb"},
    13: {"study": "twice_data"},
    14: {"study": "more_epochs"},
    15: {"study": "ssl_weight", "ssl_weight": 4.0},
}


@pytest.mark.parametrize("number", STUDIES)
def test_c10_to_c15_are_asked_against_plain_cleaning_of_both_models(number):
    plain = [runs(WEAK, CLEAN), runs(STRONG, COSTLY)]
    failed = verdict(number, *plain, runs(STRONG, COSTLY, **STUDIES[number]))
    assert failed["verdict"] == "holds"
    assert failed["ours"] == pytest.approx(0)
    cleaned = verdict(number, *plain, runs(STRONG, CLEAN, **STUDIES[number]))
    assert cleaned["verdict"] == "does not hold"
    assert cleaned["ours"] == pytest.approx(50, abs=1)
    alone = verdict(number, runs(STRONG, COSTLY, **STUDIES[number]))
    assert alone["verdict"].startswith("not decided (no rows of the MMCL")


@pytest.mark.parametrize("number", STUDIES)
def test_plain_cleaning_at_other_rates_or_seeds_is_not_what_they_are_compared_with(number):
    more = [runs(name, [(1, 90)], lr=5e-3) for name in (WEAK, STRONG)]
    plain = [runs(WEAK, CLEAN), runs(STRONG, COSTLY), runs(STRONG, CLEAN, seeds=(7, 8)), *more]
    row = verdict(number, *plain, runs(STRONG, COSTLY, **STUDIES[number]))
    assert (row["verdict"], row["n"]) == ("holds", 3)
    assert row["ours"] == pytest.approx(0)


def test_c15_does_not_count_the_weight_of_one():
    rows = runs(STRONG, COSTLY, study="ssl_weight")
    assert verdict(15, rows)["verdict"].startswith("not decided (no rows")


def tried(number, **columns):
    plain = [runs(WEAK, CLEAN), runs(STRONG, COSTLY)]
    made = runs(STRONG, COSTLY, **STUDIES[number]).assign(**columns)
    return verdict(number, *plain, made)["verdict"]


def test_deep_clustering_at_its_chance_value_tells_nothing():
    chance = math.log(50)
    inert = tried(10, option_k=50, loss_deep_cluster=0.985 * chance)
    assert inert == "cannot tell here (the clustering loss stays where chance puts it)"
    assert tried(10, option_k=50, loss_deep_cluster=0.9 * chance) == "holds"


@pytest.mark.parametrize(
    ("loss_l2", "said"),
    [
        (1000.0, "cannot tell here (the penalty swamps the loss)"),
        (1.0, "holds"),
        (1e-4, "cannot tell here (the penalty is nothing beside the loss)"),
    ],
)
def test_a_penalty_that_is_all_of_the_loss_or_nothing_of_it_tells_nothing(loss_l2, said):
    assert tried(11, option_weight=0.5, loss_l2=loss_l2, loss_total=2 + 0.5 * loss_l2) == said


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [(1.0, "cannot tell here (the model that was picked is destroyed)"), (50.0, "holds")],
)
@pytest.mark.parametrize("kind", ["picked", "option"])
def test_a_destroyed_model_that_was_cleaned_tells_nothing(accuracy, said, kind):
    screen = runs(STRONG, [(0, accuracy)], lr=1e-5, defence="screen", study="shrink_perturb")
    screen = screen.assign(option_shrink=0.9, option_perturb=0.01)
    screen.loc[screen["epoch"] > 0, "accuracy"] = accuracy
    given = {f"{kind}_shrink": 0.9, f"{kind}_perturb": 0.01}
    made = runs(STRONG, COSTLY, **STUDIES[12]).assign(**given)
    row = verdict(12, runs(WEAK, CLEAN), runs(STRONG, COSTLY), made, screen)
    assert row["verdict"] == said
    assert {one.verdict for one in row["findings"]} == {said}  # each claim looks at its own runs


def test_a_run_without_its_starting_point_decides_nothing():
    rows = runs(WEAK, CLEAN, lr=1e-3)
    rows = rows[~((rows["epoch"] == 0) & (rows["seed"] == 2))]
    assert verdict(1, rows)["verdict"].startswith("not decided (no row before cleaning in train_")


def test_seeds_trained_but_not_cleaned_are_named():
    train = pd.DataFrame({"experiment": WEAK, "seed": [0, 1, 2, 3, 4]})
    row = verdict(1, runs(WEAK, CLEAN), train=train)
    assert "train_mmcl: seed 3, 4 trained, but not cleaned" in row["evidence"]
    assert row["verdict"] == "holds"


def test_rows_without_a_needed_column_are_refused():
    with pytest.raises(ConfigError, match=r"\['study'\]"):
        conclusions.verdicts(runs(WEAK, CLEAN).drop(columns="study"))


def test_no_interval_goes_beyond_what_its_quantity_can_be():
    row = verdict(1, runs(WEAK, CLEAN, seeds=(0,)), runs(WEAK, NEVER, seeds=(1,)))
    assert (row["low"], row["high"]) == (0, pytest.approx(100 * 100 / 60))


def test_the_authors_points_lie_where_the_paper_says():
    kept = price.authors_kept()
    for data in ("CC3M", "CC6M"):
        weak, strong = (kept[data, name, "mmcl_ssl"] for name in ("mmcl", "mmcl_ssl"))
        assert weak > conclusions.KEPT > strong
        assert weak - strong > conclusions.CONTRAST


def test_the_papers_words_have_the_authors_numbers():
    kept = price.authors_kept()
    said = {c.id: c.paper for c in conclusions.CONCLUSIONS}
    contrast = [kept[d, "mmcl", "mmcl_ssl"] - kept[d, "mmcl_ssl", "mmcl_ssl"] for d in BOTH]
    assert said["C0"].startswith("{:.0f} points (CC6M), {:.0f} (CC3M)".format(*contrast))
    for name, objective in (("C1", "mmcl"), ("C2", "mmcl_ssl")):
        values = [kept[data, objective, "mmcl_ssl"] for data in BOTH]
        assert said[name].startswith("{:.0f} % (CC6M), {:.0f} % (CC3M) kept".format(*values))


BOTH = ("CC6M", "CC3M")


def everything(**columns):
    """Rows that every claim can be asked of."""
    models = [f"train_{kind}{of}" for kind in ("", "finetune_", "vit_", "label_") for of in OF]
    made = [runs(name, CLEAN, **columns) for name in models]
    made += [runs(name, CLEAN, loss=loss, **columns) for name in models[:2] for loss in OF]
    made += [runs(n, COSTLY, **columns, study="nonideal", poisons=2) for n in models[:2]]
    made += [runs(STRONG, CLEAN, **columns, **about) for about in STUDIES.values()]
    ssl = [runs(name, CLEAN, loss="ssl", **columns) for name in models[:2]]
    return pd.concat([*made, *ssl], ignore_index=True)


OF = ("mmcl", "mmcl_ssl")


def test_of_one_seed_every_conclusion_is_undecided():
    made = conclusions.verdicts(everything(seeds=(1,)))
    assert set(made["verdict"]) == {"not decided (one seed)"}
    assert set(made["n"]) == {1}


def test_without_a_backdoor_no_conclusion_can_be_told():
    rows = everything()
    rows.loc[rows["epoch"] == 0, "asr"] = 30.0
    made = conclusions.verdicts(rows)
    assert made["verdict"].str.startswith("cannot tell here (no backdoor").all()


def test_the_order_of_rows_and_the_names_of_seeds_change_nothing():
    rows = everything()
    other = rows.assign(seed=rows["seed"].map({0: 7, 1: 3, 2: 5})).sample(frac=1, random_state=0)
    numbers = ["ours", "low", "high", "n", "at_5"]
    found, again = conclusions.verdicts(rows), conclusions.verdicts(other)
    assert found["verdict"].tolist() == again["verdict"].tolist()
    pd.testing.assert_frame_equal(found[numbers], again[numbers])


def test_seeds_of_one_arm_alone_do_not_mute_the_paired_ones():
    both = [runs(WEAK, NEVER), runs(STRONG, NEVER)]
    more = runs(WEAK, CLEAN, seeds=range(3, 8))
    assert verdict(0, *both)["verdict"].startswith("cannot tell here (neither")
    assert verdict(0, *both, more)["verdict"].startswith("cannot tell here (neither")
