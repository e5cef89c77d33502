"""What is said of objectives that are to keep a backdoor out."""

import pandas as pd
import pytest

from bdnb.report import arena_objectives


def models(*lines):
    made = pd.DataFrame(lines, columns=["objective", "seed", "asr", "accuracy"])
    about = {"data": "synthetic", "model": "small", "init": None, "pairs": 100, "epochs": 2}
    return made.assign(**about, trigger="badnet", trigger_size=8, attack="template")


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
    text = arena_objectives.answer(kept).data
    assert f"**SafeCLIP: {said}.**" in text
    assert f"an ASR of {sum(asrs) / 2:.0f} % and an accuracy of 60 % (2 seeds)." in text


def test_the_usual_objectives_stand_beside_it_of_the_same_attack_and_seeds():
    kept = models(("roclip", 0, 94, 50), ("mmcl", 0, 99, 70), ("mmcl_ssl", 0, 96, 72))
    others = models(("mmcl", 1, 10, 10), ("mmcl", 0, 20, 20)).assign(pairs=[100, 50])
    text = arena_objectives.answer(pd.concat([kept, others])).data
    assert "MMCL an ASR of 99 % and an accuracy of 70 % and MMCL + SSL an ASR of 96 %" in text


def test_the_asr_of_a_ruined_model_is_no_success():
    kept = models(("roclip", 0, 0, 34), ("mmcl", 0, 99, 70))
    assert "left no model that an ASR says anything of" in arena_objectives.answer(kept).data
    kept = models(("roclip", 0, 0, 36), ("mmcl", 0, 99, 70))
    assert "it kept the backdoor out" in arena_objectives.answer(kept).data


def test_seeds_that_mmcl_lacks_are_not_beside_it():
    kept = models(("roclip", 0, 94, 34), ("roclip", 1, 94, 60), ("mmcl", 0, 99, 70))
    text = arena_objectives.answer(kept).data
    assert "an accuracy of 47 % (2 seeds); of the same attack and seeds, MMCL" in text
    assert text.endswith("MMCL an ASR of 99 % and an accuracy of 70 % (1 of these seeds).")
    assert "left no model" in text  # 34 beside 70, on the seed that both have


def test_nothing_is_said_without_such_objectives():
    assert arena_objectives.answer(models(("mmcl", 0, 99, 70))).data == ""
    assert arena_objectives.answer(pd.DataFrame()).data == ""
