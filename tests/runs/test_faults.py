"""Runs that are stopped, killed, or find no place to write: the same command finishes them."""

import dataclasses
import gc
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch

from bdnb.config.recipes import TrainConfig
from bdnb.evaluate.benchmark import Benchmark
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime import interrupts
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import StorageError, append_line
from bdnb.train import train
from bdnb.training import setup, training_state
from bdnb.training.loop import Loop

REPOSITORY = Path(__file__).parents[2]
TIMES = ("seconds", "eval_seconds", "pairs_per_s")


def config(**changes) -> TrainConfig:
    return dataclasses.replace(experiments.trained("tiny", "train_mmcl_ssl", 0), **changes)


def result(made: TrainConfig) -> tuple[list[dict], list[bytes]]:
    """Rows without times, and the bytes of every checkpoint."""
    run = Run(experiments.folder(made))
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]
    return rows, [path.read_bytes() for path in sorted((run.folder / "checkpoints").iterdir())]


@pytest.fixture(scope="module")
def whole(tiny_home):
    """What an undisturbed run leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BDNB_HOME", str(tiny_home))
        train(config())
        return result(config())


@pytest.fixture
def signalled(monkeypatch):
    """Have a method's nth call send this process a signal."""

    def at(cls: type, name: str, call: int, which: signal.Signals) -> None:
        real, seen = getattr(cls, name), []

        def sending(*given, **named):
            seen.append(1)
            if len(seen) == call:
                os.kill(os.getpid(), which)
            return real(*given, **named)

        monkeypatch.setattr(cls, name, sending)

    return at


@pytest.mark.parametrize(
    ("which", "error"),
    [(signal.SIGTERM, interrupts.Stopped), (signal.SIGINT, KeyboardInterrupt)],
)
def test_a_signal_in_mid_epoch_saves_that_step_and_the_run_goes_on_from_it(
    fresh, whole, signalled, capsys, which, error
):
    signalled(Loop, "descend", 5, which)
    with pytest.raises(error):
        train(config())
    run = Run(experiments.folder(config()))
    progress = training_state.read_state(run.state)["progress"]
    assert (progress["epoch"], progress["step"], progress["taken"]) == (1, 5, 2)
    assert "the same command goes on from there" in capsys.readouterr().err
    train(config())
    assert result(config()) == whole
    assert not run.state.exists()


def test_a_signal_in_the_last_step_leaves_a_state_although_no_epoch_follows(
    fresh, whole, signalled
):
    signalled(Loop, "descend", 6, signal.SIGTERM)
    with pytest.raises(interrupts.Stopped):
        train(config())
    run = Run(experiments.folder(config()))
    assert [row["epoch"] for row in run.rows()] == [0, 1]
    assert training_state.read_state(run.state)["progress"]["step"] == 6
    train(config())
    assert result(config()) == whole


def test_a_signal_during_evaluation_stops_at_once_and_loses_no_step(fresh, whole, signalled):
    signalled(Benchmark, "measure", 2, signal.SIGTERM)
    with pytest.raises(interrupts.Stopped):
        train(config())
    run = Run(experiments.folder(config()))
    assert [row["epoch"] for row in run.rows()] == [0]
    assert training_state.read_state(run.state)["progress"]["step"] == 3
    train(config())
    assert result(config()) == whole


def test_signals_mean_what_they_did_once_a_run_is_over(fresh):
    before = [signal.getsignal(which) for which in interrupts.SIGNALS]
    train(config(epochs=1))
    assert [signal.getsignal(which) for which in interrupts.SIGNALS] == before


