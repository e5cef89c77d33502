"""The command for a GPU works on a CPU, too, and needs no more than it says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bdnb.runs import shipped
from tests.benchmarks import gpu, report

REPOSITORY = Path(__file__).parents[2]
ALONE = """
import re, sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
def plain(name):
    return re.sub("[-_.]+", "-", name).lower()
def closure(name, seen):
    if plain(name) not in seen:
        seen.add(plain(name))
        try:
            wanted = requires(name) or []
        except PackageNotFoundError:
            wanted = []
        for one in (re.match("[-_.A-Za-z0-9]+", w)[0] for w in wanted if "extra ==" not in w):
            closure(one, seen)
    return seen
known = set()
for base in ("torch", "torchvision", "accelerate", "timm", "pip", "setuptools", "bdnb-none"):
    closure(base, known)
lines = open("tests/benchmarks/gpu_wheels.txt").read().splitlines()
known |= {plain(line.partition("==")[0]) for line in lines if line[0] != "#"}
owners = packages_distributions()
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        top = name.partition(".")[0]
        mine = {plain(one) for one in owners.get(top, ())}
        there = not mine or mine & known or top in ("bdnb", "tests")
        return super().find_spec(name, path, target) if there else None
sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
import bdnb.clean, bdnb.data.datasets, bdnb.sweep, bdnb.train, pytest, hypothesis
import tests.benchmarks.gpu, tests.benchmarks.rows, tests.benchmarks.run, tests.benchmarks.growth
print("enough")
"""


def test_the_wheels_that_are_listed_are_enough():
    done = subprocess.run(
        [sys.executable, "-c", ALONE],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("enough\n"), done.stderr[-2000:]


def test_what_takes_longer_than_its_share_is_stopped(tmp_path):
    long = ["timeit", "-n1", "-r1", "import time; time.sleep(60)"]
    assert gpu.within(1.0, long, tmp_path / "log") == "out of time"
    assert gpu.within(60.0, ["timeit", "-n1", "-r1", "1"], tmp_path / "log") == "done"


def test_a_run_waits_for_those_that_it_needs(fresh):
    headline = gpu.Headline("tiny", fresh)
    ready = {run.name.partition("-")[0] for run in headline.ready()}
    assert ready == {"train"}
    assert len(headline.ready()) < len(headline.asked)


@pytest.mark.slow
def test_the_whole_command_on_a_cpu_leaves_rows_that_the_book_reads(fresh, tmp_path):
    out = tmp_path / "rows.jsonl"
    bench = "--model smoke --repeats 1 --rows mmcl+ssl --batch 8"
    given = ["--device", "cpu", "--scale", "tiny", "--runs", "1", "--out", str(out)]
    given += ["--tests", "tests/runtime/test_hardware.py", "--bench", bench]
    done = subprocess.run(
        ["bash", str(REPOSITORY / "tests" / "benchmarks" / "gpu.sh"), "30", *given],
        env=os.environ | {"BDNB_HOME": str(fresh)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for said in ("tests: done", "step: done", "data tiny: done", "headline: 1 of 1"):
        assert said in done.stdout
    assert {row["row"] for row in report.read(str(out))} >= {"step MMCL+SSL"}
    (run,) = shipped.read("tiny").values()
    assert run["rows"][-1]["epoch"] == 2
