"""What makes training fast, or shows it elsewhere, is a parameter each and changes no more."""

import dataclasses
import gc
import weakref

import pytest
import torch
from accelerate import tracking

from bdnb import models
from bdnb.config.recipes import TrainConfig
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.train import train
from bdnb.training import device
from bdnb.training.loop import Compute, Loop
from bdnb.training.optimiser import Optimiser

TIMES = ("seconds", "eval_seconds", "pairs_per_s")


def config(**changes) -> TrainConfig:
    return dataclasses.replace(experiments.trained("tiny", "train_mmcl", 0), **changes)


def loop(compute: Compute | None = None, *, precision: str = "auto", fused: bool = True) -> Loop:
    return Loop(
        models.build("rn_test", seed=0),
        device.accelerator(precision=precision),
        optimiser=Optimiser(lr=1e-3, fused=fused),
        compute=compute or Compute(),
        epochs=1,
        epoch_steps=5,
    )


def test_ways_of_computing_belong_to_a_run_s_identity_once_they_are_set():
    same = {"pinned": False, "save_every": 5.0, "log_with": "tensorboard", "processes": 8}
    default = experiments.folder(TrainConfig())
    assert experiments.folder(TrainConfig(**same)) == default
    ways = {"tf32": False, "channels_last": False, "fused": False, "compile": "default"}
    ways["kernels"] = "small"
    for name, value in (ways | {"micro_batch": 8, "batch_norm": "own"}).items():
        assert experiments.folder(TrainConfig(**{name: value})) != default


@pytest.mark.parametrize("way", [{"channels_last": False}, {"fused": False}, {"kernels": "small"}])
def test_a_way_of_computing_changes_rows_by_rounding_alone(fresh, way):
    plain, other = (train(config(eps=1e-3, precision="no", **more)).rows() for more in ({}, way))
    for one, two in zip(plain[1:], other[1:], strict=True):
        for name in ("loss_total", "logit_scale"):
            assert two[name] == pytest.approx(one[name], rel=1e-4)


def test_runs_of_one_process_have_each_their_own_precision(fresh):
    for seed, (precision, said) in enumerate([("bf16", "bf16"), ("no", "fp32"), ("bf16", "bf16")]):
        run = train(config(precision=precision, seed=seed, epochs=1))
        assert run.manifest["device"].endswith(said)


def test_a_model_in_bf16_is_gone_when_the_next_run_begins():
    def ready():
        return weakref.ref(loop(precision="bf16").model)

    gc.disable()
    try:
        before = ready()
        assert before() is not None, "no circle: nothing to collect any more"
        device.accelerator(precision="bf16")
        assert before() is None
    finally:
        gc.enable()


def test_the_ways_are_taken():
    for on in (True, False):
        made = loop(Compute(channels_last=on), fused=on)
        model = made.model
        kernel = model.clip.visual.layer1[0].conv2.weight
        assert kernel.is_contiguous(memory_format=torch.channels_last) == on
        assert model.layout == (torch.channels_last if on else torch.contiguous_format)
        assert made.optimizer.param_groups[0]["fused"] == on


def test_the_model_is_compiled_as_the_parameter_says(monkeypatch):
    """That it then trains as before was tried by hand: compiling takes minutes of a CPU."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: asked.append(mode) or model)
    for mode in ("off", "default", "max-autotune"):
        loop(Compute(compile=mode))
    assert asked == ["default", "max-autotune"]


def test_rows_go_to_tensorboard_as_well_when_asked(fresh):
    from tensorboard.backend.event_processing import event_accumulator as reading

    run = train(config(log_with="tensorboard"))
    assert run.folder == Run(experiments.folder(config())).folder
    (events,) = run.folder.rglob("events.out.tfevents.*")
    seen = reading.EventAccumulator(str(events.parent))
    seen.Reload()
    for name in ("accuracy", "asr", "loss_total"):
        wanted = {row["epoch"]: row[name] for row in run.rows() if name in row}
        found = {event.step: event.value for event in seen.Scalars(name)}
        assert found == pytest.approx(wanted)


def test_nothing_is_tracked_unless_asked(fresh):
    assert not list(train(config(epochs=1)).folder.rglob("events*"))


def test_a_tracker_that_is_not_installed_is_named_before_any_work(fresh, monkeypatch):
    monkeypatch.setattr(tracking, "_available_trackers", [])
    with pytest.raises(ConfigError, match=r"log_with='trackio': not installed: pip install tracki"):
        train(config(log_with="trackio"))
    assert not experiments.folder(config()).exists()
