"""The page *What it hangs on*: its sentences follow the rows, whichever way these come out."""

import re
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest

from bdnb.analysis.crossing import crossings
from bdnb.config.recipes import TrainConfig
from bdnb.report import comebacks, crossing, effect, effect_map
from bdnb.runs import experiments
from bdnb.runs.records import Run
from tests.analysis.test_crossing import CLEANED, COSTLY, runs

MODELS = ("train_mmcl", "train_mmcl_ssl")


def both(*frames):
    return pd.concat(frames, ignore_index=True)


def of_regime(accuracy, seeds=(0, 1), measured=(0, 1)):
    """Training rows of both models, the rows of their kept epochs, and cleaning rows.

    measured: seeds whose retraining ratio is known.
    """
    about = {"asr": 97.0, "loss_ssl": [0.2, 0.195] * 2 * len(seeds)}
    lines = [
        {"seed": seed, "experiment": model, "objective": model[6:], "epoch": epoch}
        for seed in seeds
        for model in MODELS
        for epoch in (1, 2)
    ]
    train = pd.DataFrame(lines).assign(accuracy=accuracy, **about)
    clean = pd.DataFrame({"run": [f"c{s}" for s in seeds], "seed": seeds, "seconds": 90.0})
    clean = clean.assign(eval_seconds=0.0, epoch=1, accuracy=5.0, defence="cleanclip", study="main")
    fresh = clean.assign(defence="retrain", study="retrain")[clean["seed"].isin(measured)]
    return train, both(clean, fresh), train[train["epoch"] == 2]


def test_the_regime_says_how_many_criteria_are_met_and_which_are_not():
    made = effect.criteria(*of_regime(60.0))
    assert "Of 7 criteria 7 are met in every seed** (2 seeds)." in effect.criteria_answer(made).data
    made = effect.criteria(*of_regime(30.0, measured=(0,)))
    said = effect.criteria_answer(made).data
    assert "Of 7 criteria 4 are met" in said
    assert "Measured in some seeds only, and met there: retraining ratio in 1." in said
    assert "accuracy, lower model (in 2 seeds of 2; mean 30.00, wanted 40 to 85)" in said
    assert "1 of 1 seed" in effect.criteria_table(made).to_html()  # retrained with one seed alone


def test_a_regime_with_one_model_a_seed_is_not_judged_and_one_not_cleaned_says_what_is_missing():
    train, clean, kept = of_regime(60.0)
    assert effect.criteria(train, clean, kept[kept["objective"] == "mmcl"]).empty
    said = effect.criteria_answer(effect.criteria(train, pd.DataFrame(), kept)).data
    assert "Not measured yet: retraining ratio, minutes of a cleaning run" in said


@pytest.mark.parametrize(
    ("ends", "word"), [((COSTLY, CLEANED), "holds"), ((CLEANED, COSTLY), "does not hold")]
)
def test_the_crossing_is_said_with_its_numbers(ends, word):
    found = crossings(both(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", ends)))
    said = crossing.answer(found).data
    assert f"larger under CleanCLIP than under PAR: {word}.**" in said
    assert f"That it crosses: {word}.**" in said
    assert "CleanCLIP +50.0" in said
    assert f"in {3 if word == 'holds' else 0} of 3 seeds" in said
    assert "under MMCL alone: not decided (no rows" in said
    (axes,) = crossing.figure(found).axes
    assert len(axes.get_lines()) == 6  # a line a seed and way
    assert len(axes.collections) == 4


def test_a_comeback_is_told_with_what_changes_beside_it():
    way = [(20, 50), (5, 40), (60, 55)]
    made = runs("CleanCLIP", (CLEANED, way)).assign(loss_mmcl=1.0)
    found = comebacks.comebacks(made)
    back = found[(found["poisoned"] == MODELS[1]) & (found["lr"] == 3e-4)]
    assert back[["rise", "low", "high", "accuracy"]].to_numpy().tolist() == [[55, 2, 3, 15]] * 3
    said = comebacks.answer(found, made).data
    assert "0 of 9 runs on MMCL" in said
    assert "3 of 9 runs on MMCL + SSL, accuracy with it in 3 of these" in said
    assert "SSL loss, MMCL: not known" in said
    assert "3 of 3" in comebacks.table(found).to_html()


def test_a_contrast_that_is_not_decided_says_how_many_seeds_it_takes():
    ends = [(CLEANED, COSTLY), (COSTLY, CLEANED), (CLEANED, CLEANED)]
    apart = both(*(runs("CleanCLIP", own, seeds=(seed,)) for seed, own in enumerate(ends)))
    said = effect.answer(pd.DataFrame(), apart).data
    assert "not decided" in said
    assert re.search(r"an interval of ±5 points takes \d{3,} of them\.$", said)


@pytest.mark.parametrize(
    ("ends", "other", "contrast", "reason"),
    [
        (
            (CLEANED, COSTLY),
            (COSTLY, CLEANED),
            "more: **holds**: +50.0 points",
            "**Of possible reasons this holds:** what MMCL models keep beyond MMCL + SSL models is "
            "more with CleanCLIP than with the defence PAR (by +100.0 (+95.0 to +105.0) points, at "
            "least +95.0 by the book's rule, 3 seeds; +50.0 against -50.0)",
        ),
        (
            (COSTLY, CLEANED),
            (COSTLY, CLEANED),
            "more: **does not hold**: -50.0 points",
            "**This does not hold:** what MMCL models keep beyond MMCL + SSL models is more with "
            "CleanCLIP than with the defence PAR (by +0.0 (-5.0 to +5.0) points, at most +5.0 by "
            "the book's rule, 3 seeds; -50.0 against -50.0)",
        ),
    ],
)
def test_the_page_comes_to_what_its_parts_say(ends, other, contrast, reason):
    rows = both(runs("CleanCLIP", ends), runs("PAR", other))
    assert contrast in effect.answer(pd.DataFrame(), rows).data
    said = effect.reason(rows, crossings(rows)).data
    assert reason in said
    assert "Of 10 claims about the reason " in said  # eight explanations, two ways


def test_the_end_that_decides_stands_beside_an_interval_that_seems_to_leave_it_open():
    rows = both(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, COSTLY)))
    found = crossings(rows)[0]
    far = found.numbers.copy()
    far.loc[2, ("CleanCLIP", MODELS[0])] += 200  # one seed that speaks for it far more than others
    said = crossing.more(replace(found, numbers=far))
    low = float(re.search(r"\((-[\d.]+) to", said)[1])
    assert low < 0
    assert re.search(r"points, at least \+\d+\.\d by the book's rule, 3 seeds", said)


