"""The price curve and kept accuracy, against hand-made rows, the shipped rows and the authors'."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bdnb.analysis import price, published
from bdnb.analysis.metrics import best_accuracy_at, by_seed, over_seeds
from bdnb.runs import results, shipped
from bdnb.runtime.errors import ConfigError
from tests.conftest import REPOSITORY

POINTS = REPOSITORY.parent / "shared" / "paper" / "points"
LAW = settings(max_examples=40, deadline=None)
PERCENT = st.integers(0, 100).map(float)
MODELS = st.lists(st.tuples(PERCENT, PERCENT), max_size=12)


def one_seed(models, start=(80.0, 99.0)):
    """Rows of one run: (accuracy, asr) an epoch, the poisoned model first."""
    rows = pd.DataFrame([start, *models], columns=["accuracy", "asr"], dtype=float)
    return rows.assign(epoch=range(len(rows)), run="a", seed=0)


def test_the_curve_is_the_share_of_its_accuracy_that_the_best_model_under_each_asr_keeps():
    rows = one_seed([(60, 10), (40, 3), (50, 4)])
    assert price.curve(rows, [2, 3, 4, 9.9, 10, 100]).tolist() == [0, 50, 62.5, 62.5, 75, 75]
    assert price.kept_at(rows) == 62.5


@LAW
@given(MODELS)
def test_the_curve_is_the_papers_measure_at_every_threshold(models):
    rows = one_seed(models)
    slow = [100 * best_accuracy_at(rows, t) / 80 for t in price.THRESHOLDS]
    assert price.curve(rows) == pytest.approx(np.nan_to_num(slow))


@LAW
@given(MODELS)
def test_the_curve_never_falls_and_kept_accuracy_lies_between_its_ends(models):
    rows = one_seed(models)
    curve = price.curve(rows)
    assert (np.diff(curve) >= 0).all()
    low, high = price.curve(rows, [price.KEPT_AT[0], price.KEPT_AT[-1]])
    assert low - 1e-9 <= price.kept_accuracy(rows) <= high + 1e-9


@LAW
@given(MODELS, st.tuples(PERCENT, PERCENT), st.integers(0, 10))
def test_another_candidate_or_a_better_one_never_lowers_kept_accuracy(models, more, gain):
    rows = one_seed([*models, more])
    assert price.kept_accuracy(rows) >= price.kept_accuracy(one_seed(models))
    better = rows.assign(asr=(rows["asr"] - gain * (rows["epoch"] > 0)).clip(0))
    assert price.kept_accuracy(better) >= price.kept_accuracy(rows)


def test_kept_accuracy_is_the_mean_over_ten_thresholds_each_included():
    for place, threshold in enumerate((2, 3, 4, 5, 6, 8, 10, 12, 16, 20)):
        assert price.kept_accuracy(one_seed([(80, threshold)])) == 100 - 10 * place
        assert price.kept_accuracy(one_seed([(80, threshold + 0.5)])) == 90 - 10 * place


def test_a_model_without_candidates_keeps_nothing_and_one_without_a_start_is_refused():
    assert price.kept_accuracy(one_seed([])) == 0
    with pytest.raises(ConfigError, match="no row of epoch 0"):
        price.kept_accuracy(one_seed([(1, 1)]).query("epoch > 0"))


def test_groups_have_means_over_all_seeds_and_say_of_how_many_a_best_accuracy_is():
    never = one_seed([(70, 50)], start=(90.0, 89.0)).assign(seed=1, run="b")
    rows = pd.concat([one_seed([(60, 4), (40, 1)]), never]).assign(loss="x")
    (line,) = price.groups(rows, by=["loss"]).to_dict("records")
    assert (line["seeds"], line["kept"].n, line["kept"].missing) == (2, 2, 0)
    assert line["kept_at_5"].mean == pytest.approx((75 + 0) / 2)
    assert (line["accuracy_before"].mean, line["asr_before"].mean) == (85, 94)
    most = 100 * 100 / 80  # all images right, of the model that had fewest
    assert [line[name].low for name in ("kept", "kept_at_5", "kept_last")] == [0, 0, 0]
    assert [line[name].high for name in ("kept", "kept_at_5", "kept_last")] == [most] * 3
    best = line["best_accuracy"]
    assert (best.mean, best.n, best.missing) == (60, 1, 1)
    last = np.mean([price.kept_accuracy(one_seed([(40, 1)])), 0])
    assert line["kept_last"].mean == pytest.approx(last)


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """Rows of CleanCLIP on the two models from scratch that are shipped with the book."""
    folder = tmp_path_factory.mktemp("laptop")
    shipped.unpack("laptop", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BDNB_RUNS", str(folder))
        _, rows = results.rows_of_scale("laptop")
    rows = rows[(rows["study"] == "main") & (rows["loss"] == "mmcl_ssl")]
    return {name: rows[rows["poisoned"] == name] for name in ("train_mmcl", "train_mmcl_ssl")}


def test_the_rows_shipped_first_keep_about_alike_with_either_objective(laptop):
    weak, strong = (by_seed(rows, price.kept_accuracy) for rows in laptop.values())
    assert (weak.mean(), strong.mean()) == pytest.approx((66.3, 70.0), abs=0.05)
    contrast = over_seeds(weak - strong)
    assert contrast.mean == pytest.approx(-3.7, abs=0.05)
    assert contrast.high - contrast.mean == pytest.approx(11.1, abs=0.05)


def test_sampling_of_the_test_set_moves_kept_accuracy_far_less_than_the_papers_number(laptop):
    rows = pd.concat(laptop.values())
    made = pd.DataFrame(
        [
            price.sampling_error(own, images=1500, draws=100)
            for _, own in rows.groupby(["poisoned", "seed"])
        ]
    )
    mean = made.mean()
    assert mean["kept"] < 3
    assert mean["kept_at_5"] > 2 * mean["kept"]
    assert made["kept"].max() < 6 < made["kept_at_5"].max()


def test_the_simulation_is_repeatable_and_vanishes_with_endless_test_images():
    rows = one_seed([(60, 5.1), (40, 3.1), (50, 4.9)])
    found = [price.sampling_error(rows, images=1500, seed=3) for _ in range(2)]
    assert found[0] == found[1]
    assert price.sampling_error(rows, images=10**8)["kept"] < 0.1
    assert found[0]["kept"] > 0.5


def test_the_authors_curves_give_the_kept_accuracy_of_their_points():
    kept = {k: round(v, 1) for k, v in price.authors_kept().items() if k[2] == "mmcl_ssl"}
    assert kept == {
        ("CC3M", "mmcl", "mmcl_ssl"): 105.0,
        ("CC3M", "mmcl_ssl", "mmcl_ssl"): 86.0,
        ("CC6M", "mmcl", "mmcl_ssl"): 92.0,
        ("CC6M", "mmcl_ssl", "mmcl_ssl"): 54.7,
    }


def test_the_authors_contrast_on_cc6m_does_not_hang_on_the_threshold():
    curves = price.authors_curves()
    chosen = curves[(curves["data"] == "CC6M") & (curves["loss"] == "mmcl_ssl")]
    wide = chosen[chosen["threshold"].between(4, 50)].groupby("objective")["kept"]
    assert (wide.min()["mmcl"], wide.max()["mmcl"]) == pytest.approx((99.2, 105.5), abs=0.05)
    assert (wide.min()["mmcl_ssl"], wide.max()["mmcl_ssl"]) == pytest.approx((54.7, 54.7), abs=0.1)


@pytest.mark.skipif(not POINTS.is_dir(), reason="the authors' points are not beside the checkout")
def test_the_shipped_curves_are_those_of_the_authors_points():
    start = {line.poisoned: line.accuracy for line in published.PAPER}
    made = {}
    for data, file, name, prefix in (
        ("CC3M", "CC3M_pretrained_1500", "cleaning_poisoned_{}_clean_{}_lr_", "train_cc3m_"),
        (
            "CC6M",
            "CC6M_pretrained_3000",
            "cleaning_poisoned_cc6m_{}_3000poison_clean_{}_lr_",
            "train_",
        ),
    ):
        points = json.loads((POINTS / f"{file}.json").read_text())
        for of in ("mmcl", "mmcl_ssl"):
            for loss in ("mmcl", "ssl", "mmcl_ssl"):
                shares = np.array(points[name.format(of, loss)])
                own = pd.DataFrame(100 * shares.T, columns=["asr", "accuracy"])
                made[f"{data} {of} {loss}"] = price.curve(own, start=start[prefix + of])
    there = json.loads((REPOSITORY / "bdnb" / price.AUTHORS).read_text())
    assert there.keys() == made.keys()
    for name, values in made.items():
        assert there[name] == pytest.approx(values, abs=0.006), name


def test_what_is_kept_is_a_share_of_what_the_run_itself_started_from():
    """One seed's model may have been trained twice, and be a little better the second time."""
    first = {"seed": 0, "run": "a", "lr": 1e-3}
    second = {"seed": 0, "run": "b", "lr": 2e-3}
    rows = pd.DataFrame(
        [
            first | {"epoch": 0, "accuracy": 50.0, "asr": 99.0},
            first | {"epoch": 1, "accuracy": 40.0, "asr": 10.0},
            second | {"epoch": 0, "accuracy": 80.0, "asr": 99.0},
            second | {"epoch": 1, "accuracy": 48.0, "asr": 1.0},
        ]
    )
    assert price.curve(rows, [0.5, 1, 9, 10]).tolist() == [0, 60, 60, 80]
    assert price.kept_accuracy(rows[rows["run"] == "b"]) == 60
    assert price.curve(rows, [10], start=60.0).tolist() == [80]
    assert price.curve(rows.drop(index=2), [1]).tolist() == [96]  # its own start is not there
    assert price.curve(rows.drop(columns="run"), [10]).tolist() == pytest.approx([100 * 48 / 65])
