"""The explanations on hand-made rows: each verdict both ways."""

import math

import pandas as pd
import pytest

from bdnb.analysis import effect, explanations
from tests.analysis.test_effect import MODELS, SEEDS, run


def verdict(name, *frames):
    found = explanations.explanations(pd.concat(frames, ignore_index=True)).set_index("id")
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


def test_w2_says_nothing_of_a_model_that_the_swap_breaks():
    made = [
        run(model, seed, [asr], defence="swap", option_backdoored=tower, accuracy=[60.0, after])
        for model, after in zip(MODELS, (40.0, 25.0), strict=True)
        for seed in SEEDS
        for tower, asr in (("image", 97 if after > 30 else 2), ("text", 2))
    ]
    said = verdict("W2", *made)
    assert said == "cannot tell here (swapping towers breaks the MMCL + SSL models)"


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
    found = explanations.explanations(pd.concat(made)).set_index("id").loc["W4"]
    assert found["ours"] == pytest.approx(-50)  # never the same way, by chance in half of the steps
    assert found["low"] < found["ours"]
    half = run(MODELS[1], 0, [5.0, 4.0, 5.0, 5.0, 6.0], accuracy=[0, 1, 2, 3, 4, 3])
    assert effect.same_way(half, "accuracy") == pytest.approx(100 / 3)  # a step without a way
    assert math.isnan(effect.same_way(half, "loss_ssl"))


def test_without_rows_or_other_rows_nothing_is_decided():
    for rows in (pd.DataFrame(), run(MODELS[0], 0, [5.0])):
        found = explanations.explanations(rows)
        assert found["id"].tolist() == [f"W{i}" for i in range(1, 9)]
        assert found["verdict"].str.startswith("not decided").all()


FAIR, POOR = [20.0, 4.0, 1.0], [60.0, 50.0, 30.0]
"""ASRs of a run of which kept accuracy is nearly all, and none."""


def kept(model, asrs, **columns):
    """Runs at three learning rates, the best inside."""
    return [
        run(model, seed, asrs if lr == 3e-4 else POOR, lr=lr, **columns)
        for seed in SEEDS
        for lr in (1e-4, 3e-4, 1e-3)
    ]


@pytest.mark.parametrize(
    ("barlow", "ssl", "said"),
    [(FAIR, POOR, "holds"), (POOR, FAIR, "does not hold"), (FAIR, FAIR, "does not hold")],
)
def test_w5_wants_each_loss_to_clean_better_where_it_is_new(barlow, ssl, said):
    made = kept("train_mmcl_barlow", barlow, study="crossing") + kept(MODELS[1], ssl)
    made += kept(MODELS[1], barlow, study="crossing", loss="mmcl_barlow")
    made += kept("train_mmcl_barlow", ssl, study="crossing", loss="mmcl_barlow")
    assert verdict("W5", *made) == said


def test_w5_compares_at_the_rates_that_both_were_run_at():
    made = kept("train_mmcl_barlow", POOR, study="crossing") + kept(MODELS[1], POOR)
    made += [run(MODELS[1], seed, FAIR, lr=3e-5) for seed in SEEDS]  # Barlow's were not
    assert verdict("W5", *made).startswith(("cannot tell here", "not decided"))


@pytest.mark.parametrize(
    ("text", "image", "said"), [(FAIR, POOR, "holds"), (POOR, FAIR, "does not hold")]
)
def test_w6_compares_ssl_of_captions_with_ssl_of_images(text, image, said):
    made = kept("train_mmcl_ssl_text", text, study="crossing")
    made += kept("train_mmcl_ssl_image", image, study="crossing")
    assert verdict("W6", *made) == said


@pytest.mark.parametrize(
    ("crops", "same", "said"), [(FAIR, POOR, "holds"), (POOR, FAIR, "does not hold")]
)
def test_w7_compares_other_views_with_those_of_pre_training(crops, same, said):
    made = kept(MODELS[1], crops, study="views", image_views="crop_flip")
    made += kept(MODELS[1], same[::-1], study="views", image_views="none")
    made += kept(MODELS[1], same, image_views="autoaugment")
    assert verdict("W7", *made) == said


def test_w8_says_nothing_of_models_that_were_not_clean():
    lines = zip(MODELS, (3.0, 60.0), strict=True)
    made = [
        run(model, seed, [asr, asr], study="rebound", loss="mmcl").assign(asr=asr)
        for model, asr in lines
        for seed in SEEDS
    ]
    said = verdict("W8", *made)
    assert said.startswith("cannot tell here (3 of 3 runs on MMCL + SSL models start with")


def test_w8_asks_how_far_a_user_s_fine_tuning_brings_asr_back():
    def users(model, start, asrs):
        made = [run(model, seed, asrs, study="rebound", loss="mmcl") for seed in SEEDS]
        return [rows.assign(asr=rows["asr"].where(rows["epoch"] > 0, start)) for rows in made]

    back, stays = [20.0, 60.0, 30.0], [4.0, 3.0, 2.0]
    for ends, said in (((stays, back), "holds"), ((back, stays), "does not hold")):
        pairs = zip(MODELS, ends, strict=True)
        made = [rows for model, asrs in pairs for rows in users(model, 3.0, asrs)]
        assert verdict("W8", *made) == said
    assert effect.regained(users(MODELS[0], 3.0, back)[0]) == pytest.approx(57)
    assert effect.regained(users(MODELS[0], 30.0, stays)[0]) == pytest.approx(-26)
