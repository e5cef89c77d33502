"""The blind rules on runs that can be worked out by hand; none of them can see the ASR."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdnb.analysis import blind
from bdnb.runtime.errors import ConfigError

RUN = pd.DataFrame(
    {
        "epoch": [0, 1, 2, 3, 4],
        "accuracy": [60.0, 50.0, 59.0, 57.0, 56.9],
        "loss_total": [np.nan, 2.0, 1.5, 1.49, 1.0],
        "asr": [98.0, 50.0, 40.0, 30.0, 20.0],
    }
)


@pytest.mark.parametrize(
    ("rule", "epoch"),
    [("last", 4), ("best_accuracy", 2), ("loss_plateau", 3), ("accuracy_floor", 3)],
)
def test_each_rule_keeps_its_epoch(rule, epoch):
    assert blind.pick(RUN, rule) == epoch
    assert blind.pick(RUN.iloc[[3, 0, 4, 2, 1]], rule) == epoch


def test_rules_have_an_answer_where_their_sign_never_comes():
    falling = RUN.assign(loss_total=[np.nan, 8.0, 4.0, 2.0, 1.0])
    assert blind.pick(falling, "loss_plateau") == 4
    assert blind.pick(RUN.drop(columns="loss_total"), "loss_plateau") == 4
    assert blind.pick(RUN.assign(accuracy=[90.0, 50, 59, 57, 55]), "accuracy_floor") == 2
    assert blind.pick(RUN[RUN["epoch"] < 2].drop(columns="loss_total"), "loss_plateau") == 1


def test_the_plateau_is_the_first_fall_of_less_than_a_hundredth_of_the_loss_before():
    """A fall of just that is one; epoch 0 and epochs without a loss do not count."""
    losses = [200.0, 200.0, 198.0, 196.03, 196.0]
    assert blind.pick(RUN.assign(loss_total=losses), "loss_plateau") == 3
    assert blind.pick(RUN.assign(loss_total=[np.nan, 200, np.nan, 199.9, 9]), "loss_plateau") == 3


def test_a_rule_is_shown_no_column_of_attack_success(monkeypatch):
    shown = []
    monkeypatch.setitem(blind.RULES, "mine", lambda run: shown.extend(run) or 0)
    blind.pick(RUN.assign(asr_top5=1, triggered_accuracy=1, retrieval_asr_top5=1), "mine")
    assert shown == ["epoch", "accuracy", "loss_total"]


def test_a_loss_that_rises_has_stopped_falling():
    assert blind.pick(RUN.assign(loss_total=[np.nan, 1.0, 2.0, 1.0, 0.5]), "loss_plateau") == 2


@given(st.lists(st.floats(0, 100), min_size=5, max_size=5), st.sampled_from(sorted(blind.RULES)))
def test_what_is_kept_does_not_depend_on_the_asr(asr, rule):
    assert blind.pick(RUN.assign(asr=asr, asr_top5=asr), rule) == blind.pick(RUN, rule)


def test_an_unknown_rule_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"oracle.*last, best_accuracy"):
        blind.pick(RUN, "oracle")
