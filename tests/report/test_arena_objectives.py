"""What is said of objectives that are to keep a backdoor out."""

import pandas as pd
import pytest

from bdnb.report import arena_objectives


def models(*lines):
    made = pd.DataFrame(lines, columns=["objective", "seed", "asr", "accuracy"])
    about = {"data": "synthetic", "model": "small", "init": None, "pairs": 100, "epochs": 2}
    return made.assign(**about, trigger="badnet", trigger_size=8, attack="template")


NONE = models().assign(epoch=[])
"""No rows of epochs."""


@pytest.mark.parametrize(
    ("asrs", "said"),
    [
        ((3, 20), "it kept the backdoor out"),
        ((3, 21), "neither kept out nor in whole"),
        ((95, 50), "neither kept out nor in whole"),
        ((95, 90), "it did not keep the backdoor out"),
    ],
)
def test_the_backdoor_is_kept_out_in_each_seed_or_in_none(asrs, said):
    kept = models(*(("safeclip", seed, asr, 60) for seed, asr in enumerate(asrs)))
    text = arena_objectives.answer(kept, NONE).data
    assert f"**SafeCLIP: {said}.**" in text
    assert f"an ASR of {sum(asrs) / 2:.0f} % and an accuracy of 60 % (2 seeds)." in text


def test_the_usual_objectives_stand_beside_it_of_the_same_attack_and_seeds():
    kept = models(("roclip", 0, 94, 50), ("mmcl", 0, 99, 70), ("mmcl_ssl", 0, 96, 72))
    others = models(("mmcl", 1, 10, 10), ("mmcl", 0, 20, 20)).assign(pairs=[100, 50])
    text = arena_objectives.answer(pd.concat([kept, others]), NONE).data
    assert "MMCL an ASR of 99 % and an accuracy of 70 % and MMCL + SSL an ASR of 96 %" in text


def test_the_asr_of_a_ruined_model_is_no_success():
    kept = models(("roclip", 0, 0, 34), ("mmcl", 0, 99, 70))
    assert "left no model that an ASR says anything of" in arena_objectives.answer(kept, NONE).data
    kept = models(("roclip", 0, 0, 36), ("mmcl", 0, 99, 70))
    assert "it kept the backdoor out" in arena_objectives.answer(kept, NONE).data


def test_beside_a_ruined_model_stands_mmcl_when_it_was_as_accurate():
    kept = models(("safeclip", 0, 1, 10), ("safeclip", 1, 1, 20), ("mmcl", 0, 99, 70))
    course = [(1, 50, 9), (2, 60, 10), (3, 90, 40)]
    epochs = [models(("mmcl", 0, asr, right)).assign(epoch=n) for n, asr, right in course]
    epochs += [models(("mmcl_ssl", 0, 5, 60)).assign(epoch=1)]
    epochs += [models(("mmcl", 1, 80, 30)).assign(epoch=4)]
    text = arena_objectives.answer(kept, pd.concat(epochs)).data
    early = "In the first epoch in which MMCL was as accurate it was at an ASR of 70 % and an"
    assert text.endswith(f" {early} accuracy of 20 %.")
    fine = models(("safeclip", 0, 1, 60), ("mmcl", 0, 99, 70))
    assert "In the first epoch" not in arena_objectives.answer(fine, pd.concat(epochs)).data


def test_seeds_that_mmcl_lacks_are_not_beside_it():
    kept = models(("roclip", 0, 94, 34), ("roclip", 1, 94, 60), ("mmcl", 0, 99, 70))
    text = arena_objectives.answer(kept, NONE).data
    assert "an accuracy of 47 % (2 seeds); of the same attack and seeds, MMCL" in text
    assert text.endswith("MMCL an ASR of 99 % and an accuracy of 70 % (1 of these seeds).")
    assert "left no model" in text  # 34 beside 70, on the seed that both have


def test_nothing_is_said_without_such_objectives():
    assert arena_objectives.answer(models(("mmcl", 0, 99, 70)), NONE).data == ""
    assert arena_objectives.answer(pd.DataFrame(), NONE).data == ""


def test_the_first_epoch_as_accurate_is_of_the_same_attack():
    kept = models(("safeclip", 0, 1, 10), ("safeclip", 0, 1, 30), ("mmcl", 0, 99, 70))
    kept["attack"] = ["template", "label", "template"]
    kept = pd.concat([kept, models(("mmcl", 0, 99, 70)).assign(attack="label")])
    course = [("template", 1, 40, 12), ("template", 2, 90, 35), ("label", 1, 20, 9)]
    course += [("label", 2, 80, 35)]
    epochs = [
        models(("mmcl", 0, asr, right)).assign(attack=attack, epoch=n)
        for attack, n, asr, right in course
    ]
    text = arena_objectives.answer(kept, pd.concat(epochs)).data
    assert "it was at an ASR of 60 % and an accuracy of 24 %." in text
