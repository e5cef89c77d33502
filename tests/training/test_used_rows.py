"""Runs whose token embedding is trained in its used rows alone are those with the whole table."""

import dataclasses

import pytest
import torch
from safetensors.torch import load_file

from bdnb import sweep
from bdnb.runs import experiments
from bdnb.runs.records import Run, weights_of
from bdnb.training import loop as loops
from bdnb.training import setup
from bdnb.training.training_state import read_state

TIMES = ("seconds", "eval_seconds", "pairs_per_s")
EMBEDDING = "token_embedding.weight"


def runs(**changes):
    """Pre-training with second views; CleanCLIP, a fresh model and a penalty that sees all rows."""
    base = experiments.trained("tiny", "train_mmcl_ssl", 0)
    # An epsilon that keeps weights whose gradient is nothing but rounding from taking full steps.
    same = {"precision": "no", "eps": 1e-3, "checkpoints": "last"} | changes
    train = dataclasses.replace(base, **same, init="", keep="last", keep_like="")
    first = dataclasses.replace(experiments.of_file("tiny", "clean")[0], **same, epochs=1)
    penalty = {"defence": "heavy_regularisation", "options": {}}
    return [
        train,
        first,
        dataclasses.replace(first, defence="retrain"),
        dataclasses.replace(first, **penalty),
    ]


def values(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]


def made(config) -> tuple[list[dict], dict[str, torch.Tensor]]:
    run = sweep.run_one(config)
    return values(run), load_file(weights_of(run, run.rows()[-1]["epoch"]))


@pytest.mark.parametrize("number", range(4), ids=["train", "cleanclip", "retrain", "penalty"])
def test_rows_and_weights_are_those_of_the_whole_table(fresh, monkeypatch, tmp_path, number):
    seen = []
    real = loops.used_tokens.used_alone

    def watched(clip, used):
        seen.append(real(clip, used))
        return seen[-1]

    monkeypatch.setattr(loops.used_tokens, "used_alone", watched)
    config = runs()[number]
    rows, weights = made(config)
    assert (seen[-1] is None) == (number == 3)
    monkeypatch.setattr(setup, "used_tokens", lambda *args, **named: None)
    experiments.folder(config).rename(tmp_path / "elsewhere")
    whole_rows, whole = made(config)
    assert seen[-1] is None
    for row, wanted in zip(rows, whole_rows, strict=True):
        assert row == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert weights.keys() == whole.keys()
    for name, value in whole.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_run_that_is_cut_goes_on_to_the_same_bits_from_a_state_of_the_whole_table(
    fresh, monkeypatch, tmp_path
):
    config = dataclasses.replace(runs(save_every=0.0)[0], epochs=2)
    rows, weights = made(config)
    folder = experiments.folder(config)
    folder.rename(tmp_path / "elsewhere")
    real = loops.Loop.descend

    def cut(loop, *given):
        if loop.progress.step == 3:
            raise KeyboardInterrupt
        return real(loop, *given)

    monkeypatch.setattr(loops.Loop, "descend", cut)
    with pytest.raises(KeyboardInterrupt):
        sweep.run_one(config)
    state = read_state(folder / "state.pt")
    assert len(state["weights"]["0.clip." + EMBEDDING]) == len(weights[EMBEDDING])
    shapes = [v["exp_avg"].shape for v in state["optimizer"]["state"].values()]
    assert weights[EMBEDDING].shape in shapes
    monkeypatch.setattr(loops.Loop, "descend", real)
    again, same = made(config)
    assert again == rows
    assert all(torch.equal(same[name], value) for name, value in weights.items())


def test_every_token_of_views_and_prompts_is_among_the_used_ones(tiny):
    """A token outside them is refused, so that an epoch with second views shows it."""
    config = dataclasses.replace(runs()[0], epochs=4, text_views="fresh", seed=5)
    assert sweep.run_one(config).finished
