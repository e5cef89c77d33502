"""The explanations on hand-made rows, each verdict both ways; the map's correlation by scipy's."""

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


def verdict(name, *frames):
    found = effect.explanations(pd.concat(frames, ignore_index=True)).set_index("id")
    return found.loc[name, "verdict"]


def probes(losses, pulls):
    return [
        run(
            model,
            seed,
            [98.0],
            defence="probe",
            batch_size=64,
            loss_ssl=loss,
            pull_ssl_image=pull,
            pull_mmcl_image=1.0,
        )
        for model, loss, pull in zip(MODELS, losses, pulls, strict=True)
        for seed in SEEDS
    ]


def test_w1_asks_for_the_loss_and_for_the_pull():
    assert verdict("W1", *probes((2.0, 0.1), (3.0, 0.5))) == "holds"
    assert verdict("W1", *probes((2.0, 0.1), (0.5, 3.0))) == "does not hold"
    assert verdict("W1", *probes((0.1, 0.1), (3.0, 0.5))) == "does not hold"
    row = probes((math.log(64) / 2, 0.1), (3.0, 0.5))[0]
    assert effect.ssl_at_start(row) == pytest.approx(50)
    assert effect.ssl_share(row) == pytest.approx(75)


@pytest.mark.parametrize(("image", "text", "said"), [(97, 2, "holds"), (2, 97, "does not hold")])
def test_w2_compares_the_towers(image, text, said):
    made = [
        run(model, seed, [asr], defence="swap", option_backdoored=tower)
        for model in MODELS
        for seed in SEEDS
        for tower, asr in (("image", image), ("text", text), ("both", 98), ("neither", 0))
    ]
    assert verdict("W2", *made) == said


def test_w3_compares_how_far_asr_comes_back():
    back, stays = [20.0, 60.0, 50.0], [40.0, 20.0, 20.0]
    for ends, said in (((stays, back), "holds"), ((back, stays), "does not hold")):
        pairs = zip(MODELS, ends, strict=True)
        made = [run(model, seed, end) for model, end in pairs for seed in SEEDS]
        assert verdict("W3", *made) == said


def test_w4_is_about_the_direction_in_which_both_move():
    asrs, up, down = [50.0, 20.0, 60.0, 30.0, 35.0], [60, 40, 30, 55, 35, 37], [0, 1, 5, -3, 2, 1]
    for accuracy, said in ((up, "holds"), (down, "does not hold")):
        made = [run(MODELS[1], seed, asrs, accuracy=accuracy) for seed in SEEDS]
        assert verdict("W4", *made) == said
    half = run(MODELS[1], 0, [5.0, 4.0, 5.0, 5.0, 6.0], accuracy=[0, 1, 2, 3, 4, 3])
    assert effect.same_way(half, "accuracy") == pytest.approx(100 / 3)  # a step without a way
    assert math.isnan(effect.same_way(half, "loss_ssl"))


def test_without_rows_or_other_rows_nothing_is_decided():
    for rows in (pd.DataFrame(), run(MODELS[0], 0, [5.0])):
        found = effect.explanations(rows)
        assert found["id"].tolist() == ["W1", "W2", "W3", "W4"]
        assert found["verdict"].str.startswith("not decided").all()


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
