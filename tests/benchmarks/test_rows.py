"""The benchmarks' commands on the smallest case: they write rows that the page on speed reads."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from bdnb.report import bounds, growing, speed
from benchmarks import cases, command, growth, measure, options, profile, rows, run

REPOSITORY = Path(__file__).parents[2]
SMOKE = ["--model", "smoke", "--device", "cpu", "--repeats", "1"]


class Here:
    """A way in this process: the same answers as a child's, sooner."""

    def __init__(self, arguments):
        AcceleratorState._reset_state(True)
        given = run.arguments(arguments)
        home = Path(os.environ["BDNB_HOME"])
        self.bench = command.make_ready(given, home, parameters=given.set)
        self.work = rows.WORK[given.child](self.bench)[given.way]()

    def answer(self):
        return 0.0

    def ask(self, what):
        if what == "peak":
            return float(measure.peak_bytes(self.bench.device))
        return measure.timed(self.work, self.bench.device, 1)

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
    (row,) = speed.read(str(out))
    assert (row["kind"], row["row"], row["target"]) == ("ratio", "step MMCL+SSL", None)
    assert set(row["seconds"]) == set(row["memory_mb"]) == {"bdnb", "authors"}
    assert row["flops"] > 0
    assert row["case"]["batch"] == row["samples"] == 16
    assert str(tmp_path) not in out.read_text()
    assert "step MMCL+SSL" in done.stdout


def test_growth_has_a_row_a_size(out):
    growth.main([*SMOKE, "--axes", "templates", "--multiples", "1", "2", "--out", str(out)])
    found = speed.read(str(out))
    assert [row["size"] for row in found] == [10, 20]
    assert [row["case"]["prompts"] for row in found] == [10, 20]
    assert len(growing.exponents(found).data) == 1


def test_an_option_that_changes_predictions_is_set_beside_the_package_as_it_comes(out, monkeypatch):
    def trained(given, path, parameters):
        AcceleratorState._reset_state(True)
        bench = command.make_ready(given, out.parent, parameters=parameters)
        return options.effect(bench, given.steps)

    monkeypatch.setattr(options, "trained", trained)
    monkeypatch.setattr(options.tempfile, "TemporaryDirectory", lambda: Folder(out.parent))
    chosen = ["--options", "half", "--steps", "2", "--out", str(out)]
    options.main([*SMOKE, *chosen])
    (row,) = speed.read(str(out))
    assert row["parameters"]["micro_batch"] == 16
    assert row["loss_change"] != 0
    assert 0 <= row["same_equal"] <= 100
    assert len(bounds.effects([row]).data) == 1


class Folder:
    """A folder that is there, in place of a temporary one."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        return str(self.path)

    def __exit__(self, *about):
        pass


def test_the_page_s_rows_hold_every_case_axis_and_option():
    found = speed.read(str(REPOSITORY / speed.FILE))
    ratios = {(row["model"], row["row"]) for row in found if row["kind"] == "ratio"}
    assert ratios >= {(model, row) for model in ("laptop", "rn50") for row in rows.ROWS}
    assert {row["axis"] for row in found if row["kind"] == "growth"} == set(
        growth.axes(cases.CASES["laptop"])
    )
    assert {row["option"] for row in found if row["kind"] == "option"} == set(options.OPTIONS)
    assert {row["model"] for row in found if row["kind"] == "profile"} == {"laptop", "rn50"}


def test_an_option_that_cannot_be_used_says_why(out, monkeypatch):
    def broken(arguments):
        raise RuntimeError("a way failed:\nValueError: no compiler at /home/me/bin/g++, sorry\n")

    monkeypatch.setattr(options, "trained", lambda *about: {})
    monkeypatch.setattr(measure, "Child", broken)
    options.main([*SMOKE, "--options", "compile=default", "--out", str(out)])
    (row,) = speed.read(str(out))
    assert row["error"] == "ValueError: no compiler at …, sorry"


def test_a_profile_s_shares_are_of_one_whole(out):
    profile.main([*SMOKE, "--rows", "mmcl+ssl", "cleaning", "--out", str(out)])
    found = speed.read(str(out))
    assert [row["row"] for row in found] == ["step MMCL+SSL", "cleaning epoch"]
    for row in found:
        assert sum(row["groups"].values()) == pytest.approx(100, abs=5)
    assert found[1]["groups"]["data and views"] > 0
    assert "data and views" not in found[0]["groups"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("aten::convolution_backward", "convolution"),
        ("aten::native_batch_norm", "batch norm"),
        ("aten::addmm", "matrix product"),
        ("autograd::engine::evaluate_function: AddmmBackward0", "bookkeeping"),
        ("aten::_fused_adamw_", "optimiser"),
        ("aten::mul_", "elementwise"),
        ("aten::expand", "bookkeeping"),
        ("aten::t", "bookkeeping"),
        ("aten::threshold_backward", "elementwise"),
        ("aten::tanh", "other"),
        ("cudaLaunchKernel", "other"),
    ],
)
def test_an_operator_has_its_kind_of_work(name, group):
    assert profile.group(name) == group
