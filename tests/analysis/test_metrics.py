import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bdnb.analysis import metrics
from bdnb.runtime.errors import ConfigError


def run(name, asr, accuracy, **columns):
    """Rows of one run, epochs from 0."""
    rows = pd.DataFrame({"epoch": range(len(asr)), "asr": asr, "accuracy": accuracy})
    return rows.assign(**({"run": name, "seed": 0} | columns)).astype({"asr": float})


@pytest.fixture
def rows():
    """Two learning rates; the best accuracy of all is that of epoch 0, which does not count."""
    slow = run("slow", [98, 40, 4.9], [70, 68, 66], lr=1e-4)
    fast = run("fast", [98, 2, 5.0], [70, 50, 67], lr=1e-3)
    return pd.concat([slow, fast], ignore_index=True)


def test_best_accuracy_is_the_oracles_over_all_epochs_and_rates_threshold_included(rows):
    assert metrics.best_accuracy_at(rows) == 67
    assert metrics.best_accuracy_at(rows, 4.95) == 66
    assert metrics.best_accuracy_at(rows, 4.0) == 50
    best = metrics.best_point(rows)
    assert (best["run"], best["epoch"], best["lr"]) == ("fast", 2, 1e-3)


def test_no_model_under_the_threshold_is_told_and_not_made_up(rows):
    assert math.isnan(metrics.best_accuracy_at(rows, 1.0))
    assert metrics.best_point(rows, 1.0) is None
    assert metrics.best_point(run("a", [98, 5.1], [70, 60])) is None  # the paper's line is 5 %


def test_the_model_before_cleaning_is_no_candidate_even_without_a_backdoor():
    rows = run("a", [1, 60], [70, 65])
    assert math.isnan(metrics.best_accuracy_at(rows))
    assert metrics.candidates(rows)["epoch"].tolist() == [1]


def test_rows_of_a_diverged_run_are_no_candidates(rows):
    bad = run("bad", [98, np.nan, 0], [70, 69, np.nan])
    assert metrics.best_accuracy_at(pd.concat([rows, bad])) == 67


def test_of_equal_accuracies_the_lower_asr_is_best():
    rows = pd.concat([run("a", [98, 4], [70, 60]), run("b", [98, 1], [70, 60])])
    assert metrics.best_point(rows)["run"] == "b"


def test_the_last_epoch_is_each_runs_own(rows):
    last = metrics.last_epoch(rows.sample(frac=1, random_state=0))
    assert sorted(zip(last["run"], last["asr"], strict=True)) == [("fast", 5.0), ("slow", 4.9)]


def test_before_is_epoch_0_and_is_asked_for(rows):
    assert metrics.before(rows) == (70, 98)
    two = pd.concat([run("a", [90, 1], [60, 50]), run("b", [100, 1], [70, 50])])
    assert metrics.before(two) == (65, 95)
    with pytest.raises(ConfigError, match="no row of epoch 0"):
        metrics.before(rows[rows["epoch"] > 0])


def test_a_straight_trajectory_is_smooth():
    found = metrics.smoothness(run("a", [90, 60, 30, 0], [70, 66, 62, 58]))
    assert found.tortuosity == pytest.approx(1)
    assert (found.asr_rise, found.rebound) == (0, 0)
    assert found.chord == pytest.approx(math.hypot(90, 12))
    assert found.best_at == 1


def test_a_trajectory_that_comes_back_is_not_smooth():
    found = metrics.smoothness(run("a", [90, 4, 44, 34], [70, 70, 70, 70]))
    assert found.path == pytest.approx(86 + 40 + 10)
    assert found.tortuosity == pytest.approx(136 / 56)
    assert (found.asr_rise, found.rebound) == (40, 30)
    assert found.best_at == pytest.approx(1 / 3)


def test_smoothness_does_not_depend_on_the_order_of_rows_or_on_resting():
    rows = run("a", [90, 50, 50, 4], [70, 60, 60, 65])
    assert metrics.smoothness(rows[::-1]) == metrics.smoothness(rows)
    short = metrics.smoothness(run("a", [90, 50, 4], [70, 60, 65]))
    assert metrics.smoothness(rows).tortuosity == pytest.approx(short.tortuosity)


def test_a_run_that_does_not_move_or_returns_has_no_finite_tortuosity():
    assert math.isnan(metrics.smoothness(run("a", [90, 90], [70, 70])).tortuosity)
    assert math.isinf(metrics.smoothness(run("a", [90, 50, 90], [70, 70, 70])).tortuosity)


def test_smoothness_is_of_one_run_with_two_epochs_at_least(rows):
    with pytest.raises(ConfigError, match="2 runs"):
        metrics.smoothness(rows)
    with pytest.raises(ConfigError, match="1 epochs"):
        metrics.smoothness(rows[:1])


def test_over_seeds_is_the_t_interval():
    values = [1.0, 2.0, 4.0]
    found = metrics.over_seeds(values)
    low, high = stats.t.interval(0.95, 2, loc=np.mean(values), scale=stats.sem(values))
    assert found == pytest.approx((7 / 3, low, high, 3, 0))


def test_over_seeds_counts_seeds_without_a_value():
    found = metrics.over_seeds([math.nan, 2.0, -math.inf])
    assert (found.mean, found.n, found.missing) == (2.0, 1, 2)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert math.isnan(metrics.over_seeds([math.nan]).mean)


def test_an_interval_counts_a_least_spread_and_ends_where_its_quantity_does():
    wide = metrics.over_seeds([1.0, 1.0, 1.0], least_spread=3.0)
    assert (wide.low, wide.high) == pytest.approx((1 - 2.484 * 3, 1 + 2.484 * 3), abs=0.01)
    cut = metrics.over_seeds([1.0, 99.0], limits=(0.0, 100.0))
    assert (cut.mean, cut.low, cut.high) == (50, 0, 100)


def test_missing_columns_are_named(rows):
    with pytest.raises(ConfigError, match=r"\['asr'\].*accuracy"):
        metrics.best_accuracy_at(rows.drop(columns="asr"))


@pytest.mark.parametrize("half", [1.0, 5.0, 40.0, 100.0])
def test_as_many_seeds_that_lie_as_far_apart_have_an_interval_that_narrow(half):
    found = metrics.over_seeds([0.0, 10.0, 20.0])  # a standard deviation of 10
    n = metrics.seeds_within(found, half)
    assert 10 * metrics.t_factor(n) <= half
    assert n == 2 or 10 * metrics.t_factor(n - 1) > half