@pytest.mark.parametrize(("which", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_stop_saves_and_ends_within_half_a_minute(fresh, which, status):
    path = fresh / "params" / "tiny" / "train_long.yaml"
    text = (path.parent / "train_mmcl.yaml").read_text()
    path.write_text(text.replace("train_mmcl", "train_long").replace("epochs: 2", "epochs: 500"))
    command = [sys.executable, "-m", "bdnb.train", "--params", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    run = Run(experiments.folder(experiments.trained("tiny", "train_long", 0)))
    while len(run.rows()) < 2 and process.poll() is None:
        time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(which)
    said = process.communicate(timeout=60)[1]
    assert time.monotonic() - begun < 30
    assert process.returncode == status, said
    assert "the same command goes on from there" in said
    assert "Traceback" not in said
    assert run.state.is_file()
    assert not run.finished


def test_kills_at_random_moments_change_nothing(tmp_path):
    """A few of ``python -m tests.soak.kill``, which is for longer."""
    command = [sys.executable, "-m", "tests.soak.kill", "--kills", "4", "--seed", "1"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "every result as if there had been none" in done.stdout


@pytest.fixture
def disk(fresh, tmp_path):
    """``runs/`` on a file system of its own: a function that changes how it is mounted."""
    runs = fresh / "runs"
    runs.mkdir()

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, str(runs)], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", "size=100m", "tmpfs")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a file system of its own cannot be mounted here (needs root): {error}")

    def remount(options: str) -> None:
        gc.collect()  # a traceback may still hold a file open, and a busy disk cannot be remounted
        mount("-o", f"remount,{options}")

    yield remount
    gc.collect()
    subprocess.run(["umount", str(runs)], check=True)


def test_a_full_disk_is_named_and_what_is_recorded_stays(disk, whole):
    run = Run(experiments.folder(config()))
    need = sum(map(len, whole[1])) * 3 // 2  # a checkpoint fits, not the states and all of them
    disk(f"size={need}")
    with pytest.raises(StorageError, match=rf"{run.folder}.*the disk is full: free some space"):
        train(config())
    rows = run.rows()
    assert rows
    assert not list(run.folder.rglob(".*.part"))
    disk("size=100m")
    train(config())
    assert result(config()) == whole
    assert run.rows()[: len(rows)] == rows


def test_a_read_only_folder_is_named_and_what_is_recorded_stays(disk, whole, signalled):
    signalled(Loop, "descend", 5, signal.SIGTERM)
    with pytest.raises(interrupts.Stopped):
        train(config())
    disk("ro")
    with pytest.raises(StorageError, match=r"train-mmcl_ssl.*: that file system is read-only"):
        train(config())
    disk("rw")
    train(config())
    assert result(config()) == whole


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(disk, fresh):
    path = fresh / "runs" / "rows.jsonl"
    disk("size=64k")
    append_line(path, b"whole\n")
    with pytest.raises(StorageError, match=r"rows\.jsonl: the disk is full"):
        append_line(path, b"x" * 100_000 + b"\n")
    assert path.read_bytes() == b"whole\n"


def test_what_a_killed_process_left_half_written_is_removed(fresh):
    run = Run(experiments.folder(config()))
    left = run.folder / "checkpoints" / ".epoch_001.safetensors.1.part"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    with setup.alone(run):
        assert not left.exists()


def test_a_state_of_another_run_is_refused_with_what_to_do(fresh):
    run = Run(experiments.folder(config()))
    run.folder.mkdir(parents=True)
    torch.save({"weights": {}}, run.state)
    with pytest.raises(ConfigError, match=r"state\.pt: not the state of this run.*remove it"):
        train(config())


def test_saving_often_takes_a_fiftieth_of_the_time_at_most(monkeypatch):
    from bdnb.training import fit

    clock, saved = [0.0], Counter()

    class Slow:
        config = TrainConfig(save_every=1.0)

        def check_finite(self):
            pass

        def save(self, path):
            saved["times"] += 1
            clock[0] += 10.0

    monkeypatch.setattr(fit.time, "perf_counter", lambda: clock[0])
    save = fit.Saver(Slow(), Path("state.pt"))  # type: ignore[arg-type]
    while clock[0] < 5000:
        clock[0] += 1.0
        save()
    assert 9 <= saved["times"] <= 11