@pytest.mark.parametrize("asked", ["larger", "wider", "alike"])
def test_what_does_not_hold_each_time_that_it_is_asked_is_not_said_to_hold(asked):
    rows = both(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, COSTLY)))
    first = crossings(rows)[0]
    assert crossing.settled(first) == "holds"
    found = [replace(first, **{asked: "not decided"})]
    assert crossing.settled(found[0]) == "not decided"
    assert "larger under CleanCLIP than under PAR: not decided.**" in crossing.answer(found).data
    assert "beyond MMCL + SSL models" not in effect.reason(rows, found).data


def test_what_further_learning_rates_take_back_is_not_said_to_hold():
    rows = both(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, COSTLY)))
    more = runs("CleanCLIP", (CLEANED, CLEANED), rates=(2e-3, 3e-4, 3e-3))
    best = more[more["lr"] == 3e-4].assign(lr=2e-3, run=more["run"] + "-b")
    rows = pd.concat([rows, best, more[more["lr"] == 3e-3]], ignore_index=True)
    found = crossings(rows)
    assert found[0].larger == "holds"
    assert "beyond MMCL + SSL models" not in effect.reason(rows, found).data
    said = crossing.answer(found).data
    assert "With all of CleanCLIP's learning rates its contrast is +0.0" in said
    assert "that it is larger: does not hold." in said


def test_without_rows_nothing_of_the_reason_is_decided():
    said = effect.reason(pd.DataFrame(), crossings(pd.DataFrame())).data
    assert said == "Of 10 claims about the reason 10 have no rows yet."


def test_one_claim_without_an_answer_reads_as_one():
    rows = both(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (CLEANED, COSTLY)))
    found = replace(crossings(rows)[0], larger="holds", wider="holds", alike="holds")
    said = effect.reason(rows, [found]).data
    assert "**This does not hold:** ASR comes back within" in said
    assert "Of 9 claims about the reason 6 have no rows yet, 1 is not decided." in said


def test_measurements_are_means_over_seeds_of_each_model_and_tower():
    rows = runs("CleanCLIP", (CLEANED, COSTLY)).assign(defence="swap", aligned=0.5)
    towers = ("poisoned", "option_backdoored")
    image = rows.assign(option_backdoored="image")
    made = effect.measurements(image, "swap", ("asr", "aligned"), towers)
    assert made.data["pre-trained with"].tolist() == ["MMCL", "MMCL + SSL"]
    by = ("attack", "objective", "option_backdoored")
    cells = image.assign(attack="badnet", objective=image["poisoned"].str.removeprefix("train_"))
    lines = effect.measurements(cells, "swap", ("asr", "aligned"), by).data
    assert lines.drop(columns="attack").equals(made.data)
    assert set(lines["attack"]) == {"badnet"}
    assert made.data["backdoored tower"].tolist() == ["image"] * 2
    assert made.data["seeds"].tolist() == [3, 3]
    assert all(" to " in cell for cell in made.data["ASR, %"])
    spread = rows.assign(
        option_backdoored="image", asr=rows["seed"].map({0: 1.0, 1: 50.0, 2: 99.0})
    )
    wide = effect.measurements(spread, "swap", ("asr",), towers).data["ASR, %"]
    assert wide.tolist() == ["50.00 (0.00 to 100.00)"] * 2
    few = effect.measurements(spread[spread["seed"] < 2], "swap", ("asr",), towers).data["ASR, %"]
    assert few.tolist() == ["25.50"] * 2
    assert "No run of `probe`" in effect.measurements(rows, "probe", ("loss_ssl",)).data


