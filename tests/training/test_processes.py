"""Two gloo processes make the rows of one: uneven shares, a last batch, BatchNorm."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bdnb import sweep
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import datasets
from bdnb.runs import experiments
from bdnb.runs.records import Run, weights_of
from bdnb.runtime.command import command
from bdnb.train import train
from bdnb.training.loop import Loop

TIMES = ("seconds", "eval_seconds", "pairs_per_s")

# Batches of 31: shares of 16 and 15, and a last batch of 3. Adam's epsilon keeps weights whose
# gradient is nothing but rounding (biases of the attention's keys) from taking full steps.
SAME = {"batch_size": 31, "precision": "no", "eps": 1e-3}


def runs(processes: int) -> list[TrainConfig | CleanConfig]:
    base = experiments.trained("tiny", "train_mmcl_ssl", 0)
    train = dataclasses.replace(base, **SAME, processes=processes)
    first = experiments.of_file("tiny", "clean")[0]
    clean = dataclasses.replace(first, **SAME, epochs=1, processes=processes)
    clustered = dataclasses.replace(clean, defence="deep_cluster", options={"k": 4})
    vit = dataclasses.replace(train, model="vit_tiny32")
    siglip = dataclasses.replace(clean, poisoned="train_siglip")
    return [train, vit, clustered, dataclasses.replace(vit, micro_batch=8, seed=2), siglip]


def main(processes: int, **changes: str) -> None:
    """What the process that starts the others does."""
    made = [dataclasses.replace(config, **changes) for config in runs(processes)]
    sweep.Sweep(made[:1] if changes else made).run(needed=False)


def stop(processes: int) -> None:
    """What a command that is stopped does."""
    config = dataclasses.replace(runs(processes)[0], epochs=400, seed=1)
    with command("bdnb.sweep"):
        sweep.Sweep([config]).run(needed=False)


@pytest.fixture(scope="module")
def both(tiny_home, tmp_path_factory):
    """The folders of one process and of two; the poisoned model that is cleaned is the same."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for count in (1, 2):
            home = tmp_path_factory.mktemp(f"processes-{count}")
            shutil.copytree(tiny_home / "params", home / "params")
            text = (home / "params" / "tiny" / "train_mmcl.yaml").read_text()
            text = text.replace("experiment: train_mmcl", "experiment: train_siglip")
            text = text.replace("objective: mmcl", "objective: siglip")
            (home / "params" / "tiny" / "train_siglip.yaml").write_text(text)
            patch.setenv("BDNB_HOME", str(tiny_home))
            datasets.dataset("tiny").pairs("train", 32)
            sweep.run_one(experiments.trained("tiny", "train_mmcl", 0))
            patch.setenv("BDNB_HOME", str(home))
            (home / "data").symlink_to(tiny_home / "data")
            shutil.copytree(tiny_home / "runs", home / "runs")
            if count == 1:
                main(1)
            else:
                done = start(home, "main(2)")
                said = done.communicate(timeout=500)[0]
                assert done.returncode == 0, said[-3000:]
            found[count] = home
        yield found


def start(home: Path, call: str) -> subprocess.Popen[str]:
    code = f"from tests.training import test_processes as t; t.{call}"
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {"BDNB_HOME": str(home), "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def pair(both, monkeypatch, number: int) -> list[Run]:
    made = []
    for count in (1, 2):
        monkeypatch.setenv("BDNB_HOME", str(both[count]))
        made.append(Run(experiments.folder(runs(count)[number])))
    return made


@pytest.mark.parametrize(
    "number", range(5), ids=["resnet", "vit", "deep_cluster", "pieces", "cleaned after siglip"]
)
def test_two_processes_give_the_rows_and_weights_of_one_to_rounding(both, monkeypatch, number):
    one, two = pair(both, monkeypatch, number)
    assert two.manifest["device"].startswith("2 x ")
    assert [row["epoch"] for row in two.rows()] == [row["epoch"] for row in one.rows()]
    for single, double in zip(one.rows(), two.rows(), strict=True):
        assert single.keys() == double.keys()
        for name in single.keys() - set(TIMES):
            slack = 100 / 24 + 1e-6 if "a" in name and "loss" not in name else 1e-4
            assert double[name] == pytest.approx(single[name], abs=slack), name
    epoch = one.rows()[-1]["epoch"]
    wanted, found = (load_file(weights_of(run, epoch)) for run in (one, two))
    for name, weights in wanted.items():
        torch.testing.assert_close(found[name], weights, rtol=0, atol=2e-4, msg=name)


def test_each_process_with_statistics_of_its_own_is_another_model(both, monkeypatch):
    one, _ = pair(both, monkeypatch, 0)
    done = start(both[2], "main(2, batch_norm='own')")
    said = done.communicate(timeout=500)[0]
    assert done.returncode == 0, said[-3000:]
    monkeypatch.setenv("BDNB_HOME", str(both[2]))
    own = Run(experiments.folder(dataclasses.replace(runs(2)[0], batch_norm="own")))
    assert own.folder.name != one.folder.name
    assert abs(own.rows()[1]["loss_total"] - one.rows()[1]["loss_total"]) > 1e-3


def test_several_processes_that_are_stopped_leave_one_state_that_one_can_take_up(both, monkeypatch):
    home = both[2]
    monkeypatch.setenv("BDNB_HOME", str(home))
    config = dataclasses.replace(runs(2)[0], epochs=400, seed=1)
    process = start(home, "stop(2)")
    run = Run(experiments.folder(config))
    while len(run.rows()) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=500)[0]
    assert process.returncode == 143, said[-3000:]
    assert "the same command goes on from there" in said
    assert run.state.is_file()
    assert not run.finished
    begun = []
    real = Loop.descend

    def once(loop, *given):
        if begun:
            raise KeyboardInterrupt
        begun.append(loop.progress.step)
        return real(loop, *given)

    monkeypatch.setattr(Loop, "descend", once)
    with pytest.raises(KeyboardInterrupt):
        train(dataclasses.replace(config, processes=1))
    assert begun[0] >= 3
    rows = run.rows()
    assert [row["epoch"] for row in rows] == list(range(len(rows)))
