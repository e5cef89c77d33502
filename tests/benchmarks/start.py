"""CPU seconds until a page's modules are imported, beside those of ``import torch``.

``python -m tests.benchmarks.start --before f0690d6`` also imports what a page imported at that
commit. Each import has a process of its own; they take turns.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = """
import pkgutil, importlib, bdnb.report
for one in pkgutil.iter_modules(bdnb.report.__path__, "bdnb.report."):
    importlib.import_module(one.name)
"""
BEFORE = "import bdnb.report, bdnb.tables, bdnb.figures"
"""What every page imported when the package had one folder."""


def seconds(code: str, folder: Path) -> float:
    """CPU seconds of a new process that runs some code, its package taken from a folder."""
    spent = "import time\nprint(time.process_time())"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{spent}"],
        env=os.environ | {"PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measured(before: str, repeats: int) -> dict[str, float]:
    """Median CPU seconds by what is imported. before: a commit, or empty."""
    with tempfile.TemporaryDirectory() as name:
        ways = {"torch": ("import torch", ROOT), "bdnb.report": (PAGES, ROOT)}
        if before:
            packed = subprocess.run(
                ["git", "archive", before, "bdnb"], cwd=ROOT, capture_output=True, check=True
            )
            with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as tar:
                tar.extractall(name, filter="data")
            ways[f"bdnb.report at {before}"] = (BEFORE, Path(name))
        # The first turn writes bytecode and warms the disk's cache; it is not counted.
        turns = [{way: seconds(*about) for way, about in ways.items()} for _ in range(repeats + 1)]
        return {way: statistics.median(turn[way] for turn in turns[1:]) for way in ways}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line an import, each beside torch and, where measured, beside before."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.start", description=__doc__)
    parser.add_argument("--before", default="", help="a commit to compare with")
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args(arguments)
    found = measured(given.before, given.repeats)
    for way, spent in found.items():
        print(f"{way:30} {spent:6.2f} s of CPU, {spent / found['torch']:.2f} of torch's")
    if given.before:
        ratio = found["bdnb.report"] / found[f"bdnb.report at {given.before}"]
        print(f"bdnb.report takes {ratio:.2f} of what it took at {given.before}")


if __name__ == "__main__":
    main()