def test_every_explanation_is_said_with_its_verdict():
    said = effect.explanations_answer(runs("CleanCLIP", (CLEANED, COSTLY))).data
    assert said.count("\n") == 7
    assert "W3. **ASR comes back within" in said


def map_of(contrast):
    n = len(contrast)
    about = {"scale": "search", "setting": [f"s{i}" for i in range(n)], "seeds": 1}
    places = {"ssl": np.arange(n), "ratio": np.nan, "share": 12.5}
    apart = np.arange(n) - 1.0
    return pd.DataFrame(about | places).assign(contrast=contrast, apart=apart)


@pytest.mark.parametrize(
    ("contrast", "said"),
    [
        (np.arange(8.0), "is larger where the SSL loss after pre-training is larger"),
        (-np.arange(8.0), "is smaller where the SSL loss after pre-training is larger"),
        ([1.0, -1] * 4, "is not seen to go with the SSL loss"),
        (np.arange(3.0), "goes with the SSL loss after pre-training is not decided"),
    ],
)
def test_the_map_says_whether_the_contrast_goes_with_each_axis(contrast, said):
    found = effect_map.answer(map_of(contrast)).data
    assert said in found
    assert "goes with the retraining ratio is not decided**: known of 0 settings" in found
    assert "The contrast runs from" in found
    n = len(contrast)
    assert f"ends with the higher ASR in {n - 2} of {n} settings" in found
    assert f"(median difference {n / 2 - 1.5:+.1f} points)" in found
    assert f"and {n} of {n} settings have one seed: leads" in found
    assert f"and 0 of {n} settings have" in effect_map.answer(map_of(contrast).assign(seeds=3)).data


def recorded(config, lines, **about):
    """A finished run of these (ASR, accuracy, SSL loss)."""
    run = Run(experiments.folder(config))
    stage = "train" if isinstance(config, TrainConfig) else "clean"
    run.start(stage=stage, config=asdict(config), device="cpu", about=about)
    for epoch, (asr, accuracy, loss) in enumerate(lines):
        run.append({"epoch": epoch, "asr": asr, "accuracy": accuracy, "loss_ssl": loss})
    run.finish()


def test_the_map_has_a_dot_a_pair_of_models_with_its_places(fresh):
    (fresh / "params/tiny/clean_fresh.yaml").write_text(
        "scale: tiny\nexperiment: clean_fresh\nbase: clean\nstudy: retrain\ndefence: retrain\n"
        "poisoned: train_mmcl\n"
    )
    (fresh / "params/tiny/train_siglip.yaml").write_text(
        "scale: tiny\nexperiment: train_siglip\nbase: train_mmcl\nobjective: siglip\n"
    )
    (fresh / "params/tiny/clean_siglip.yaml").write_text(
        "scale: tiny\nexperiment: clean_siglip\nbase: clean\npoisoned: train_siglip\n"
    )
    (fresh / "params/tiny/train_vit.yaml").write_text(
        "scale: tiny\nexperiment: train_vit\nbase: train_mmcl\nmodel: vit_tiny\n"
    )
    (fresh / "params/tiny/clean_vit_fresh.yaml").write_text(
        "scale: tiny\nexperiment: clean_vit_fresh\nbase: clean\nstudy: retrain\ndefence: retrain\n"
        "poisoned: train_vit\n"
    )
    for name in ("train_mmcl", "train_mmcl_ssl", "train_siglip", "train_vit"):
        (config,) = experiments.of_file("tiny", name)
        recorded(config, [(0, 1, None), (98, 50, 0.5), (98, 60, 0.2)])
    for name in ("clean", "clean_siglip", "clean_fresh", "clean_vit_fresh"):
        for config in experiments.of_file("tiny", name):
            ends = (1.5, 30, 0.1) if config.poisoned == "train_mmcl_ssl" else (1, 60, 0.1)
            if config.defence == "retrain":  # the ViT is another kind of model
                ends = (0, 45 if config.poisoned == "train_vit" else 15, 0.1)
            about = {"pretrain_objective": config.poisoned.removeprefix("train_"), "scenes": 96}
            about |= {"from": {"run": config.poisoned, "epoch": 1}}  # not the last one trained
            recorded(config, [(98, 60, None), ends], cleaning_pairs=48, **about)
    (line,) = effect_map.settings(["tiny"]).to_dict("records")
    assert line == {
        "scale": "tiny",
        "setting": "main, 48 × 2",
        "contrast": pytest.approx(50),
        "apart": pytest.approx(0.5),
        "seeds": 1,
        "ssl": pytest.approx(100 * 0.5 / np.log(32)),
        "ratio": pytest.approx(0.25),
        "share": pytest.approx(50),
    }


def test_the_map_marks_the_papers_place_where_it_is_known():
    ssl, ratio, share = effect_map.figure(map_of([1.0, 2.0, 3.0])).axes
    assert [round(float(y)) for y in ssl.get_lines()[0].get_ydata()] == [37, 37]
    assert len(share.collections) - len(ssl.collections) == 2
    assert ratio.get_title() == "n = 0 settings"
