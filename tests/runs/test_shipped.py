import json

import pytest

from bdnb.runs import experiments, shipped
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError


def made_up(scale="tiny", names=("train_mmcl", "clean")):
    """Two finished runs' folders of made-up rows, and their experiments."""
    for name in names:
        for config in experiments.of_file(scale, name):
            run = Run(experiments.folder(config))
            run.start(stage=name.partition("_")[0], config=vars(config), device="cpu")
            run.append({"epoch": 0, "accuracy": 1.0, "asr": None})
            run.append({"epoch": 1, "accuracy": 50.0, "asr": 90.0})
            run.finish()


def test_shipped_rows_come_back_as_the_same_rows(fresh, tmp_path, monkeypatch):
    made_up()
    asked = experiments.of_file("tiny", "clean")
    rows = experiments.rows(asked)
    shipped.pack("tiny")
    shipped.unpack("tiny", tmp_path / "elsewhere")
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path / "elsewhere"))
    assert experiments.rows(asked).equals(rows)
    assert all(Run(experiments.folder(config)).finished for config in asked)


def test_only_experiments_with_all_their_runs_are_whole(fresh):
    made_up(names=("train_mmcl",))
    shipped.pack("tiny")
    assert shipped.whole("tiny") == ["train_mmcl"]
    assert shipped.scales() == ["tiny"]


def test_rows_of_a_scale_without_parameter_files_are_left_alone(fresh):
    made_up(names=("train_mmcl",))
    shipped.pack("tiny")
    shipped.folder("tiny").rename(shipped.folder("other"))
    assert shipped.scales() == []


def test_a_run_that_is_not_finished_is_not_shipped(fresh):
    made_up(names=("train_mmcl",))
    config = experiments.of_file("tiny", "clean")[0]
    Run(experiments.folder(config)).start(stage="clean", config=vars(config), device="cpu")
    shipped.pack("tiny")
    assert experiments.folder(config).name not in shipped.read("tiny")


def test_shipped_runs_stay_where_the_folder_is_gone_and_go_where_nobody_asks(fresh):
    made_up()
    shipped.pack("tiny")
    before = shipped.read("tiny")
    gone = experiments.folder(experiments.of_file("tiny", "train_mmcl")[0])
    (gone / "manifest.json").unlink()
    other = fresh / "params" / "tiny" / "clean.yaml"
    other.write_text(other.read_text() + "seed: 7\n")
    shipped.pack("tiny")
    assert list(shipped.read("tiny")) == [gone.name]
    assert shipped.read("tiny")[gone.name] == before[gone.name]
    assert not (shipped.folder("tiny") / "clean.jsonl").exists()


def test_a_file_that_would_be_too_large_is_split(fresh, monkeypatch):
    made_up()
    monkeypatch.setattr(shipped, "LARGEST", 100)
    files = [path.name for path in shipped.pack("tiny")]
    assert {"clean.jsonl", "clean-2.jsonl"} <= set(files)
    assert len(shipped.read("tiny")) == len(files)


def test_nothing_of_the_machine_is_shipped(fresh):
    made_up()
    for path in shipped.pack("tiny"):
        for line in path.read_text().splitlines():
            assert not {"command", "resumed"} & set(json.loads(line)["manifest"])
        assert str(fresh) not in path.read_text()


def test_a_line_that_cannot_be_read_is_named(fresh):
    made_up()
    path = shipped.pack("tiny")[0]
    path.write_text(path.read_text() + "{torn\n")
    with pytest.raises(ConfigError, match=rf"{path.name}, line \d.*pack tiny"):
        shipped.read("tiny")


def test_with_nothing_recorded_there_is_nothing_to_ship(fresh):
    with pytest.raises(ConfigError, match="no finished run to ship"):
        shipped.pack("tiny")
