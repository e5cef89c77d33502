import errno
import json
import shutil
from pathlib import Path

import pytest

from bdnb.runs.records import RecordError, Run, finished, read_runs
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


def test_a_finished_run_lacks_nothing_on_a_disk_that_is_read_only(run, monkeypatch):
    def refuse(*_: object, **__: object) -> None:  # Linux does so for a file that is not there, too
        raise OSError(errno.EROFS, "Read-only file system")

    run.finish()
    monkeypatch.setattr(Path, "unlink", refuse)
    run.settle()


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


def garble(run, line):
    path = run.folder / "rows.jsonl"
    path.write_text("".join([*path.read_text().splitlines(keepends=True)[:1], line + "\n"]))


def test_one_damaged_run_is_named_and_the_others_are_read(run):
    other = Run(run.folder.with_name("train-y"))
    other.start(stage="train", config={"lr": 1}, device="cpu")
    for made in (run, other):
        made.append({"epoch": 0})
        made.append({"epoch": 1})
    for line in ('{"epoch": 1, "accu', "[1, 2]"):
        garble(other, line)
        with pytest.warns(
            UserWarning, match=r"1 of 2 runs left out\. .*train-y/rows.jsonl, line 2"
        ):
            rows = read_runs(run.folder.parent)
        assert set(rows["run"]) == {"train-x"}
        assert list(rows.attrs["left_out"]) == ["train-y"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"run": 1'])
def test_a_damaged_manifest_is_named(run, text):
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(RecordError, match=r"train-x/manifest\.json: damaged .*: restore that file"):
        _ = run.finished
    with pytest.warns(UserWarning, match=r"train-x/manifest\.json: damaged"):
        assert not finished(run.folder)


def test_a_finished_run_knows_its_rows(run):
    for epoch in range(3):
        run.append({"epoch": epoch, "text": "é"})
    run.finish()
    path = run.folder / "rows.jsonl"
    whole = path.read_bytes()
    assert Run(run.folder).finished
    for left in (whole[:-5], whole[: whole.index(b"\n") + 1], b"", whole.replace(b"1", b"7", 1)):
        path.write_bytes(left)
        with pytest.raises(RecordError, match=r"rows\.jsonl: .* recorded: .*remove train-x/ and"):
            _ = Run(run.folder).finished
        with pytest.raises(RecordError, match=r"rows\.jsonl"):
            run.rows()


def test_a_manifest_that_says_nothing_of_its_rows_is_read_as_before(run):
    run.append({"epoch": 0})
    run.note(finished="2026-01-01T00:00:00+00:00")
    assert Run(run.folder).finished
    assert len(read_runs(str(run.folder))) == 1


def test_a_copied_run_is_read_once(run):
    run.append({"epoch": 0})
    shutil.copytree(run.folder, run.folder.with_name("a-copy"))
    with pytest.warns(
        UserWarning, match=r"1 of 2 runs left out\. .*a-copy: a copy of the run train-x"
    ):
        assert len(read_runs(run.folder.parent)) == 1
    shutil.rmtree(run.folder)
    assert len(read_runs(run.folder.parent)) == 1  # a run that was only given another name


def test_a_folder_of_runs_may_be_named_as_text_but_must_be_there(run, monkeypatch):
    run.append({"epoch": 0})
    monkeypatch.chdir(run.folder.parents[1])
    assert len(read_runs("runs")) == 1
    with pytest.raises(ConfigError, match="nosuch: no such folder"):
        read_runs("nosuch")
