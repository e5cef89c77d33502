import json

import pytest

from bdnb.runs.records import Run, read_runs
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import replacing, write_atomic


@pytest.fixture
def run(tmp_path):
    made = Run(tmp_path / "runs" / "train-x")
    made.start(stage="train", config={"lr": 0.1, "options": {"k": 1}}, device="cpu", about={"n": 2})
    return made


def test_rows_come_back_in_order_with_the_parameters_as_columns(run):
    for epoch in range(3):
        run.append({"epoch": epoch, "accuracy": 10.0 * epoch})
    rows = read_runs(run.folder.parent)
    assert rows["epoch"].tolist() == [0, 1, 2]
    assert set(rows["run"]) == {"train-x"}
    assert rows["lr"].tolist() == [0.1] * 3
    assert rows["n"].tolist() == [2] * 3


def test_what_a_kill_at_the_very_end_left_is_tidied_up(run):
    run.finish()
    (run.folder / "finished").unlink()
    part = run.folder / ".finished.12345.part"
    part.write_text("2026")
    run.settle()
    assert (run.folder / "finished").is_file()
    assert not part.exists()


def test_a_value_of_a_row_may_not_hide_a_parameter(run):
    run.append({"epoch": 0, "lr": 3.0})
    with pytest.raises(ConfigError, match="share the names lr"):
        read_runs(run.folder.parent)


def test_the_manifest_says_what_ran_where(run):
    manifest = json.loads((run.folder / "manifest.json").read_text())
    assert manifest["config"]["lr"] == 0.1
    assert manifest["device"] == "cpu"
    assert {"python", "torch"} <= set(manifest["versions"])
    assert manifest["commit"]
    assert manifest["started"]


def test_a_torn_last_row_is_cut_off_and_reported(run, capsys):
    run.append({"epoch": 0})
    with (run.folder / "rows.jsonl").open("ab") as file:
        file.write(b'{"epoch": 1, "accu')
    assert run.rows() == [{"epoch": 0}]
    run.start(stage="train", config={}, device="cpu")
    assert "torn last row" in capsys.readouterr().out
    run.append({"epoch": 1})
    assert run.rows() == [{"epoch": 0}, {"epoch": 1}]


def test_a_run_taken_up_again_keeps_its_first_manifest(run):
    first = run.manifest
    run.start(stage="train", config={"lr": 9}, device="elsewhere")
    assert run.manifest["config"] == first["config"]
    assert [r["device"] for r in run.manifest["resumed"]] == ["elsewhere"]


def test_only_a_finished_run_is_finished(run):
    assert not run.finished
    run.finish()
    assert run.finished
    assert run.manifest["finished"]


def test_a_value_that_is_not_finite_is_written_as_null(run):
    run.append({"epoch": 0, "loss": float("nan")})
    assert run.rows() == [{"epoch": 0, "loss": None}]


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"manifest\.json is missing"):
        read_runs([tmp_path])


def test_a_write_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fill_the_disk():
        with replacing(path) as beside:
            beside.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
