"""Cleaning at one learning rate: which rate each model needs, and what is said of it."""

import pandas as pd
import pytest

from bdnb.report import rates

RATES = (1e-4, 1e-3, 1e-2)


def runs(objective: str, cleaned_from: float, *, seed: int, before: float = 95.0) -> list[dict]:
    """Three runs of one model, whose ASR ends at 5 % from a rate on, at 80 % below it."""
    lines = []
    for lr in RATES:
        about = {"study": "main", "defence": "cleanclip", "loss": "mmcl_ssl", "lr": lr}
        about |= {
            "pretrain_objective": objective,
            "poisoned": f"train_{objective}",
            "seed": seed,
            "run": f"{objective}-{seed}-{lr}",
        }
        ends = 5.0 if lr >= cleaned_from else 80.0
        for epoch, accuracy, asr in ((0, 50.0, before), (1, 45.0, 1.0), (2, 40.0, ends)):
            lines.append(about | {"epoch": epoch, "accuracy": accuracy, "asr": asr})
    return lines


def table(*needed: tuple[float, float]) -> pd.DataFrame:
    """Rows of seeds, each with the rates that its MMCL and its MMCL + SSL model need."""
    lines = []
    for seed, (weak, strong) in enumerate(needed):
        lines += runs("mmcl", weak, seed=seed) + runs("mmcl_ssl", strong, seed=seed)
    return pd.DataFrame(lines)


def said(rows: pd.DataFrame) -> str:
    return str(rates.answer(rates.ends(rows)).data)


def test_last_epochs_count_and_the_ratio_is_a_geometric_mean():
    rows = table((1e-4, 1e-3), (1e-4, 1e-2), (1e-4, 1e-3))
    made = rates.ends(rows)
    assert set(made["kept"]) == {80.0}
    assert rates.needed(made)["mmcl_ssl"].tolist() == [1e-3, 1e-2, 1e-3]
    words = said(rows)
    assert "21.5 times as high" in words  # 10 ** (4 / 3)
    assert "Of 3 MMCL models the lowest rate tried is enough" in words


def test_the_lowest_rate_tried_is_that_of_each_seed():
    rows = table((1e-4, 1e-2), (1e-3, 1e-2))
    fewer = rows[(rows["seed"] == 0) | (rows["lr"] > 1e-4)]
    assert "Of 1 MMCL model the lowest" in said(rows)
    assert "Of 2 MMCL models the lowest rate tried is enough" in said(fewer)


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        ([(1e-4, 1e-3)] * 5, "**The MMCL + SSL model needs a higher"),
        ([(1e-2, 1e-3)] * 5, "**The MMCL model needs a higher"),
        ([(1e-4, 1e-3)] * 3, "is not shown"),  # rates between two are not known
        ([(1e-3, 1e-3)] * 3, "is not shown"),
        ([(1e-4, 1e-2), (1e-3, 1e-3), (1e-2, 1e-3)], "is not shown"),
        ([(1e-4, 1e-3)], "is not shown"),
    ],
)
def test_a_higher_rate_is_said_to_be_needed_only_where_the_interval_says_so(needed, words):
    assert words in said(table(*needed))


def test_a_model_that_no_rate_cleans_is_counted_as_missing():
    rows = table((1e-4, 1e-3), (1e-4, 1e-3), (1e-4, 1.0))
    unlike = (rows["seed"] == 2) & (rows["epoch"] == 2)
    rows.loc[unlike, "accuracy"] = 10.0  # of a seed without a rate for both: not among what is kept
    assert "geometric mean of 2 of 3 seeds" in said(rows)
    assert "is kept: MMCL 80 % (80 to 80), MMCL + SSL 80 % (80 to 80)" in said(rows)
    for none in (table((1e-4, 1.0)), table((1.0, 1.0))):
        assert "No seed has such runs of both" in said(none)
        assert "is kept" not in said(none)


def test_what_is_kept_is_measured_against_the_model_that_the_run_started_from():
    rows = table((1e-4, 1e-3), (1e-4, 1e-3))
    again = (rows["epoch"] == 0) & (rows["lr"] == 1e-4)  # trained a second time, alike
    rows.loc[again, "accuracy"] = 80.0
    made = rates.ends(rows)
    assert made.groupby("lr")["kept"].unique().map(list).to_dict() == {
        1e-4: [50.0],
        1e-3: [80.0],
        1e-2: [80.0],
    }


def test_seeds_and_rates_are_those_of_both_models_with_a_backdoor():
    rows = table((1e-4, 1e-3), (1e-4, 1e-3))
    without = pd.DataFrame(runs("mmcl", 1e-4, seed=7, before=3.0))
    alone = rows[(rows["pretrain_objective"] == "mmcl") | (rows["lr"] == 1e-3)]
    assert set(rates.ends(pd.concat([rows, without]))["seed"]) == {0, 1}
    other = rows[rows["pretrain_objective"] == "mmcl"].assign(poisoned="train_stripes_mmcl")
    two = pd.concat([rows, other.assign(run=other["run"] + "-stripes")])
    for too_few in (alone, without, two, pd.DataFrame()):
        made = rates.ends(too_few)
        for shown in (rates.answer, rates.figure, rates.table):
            assert shown(made) is rates.NEITHER
    assert len(rates.ends(two, ["train_mmcl", "train_mmcl_ssl"])) == len(rates.ends(rows))


def test_table_and_figure_show_every_rate_and_both_models():
    made = rates.ends(table((1e-4, 1e-3), (1e-4, 1e-3)))
    shown = rates.table(made).data
    assert shown["learning rate"].tolist() == ["1e-4", "1e-3", "1e-2"]
    assert shown["MMCL + SSL: ASR, %"].tolist() == ["80 (80 to 80)", "5 (5 to 5)", "5 (5 to 5)"]
    labels = {
        line.get_label()
        for axes in rates.figure(made).axes
        for line in axes.lines
        if not str(line.get_label()).startswith("_")
    }
    assert labels == {"pre-trained with MMCL", "pre-trained with MMCL + SSL"}
