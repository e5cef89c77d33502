import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from bdnb.runs import experiments, results, shipped
from bdnb.runs.records import Run, runs_folder
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import StorageError


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
    rows = results.rows(asked)
    shipped.pack("tiny")
    shipped.unpack("tiny", tmp_path / "elsewhere")
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path / "elsewhere"))
    assert results.rows(asked).equals(rows)
    assert all(Run(experiments.folder(config)).finished for config in asked)


REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("scale", ["laptop", "search", "authors"])
def test_rows_shipped_before_files_and_machine_counted_are_found_by_their_pages(
    scale, tmp_path, monkeypatch
):
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    shipped.unpack(scale, tmp_path)
    found = shipped.read(scale)
    asked = experiments.of_scale(scale)
    for path in shipped.folder(scale).glob("*.jsonl"):
        there = [json.loads(line) for line in path.read_text().splitlines()]
        lines = [one["manifest"]["run"] for one in there]
        name = re.sub(r"-\d+$", "", path.stem)
        shipped_as = {one.get("asked") or one["manifest"]["run"] for one in there}
        assert shipped_as <= {shipped.shipped_name(config) for config in asked[name]}
        assert {*lines} <= set(results.rows(asked[name])["run"])
    rows = [row for one in found.values() for row in one["rows"]]
    images = [row.get("test_images", shipped.TEST_IMAGES[scale]) for row in rows]
    hits = [row["accuracy"] * n / 100 for row, n in zip(rows, images, strict=True)]
    assert hits == pytest.approx([round(one) for one in hits], abs=1e-6)


def test_shipped_rows_are_found_on_a_machine_of_another_precision(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("BDNB_PRECISION", "bf16")
    made_up()
    shipped.pack("tiny")
    monkeypatch.setenv("BDNB_PRECISION", "no")
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path / "elsewhere"))
    assert results.rows(experiments.of_file("tiny", "clean")).empty
    shipped.unpack("tiny", tmp_path / "elsewhere")
    assert len(results.rows(experiments.of_file("tiny", "clean"))) == 4


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
    assert shipped.shipped_name(config) not in shipped.read("tiny")


def test_shipped_runs_stay_where_the_folder_is_gone_and_go_where_nobody_asks(fresh):
    made_up()
    shipped.pack("tiny")
    before = shipped.read("tiny")
    gone = experiments.folder(experiments.of_file("tiny", "train_mmcl")[0])
    (gone / "manifest.json").unlink()
    other = fresh / "params" / "tiny" / "clean.yaml"
    other.write_text(other.read_text() + "seed: 7\n")
    shipped.pack("tiny")
    (name,) = shipped.read("tiny")
    assert shipped.read("tiny")[name] == before[name]
    assert before[name]["manifest"]["run"] == gone.name
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
    with pytest.raises(ConfigError, match=rf"{path.name}, line \d.*take the line out.*pack tiny"):
        shipped.pack("tiny")
    path.write_text(path.read_text().replace("{torn\n", ""))
    shipped.pack("tiny")


def test_packing_on_a_full_disk_loses_no_shipped_run(fresh, monkeypatch):
    made_up()
    monkeypatch.setattr(shipped, "LARGEST", 100)
    shipped.pack("tiny")
    before = shipped.read("tiny")
    shutil.rmtree(runs_folder())
    monkeypatch.setattr(shipped, "LARGEST", 900_000)  # clean-2.jsonl goes, its run to clean.jsonl

    def full(path, _):
        raise StorageError(f"{path}: the disk is full")

    with monkeypatch.context() as cut:
        cut.setattr(shipped, "write_atomic", full)
        with pytest.raises(StorageError):
            shipped.pack("tiny")
    assert shipped.read("tiny") == before
    shipped.pack("tiny")
    assert shipped.read("tiny") == before


def test_a_line_separator_in_a_text_ends_no_line(fresh):
    (config,) = experiments.of_file("tiny", "train_mmcl")
    run = Run(experiments.folder(config))
    run.start(stage="train", config=vars(config) | {"target": "a\u2028b\x85c"}, device="cpu")
    run.finish()
    shipped.pack("tiny")
    (one,) = shipped.read("tiny").values()
    assert one["manifest"]["config"]["target"] == "a\u2028b\x85c"


def test_packing_says_which_rows_took_the_place_of_shipped_ones(fresh, monkeypatch, capsys):
    made_up()
    shipped.pack("tiny")
    shutil.rmtree(experiments.folder(experiments.of_file("tiny", "clean")[0]))
    (again,) = experiments.of_file("tiny", "train_mmcl")
    shutil.rmtree(experiments.folder(again))
    run = Run(experiments.folder(again))
    run.start(stage="train", config=vars(again), device="cpu")
    run.append({"epoch": 0, "accuracy": 2.0, "asr": None})
    run.finish()
    monkeypatch.setattr("sys.argv", ["shipped", "pack", "tiny"])
    shipped.main()
    assert "of 3 shipped before, 1 have other rows, those recorded here" in capsys.readouterr().out


def test_with_nothing_recorded_there_is_nothing_to_ship(fresh):
    with pytest.raises(ConfigError, match="no finished run to ship"):
        shipped.pack("tiny")


def test_rows_that_say_their_test_images_are_unpacked_byte_for_byte(fresh, monkeypatch):
    """A finished run's manifest holds its rows to a checksum."""
    monkeypatch.setitem(shipped.TEST_IMAGES, "tiny", 24)
    config = experiments.of_file("tiny", "train_mmcl")[0]
    run = Run(experiments.folder(config))
    run.start(stage="train", config=dataclasses.asdict(config), device="cpu")
    run.append({"epoch": 0, "test_images": 24, "accuracy": 1.5, "asr": 2.0})
    run.finish()
    before = (run.folder / "rows.jsonl").read_bytes()
    shipped.pack("tiny")
    (folder,) = shipped.unpack("tiny", fresh / "unpacked")
    assert (folder / "rows.jsonl").read_bytes() == before
    assert Run(folder).finished


def test_rows_are_those_recorded_here_and_for_the_rest_those_shipped(fresh):
    made_up(names=("train_mmcl", "train_mmcl_ssl", "clean"))
    shipped.pack("tiny")
    first, second = (experiments.folder(one) for one in experiments.of_file("tiny", "clean"))
    shutil.rmtree(second)
    train, clean = shipped.rows_anywhere("tiny")
    assert clean.groupby("run")["source"].first().to_dict() == {
        first.name: "here",
        second.name: "shipped",
    }
    assert set(train["source"]) == {"here"}
    assert not second.exists()  # reading puts nothing among the runs


def test_without_shipped_rows_there_are_those_here_and_without_any_none(fresh):
    made_up(names=("train_mmcl",))
    train, clean = shipped.rows_anywhere("tiny")
    assert len(train) == 2
    assert clean.empty


def test_a_scale_that_is_only_shipped_is_read_whole_and_runs_are_where_they_were(fresh):
    made_up()
    where, before = runs_folder(), shipped.rows_anywhere("tiny")
    shipped.pack("tiny")
    shutil.rmtree(where)
    found = shipped.rows_anywhere("tiny")
    for mine, own in zip(found, before, strict=True):
        assert mine.drop(columns="source").equals(own.drop(columns="source"))
    assert runs_folder() == where
