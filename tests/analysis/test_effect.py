"""Numbers of runs on hand-made rows; the map's correlation by scipy's."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bdnb.analysis import effect

MODELS = ("train_mmcl", "train_mmcl_ssl")
SEEDS = (0, 1, 2)


def run(model, seed, asrs, **columns):
    """Epoch 0 with a backdoor, then these ASRs."""
    rows = pd.DataFrame({"asr": [98.0, *asrs], "epoch": range(len(asrs) + 1)})
    plain = {"defence": "cleanclip", "loss": "mmcl_ssl", "study": "main", "lr": 1e-3}
    about = plain | {"poisoned": model, "seed": seed, "accuracy": 60.0} | columns
    return rows.assign(**about, run=f"{model}-{seed}-{about['defence']}-{sorted(columns.items())}")


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12))
def test_a_comeback_is_the_largest_rise_over_all_pairs_of_epochs(asrs):
    found = effect.comeback(run(MODELS[0], 0, asrs))
    pairs = [later - asrs[i] for i in range(len(asrs)) for later in asrs[i:]]
    assert found.rise == pytest.approx(max(pairs))
    assert found.low <= found.high
    assert asrs[found.high - 1] - asrs[found.low - 1] == pytest.approx(found.rise)


@given(st.integers(5, 9), st.integers(0, 99))
def test_a_relation_is_spearmans(n, seed):
    x, y = np.random.default_rng(seed).integers(0, 5, (2, n)).astype(float)
    found = effect.relation(pd.Series(x), pd.Series(y), draws=19)
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found.rho == pytest.approx(stats.spearmanr(x, y).statistic)
        assert 1 / 20 <= found.p <= 1
    else:
        assert math.isnan(found.rho)


def test_a_relation_needs_settings_and_tells_order_from_chance():
    x = pd.Series(np.arange(8.0))
    assert effect.relation(x, -x).rho == pytest.approx(-1)
    assert effect.relation(x, -x).p < 0.01
    assert effect.relation(x, pd.Series([1.0, -1] * 4)).p > 0.05
    assert math.isnan(effect.relation(x[:4], x[:4]).rho)


def test_a_p_is_not_told_as_nought():
    assert effect.Relation(0.6, 0.01694, 16).chance == "p = 0.0169"
    assert effect.Relation(0.6, 0.00006, 16).chance == "p = 0.0001"
    assert effect.Relation(0.6, 0.00004, 16).chance == "p < 0.0001"
