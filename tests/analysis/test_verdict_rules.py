"""Laws of the rule that decides every claim."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bdnb.analysis.conclusions import CONCLUSIONS
from bdnb.analysis.metrics import over_seeds, t_factor
from bdnb.analysis.verdict_rules import LEAST_SPREAD, bounds, decide

LAW = settings(deadline=None)
VALUE = st.floats(-110, 110).map(lambda value: round(value, 2))
SEEDS = st.lists(VALUE, min_size=2, max_size=8)
EDGE = st.integers(-20, 100).map(lambda edge: edge + 0.005)
ORDER = ("does not hold", "not decided", "holds")
CLAIMS = [(claim.edge, claim.above) for one in CONCLUSIONS for claim in one.claims]


def rank(values, edge, above=True):
    return ORDER.index(decide(pd.Series(values), edge, above=above))


@LAW
@given(SEEDS, st.data(), st.floats(0, 300), EDGE)
def test_raising_any_value_never_lowers_a_verdict(values, data, gain, edge):
    place = data.draw(st.integers(0, len(values) - 1))
    raised = [value + gain * (i == place) for i, value in enumerate(values)]
    for low, high in zip(bounds(pd.Series(values)), bounds(pd.Series(raised)), strict=True):
        assert high >= low - 1e-6
    assert rank(raised, edge) >= rank(values, edge)
    assert rank(raised, edge, above=False) <= rank(values, edge, above=False)


@LAW
@given(SEEDS, st.randoms(), EDGE)
def test_the_order_of_seeds_changes_nothing(values, random, edge):
    other = random.sample(values, len(values))
    assert rank(values, edge) == rank(other, edge)


@LAW
@given(SEEDS, EDGE)
def test_a_claim_and_its_opposite_are_never_both_true_or_both_false(values, edge):
    above, below = rank(values, edge), rank(values, edge, above=False)
    assert above + below == 2


@LAW
@given(SEEDS, EDGE)
def test_what_the_t_interval_decides_is_decided_so(values, edge):
    interval = over_seeds(values, least_spread=LEAST_SPREAD)
    if interval.low > edge:
        assert rank(values, edge) == 2
    if interval.high < edge:
        assert rank(values, edge) == 0
    least, most = bounds(pd.Series(values))
    assert interval.low - 1e-6 <= least <= interval.mean + 1e-6
    assert interval.mean - 1e-6 <= most <= interval.high + 1e-6


@LAW
@given(SEEDS, st.data())
def test_the_lower_bound_is_the_best_that_lowering_values_can_do(values, data):
    """Against random lowerings: none has an interval that ends higher."""
    less = [value - data.draw(st.floats(0, 200)) for value in values]
    assert bounds(pd.Series(values))[0] >= over_seeds(less, least_spread=LEAST_SPREAD).low - 1e-6


@pytest.mark.parametrize(("edge", "above"), CLAIMS)
def test_every_claim_can_hold_fail_and_stay_open(edge, above):
    sign = 1 if above else -1
    for distance, word in ((40, "holds"), (-40, "does not hold")):
        values = pd.Series([edge + sign * (distance + i) for i in range(3)])
        assert decide(values, edge, above=above) == word
    assert decide(pd.Series([edge - 4, edge + 4]), edge, above=above) == "not decided"
    assert decide(pd.Series([edge + 40 * sign]), edge, above=above) == "not decided (one seed)"


def test_an_outlier_that_speaks_for_a_claim_does_not_weaken_it():
    steady = [20.0, 21.0, 22.0]
    assert decide(pd.Series(steady), 5) == "holds"
    assert decide(pd.Series([*steady[:2], 100.0]), 5) == "holds"
    assert over_seeds([*steady[:2], 100.0]).low < 5


def test_two_seeds_that_agree_by_luck_decide_nothing():
    assert decide(pd.Series([8.0, 8.01]), 5) == "not decided"
    # Of three alike, with a standard deviation of 2 assumed, an interval of +- 4.97.
    assert decide(pd.Series([10.0] * 3), 5) == "holds"
    assert decide(pd.Series([9.9] * 3), 5) == "not decided"


@LAW
@given(st.integers(3, 8), st.integers(0, 10**6))
def test_the_interval_of_the_rule_is_students_when_no_value_is_far_out(n, seed):
    values = np.random.default_rng(seed).normal(0, 20, n)
    least, _ = bounds(pd.Series(values))
    mean, spread = values.mean(), values.std(ddof=1)
    assume(spread > LEAST_SPREAD)
    if (values.max() - mean) * n * t_factor(n) < (n - 1) * spread:
        assert least == pytest.approx(mean - t_factor(n) * spread)


@pytest.mark.parametrize(
    ("seeds", "spread", "most"),
    [(3, 9, 0.1), (5, 9, 0.1), (8, 9, 0.06), (2, 40, 0.2), (3, 40, 0.2), (4, 40, 0.11)],
)
def test_a_claim_at_its_edge_is_decided_no_more_often_than_its_docstring_says(seeds, spread, most):
    draws = np.random.default_rng(0).normal(0, spread, (500, seeds))
    ends = [bounds(pd.Series(values)) for values in draws]
    wrong = np.mean([low > 0 or high < 0 for low, high in ends])
    assert wrong < most + 0.04
    assert wrong > most / 2  # what it says is what it is
