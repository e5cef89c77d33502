"""What ``make book`` costs in a fresh clone: its CPU and wall time beside those inside the runs.

``python -m tests.benchmarks.start`` on a machine at rest; ``--commit`` for another one. The clone
takes this environment and the art fetched here, so that nothing is installed or fetched. Inside
the runs is what their rows say of training and evaluation: wall time of one thread each.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def clone(folder: Path, commit: str) -> None:
    """Check a commit out into a folder, with links to this environment and the fetched art."""
    subprocess.run(["git", "clone", "--quiet", "--shared", ROOT, folder], check=True)
    subprocess.run(["git", "checkout", "--quiet", commit], cwd=folder, check=True)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "data").mkdir()
    (folder / "data" / ".npm").symlink_to((ROOT / "data" / ".npm").resolve())


def inside(runs: Path) -> tuple[int, float]:
    """Return how many runs there are, and the seconds of training and evaluation in their rows."""
    files = sorted(runs.glob("*/rows.jsonl"))
    rows = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines()]
    spent = sum(row.get("seconds", 0.0) + row.get("eval_seconds", 0.0) for row in rows)
    return len(files), spent


def spent_by_children() -> float:
    """Return the CPU seconds of all processes that have ended below this one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(arguments: Sequence[str] | None = None) -> None:
    """Print wall time, CPU, and CPU over the seconds inside the runs."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--commit", default="HEAD", help="what to check out")
    parser.add_argument("--target", default="book", help="of the Makefile")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "clone"
        clone(folder, given.commit)
        # The environment counts as installed, however new the clone's files are.
        command = ["make", "-o", ".venv/.installed", given.target]
        environment = os.environ | {"PYTHONPATH": str(folder), "BDNB_HOME": str(folder)}
        before, begun = spent_by_children(), time.perf_counter()
        subprocess.run(command, cwd=folder, env=environment, check=True)
        wall, cpu = time.perf_counter() - begun, spent_by_children() - before
        count, own = inside(folder / "runs")
    print(f"make {given.target} at {given.commit}: {wall:.0f} s, {cpu:.0f} s of CPU", end="")
    print(f"; {own:.0f} s inside {count} runs: {cpu / own:.2f} of it" if own else "; no runs")


if __name__ == "__main__":
    main()
