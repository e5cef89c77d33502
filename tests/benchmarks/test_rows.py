"""The benchmarks' commands on the smallest case: they write rows that the page on speed reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from tests.benchmarks import cases, command, growth, measure, report, rows, run

REPOSITORY = Path(__file__).parents[2]
SMOKE = ["--model", "smoke", "--device", "cpu", "--repeats", "1"]


class Here:
    """A way in this process: the same answers as a child's, sooner."""

    def __init__(self, arguments):
        AcceleratorState._reset_state(True)
        given = run.arguments(arguments)
        home = Path(os.environ["BDNB_HOME"])
        self.bench = command.make_ready(given, home)
        self.work = rows.WORK[given.child](self.bench)[given.way]()

    def answer(self):
        return 0.0

    def ask(self, what):
        if what == "peak":
            return float(measure.peak_bytes(self.bench.device))
        if what == "flops":
            return measure.flops(self.work)
        return measure.timed(self.work, self.bench.device)

    def close(self):
        pass


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Where rows go; the ways are taken in this process."""
    monkeypatch.setenv("BDNB_HOME", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(measure, "Child", Here)
    yield tmp_path / "rows.jsonl"
    AcceleratorState._reset_state(True)


def test_the_table_is_also_rows(tmp_path):
    out = tmp_path / "rows.jsonl"
    asked = [*SMOKE, "--rows", "step mmcl+ssl", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *asked],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (row,) = report.read(str(out))
    assert (row["kind"], row["row"], row["target"]) == ("ratio", "step MMCL+SSL", None)
    assert set(row["seconds"]) == set(row["memory_mb"]) == {"bdnb", "authors"}
    assert row["case"]["batch"] == row["samples"] == 16
    assert str(tmp_path) not in out.read_text()
    assert "step MMCL+SSL" in done.stdout


def test_growth_has_a_row_a_size(out):
    growth.main([*SMOKE, "--axes", "templates", "--multiples", "1", "2", "--out", str(out)])
    found = report.read(str(out))
    assert [row["size"] for row in found] == [10, 20]
    assert [row["case"]["prompts"] for row in found] == [10, 20]
    assert len(report.growth(found).data) == 1


def test_the_page_s_rows_hold_every_case_and_axis():
    found = report.read(str(REPOSITORY / report.FILE))
    ratios = {(row["model"], row["row"]) for row in found if row["kind"] == "ratio"}
    assert ratios >= {(model, row) for model in ("laptop", "rn50") for row in rows.ROWS}
    assert {row["axis"] for row in found if row["kind"] == "growth"} == set(
        growth.axes(cases.CASES["laptop"])
    )
