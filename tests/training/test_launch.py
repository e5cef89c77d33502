"""What a run needs is made before it, each on as many processes as its own parameters say."""

import subprocess
import sys

import pytest

from bdnb import clean, train
from bdnb.runs import experiments
from bdnb.runs.records import Run, read_runs
from bdnb.runtime.command import RunError, logged
from bdnb.runtime.errors import ConfigError
from bdnb.training import launch
from bdnb.training.loop import Loop


def test_what_a_cleaning_run_needs_is_made_first_on_processes_of_its_own(fresh, monkeypatch):
    for name, count in (("train_mmcl", 3), ("train_mmcl_ssl", 2)):
        path = fresh / "params" / "tiny" / f"{name}.yaml"
        path.write_text(path.read_text() + f"processes: {count}\n")
    asked = []

    def here(count, work, config, makers):
        asked.append((config.experiment, count))
        makers[type(config)](config, Run(experiments.folder(config)))

    monkeypatch.setattr(launch, "on_processes", here)
    (config,) = [c for c in experiments.of_file("tiny", "clean") if c.poisoned == "train_mmcl_ssl"]
    assert clean.clean(config).finished
    assert sorted(asked) == [("train_mmcl", 3), ("train_mmcl_ssl", 2)]


PARAMS = {"train": "params/tiny/train_mmcl.yaml", "clean": "params/tiny/clean.yaml"}


@pytest.mark.parametrize("stage", [train, clean], ids=["train", "clean"])
def test_a_crash_of_one_run_is_a_line_with_the_path_of_its_traceback(
    fresh, monkeypatch, capsys, stage
):
    """A cleaning run's here is that of the training run that it needs first."""

    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no luck,\nand more of it" + "!" * 999)

    monkeypatch.setattr(Loop, "descend", crash)
    path = str(fresh / PARAMS[stage.__name__.rpartition(".")[2]])
    monkeypatch.setattr("sys.argv", [stage.__name__, "--params", path])
    with pytest.raises(SystemExit) as end:
        stage.main()
    assert end.value.code == 1
    log = experiments.folder(experiments.trained("tiny", "train_mmcl", 0)) / "error.log"
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1
    assert said[0].startswith("error: ZeroDivisionError: no luck, and more of it!")
    assert said[0].endswith(f"(traceback: {log})")
    assert len(said[0]) < 500
    assert "in crash" in log.read_text()
    assert [path.parent for path in (fresh / "runs").glob("*/error.log")] == [log.parent]


def test_a_crash_before_a_run_has_a_folder_is_logged_in_it_all_the_same(fresh, monkeypatch):
    config = experiments.trained("tiny", "train_mmcl", 0)
    monkeypatch.setattr(train, "accelerator_of", None)
    with pytest.raises(RunError, match=r"TypeError: .*error\.log\)"):
        train.train(config)
    assert "TypeError" in (experiments.folder(config) / "error.log").read_text()
    assert not read_runs(fresh / "runs").size


def test_an_expected_error_is_told_as_it_is_and_makes_no_folder(fresh, monkeypatch):
    config = experiments.trained("tiny", "train_mmcl", 0)

    def refuse(*_: object) -> None:
        raise ConfigError("not so")

    monkeypatch.setattr(train, "accelerator_of", refuse)
    with pytest.raises(ConfigError, match=r"^not so$"):
        train.train(config)
    assert not experiments.folder(config).exists()


def test_where_no_log_can_be_written_the_error_itself_is_raised(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ZeroDivisionError), logged(tmp_path / "file" / "run"):
        raise ZeroDivisionError


def test_a_crash_in_one_of_several_processes_is_a_line_too(fresh):
    code = """
import dataclasses
from bdnb import train
from bdnb.runs import experiments
from bdnb.runtime.command import command
from bdnb.training.loop import Loop

def crash(*_, **__):
    raise ZeroDivisionError("no luck")

Loop.descend = crash
with command("bdnb.train"):
    train.train(dataclasses.replace(experiments.trained("tiny", "train_mmcl", 0), processes=2))
"""
    given = {"capture_output": True, "text": True, "check": False}
    done = subprocess.run([sys.executable, "-c", code], **given)  # type: ignore[call-overload]
    log = experiments.folder(experiments.trained("tiny", "train_mmcl", 0)) / "error.log"
    assert done.returncode == 1
    assert f"error: ZeroDivisionError: no luck (traceback: {log})" in done.stderr
    assert "Traceback" not in done.stderr
    assert "in crash" in log.read_text()


def test_what_a_run_needs_is_said_in_order_and_made_once(fresh, capsys):
    (chosen,) = [c for c in experiments.of_file("tiny", "ablations_shrink_perturb") if c.pick]
    needed = experiments.before(chosen)
    assert [c.experiment for c in needed] == ["train_mmcl", *["ablations_shrink_perturb"] * 2]
    clean.clean(chosen)
    assert all(Run(experiments.folder(c)).finished for c in needed)
    said = capsys.readouterr().out
    assert said.count("train_mmcl is not there yet: making it first") == 1
    clean.clean(chosen)
    assert "not there yet" not in capsys.readouterr().out
