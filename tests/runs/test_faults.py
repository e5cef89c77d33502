"""Runs that are stopped, killed, or find no place to write: the same command finishes them."""

import dataclasses
import gc
import os
import re
import shutil
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
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import StorageError, append_line
from bdnb.train import train
from bdnb.training import setup, training_state
from bdnb.training.loop import Loop
from tests.lacking import leave_out

REPOSITORY = Path(__file__).parents[2]
TIMES = ("seconds", "eval_seconds", "pairs_per_s")


def config(**changes) -> TrainConfig:
    """A run that saves its state after every step."""
    base = experiments.trained("tiny", "train_mmcl_ssl", 0)
    return dataclasses.replace(base, save_every=0, **changes)


def result(made: TrainConfig) -> tuple[list[dict], list[bytes]]:
    """Rows without times, and the bytes of every checkpoint."""
    run = Run(experiments.folder(made))
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]
    return rows, [path.read_bytes() for path in sorted((run.folder / "checkpoints").iterdir())]


@pytest.fixture(scope="module")
def whole(tiny_home, tmp_path_factory):
    """What an undisturbed run leaves, in a project without the runs of other tests."""
    home = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny_home / "params", home / "params")
    (home / "data").symlink_to(tiny_home / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BDNB_HOME", str(home))
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


def stopped(which: signal.Signals) -> None:
    """Train under a command of the shell that the signal ends."""
    with pytest.raises(SystemExit) as ended, command("bdnb.train"):
        train(config())
    assert ended.value.code == 128 + which


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("place", "call", "step", "rows"),
    [((Loop, "descend"), 5, 4, 2), ((Loop, "descend"), 6, 5, 2), ((Benchmark, "measure"), 2, 3, 1)],
    ids=["mid-epoch", "last step", "evaluation"],
)
def test_a_signal_ends_a_command_at_once_and_the_same_command_goes_on_from_the_saved_state(
    fresh, whole, signalled, capsys, which, place, call, step, rows
):
    signalled(*place, call, which)
    stopped(which)
    run = Run(experiments.folder(config()))
    assert training_state.read_state(run.state)["progress"]["step"] == step
    assert [row["epoch"] for row in run.rows()] == list(range(rows))
    assert "the same command goes on from there" in capsys.readouterr().err
    train(config())
    assert result(config()) == whole
    assert not run.state.exists()


def test_signals_mean_what_they_did_once_a_command_is_over():
    before = [signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)]
    with command("bdnb.train"):
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert [signal.getsignal(which) for which in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize(("which", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_asked_to_stop_ends_with_the_signal_s_status_and_a_line(
    fresh, which, status
):
    path = fresh / "params" / "tiny" / "train_long.yaml"
    text = (path.parent / "train_mmcl.yaml").read_text()
    path.write_text(text.replace("train_mmcl", "train_long").replace("epochs: 2", "epochs: 500"))
    command = [sys.executable, "-m", "bdnb.train", "--params", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    run = Run(experiments.folder(experiments.trained("tiny", "train_long", 0)))
    while len(run.rows()) < 2 and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(which)
    said = process.communicate(timeout=500)[1]
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

    if not sys.platform.startswith("linux"):
        leave_out("mount", "tmpfs is Linux's")
    try:
        mount("-t", "tmpfs", "-o", "size=100m", "tmpfs")
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode()
        if not re.search("permi|superuser", said):  # anything else is the test's own mistake
            raise
        leave_out("mount", f"a file system of its own cannot be mounted here (needs root): {said}")

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
    stopped(signal.SIGTERM)
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
        def check_finite(self):
            pass

        def save(self, path):
            saved["times"] += 1
            clock[0] += 10.0

    monkeypatch.setattr(fit.time, "perf_counter", lambda: clock[0])
    save = fit.Saver(Slow(), Path("state.pt"), 1.0)  # type: ignore[arg-type]
    while clock[0] < 5000:
        clock[0] += 1.0
        save()
    assert 9 <= saved["times"] <= 11
