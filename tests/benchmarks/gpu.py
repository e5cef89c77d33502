"""All that is measured on a GPU, within some minutes: ``gpu.sh`` makes a bare machine ready for it.

In this order, each within its share of the time: the tests that need a GPU; a step of RN50 at 224
pixels in bf16 beside open_clip's; the headline of a scale, as many runs at once as the card takes.
Rows are left where the book reads them. What is stopped goes on when the command is given again.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bdnb.runs import experiments, shipped
from bdnb.runs.records import Run
from bdnb.runtime.project import root

ROOT = Path(__file__).parents[2]
TESTS = ("tests/training/test_gpu.py", "tests/poison/test_triggers.py", "tests/runtime")
SHARES = {"tests": 0.1, "step": 0.2}
"""Of the time; the headline has the rest, and what these leave."""
HEADLINE = ("train_mmcl", "train_mmcl_ssl", "clean")
SETTLED = 45.0
"""Seconds until a run has taken the memory that it needs."""


def within(seconds: float, command: Sequence[str], log: Path) -> str:
    """Run a module, and return how it ended. log: what it says."""
    with log.open("w", encoding="utf-8") as file:
        try:
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=max(1.0, seconds),
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "out of time"
    return "done" if done.returncode == 0 else f"status {done.returncode}"


def room_for_another(running: int) -> bool:
    """Whether the card takes one run more, of the size of those that it has; a CPU: one a core."""
    if running == 0:
        return True
    cores = os.cpu_count() or 1
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return running < cores
    query = ["nvidia-smi", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    said = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    used, total = (float(word) for word in said.splitlines()[0].split(","))
    return running < cores and used * (running + 1) / running < 0.9 * total


class Headline:
    """The runs of a scale's headline, started when those they need are there and there is room."""

    def __init__(self, scale: str, logs: Path, *, most: int = 0) -> None:
        found = {
            experiments.folder(config): (name, config)
            for name in HEADLINE
            for config in experiments.of_file(scale, name)
        }
        self.scale, self.logs = scale, logs
        self.waiting = dict(list(found.items())[: most or None])
        self.asked, self.running = list(self.waiting), dict[Path, subprocess.Popen]()

    def ready(self) -> list[Path]:
        """Return the runs that can be started now."""
        needs = {run: experiments.before(config) for run, (_, config) in self.waiting.items()}
        return [
            run
            for run, before in needs.items()
            if all(Run(experiments.folder(one)).finished for one in before)
        ]

    def start(self, run: Path) -> None:
        """Start a run in a process of its own."""
        name, _ = self.waiting.pop(run)
        file = str(root() / "params" / self.scale / f"{name}.yaml")
        with (self.logs / f"{run.name}.log").open("w", encoding="utf-8") as log:
            self.running[run] = subprocess.Popen(
                [sys.executable, "-m", "bdnb.sweep", file, "--only", run.name],
                cwd=ROOT,
                env=os.environ | {"BDNB_HOME": str(root()), "OMP_NUM_THREADS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def work(self, deadline: float) -> int:
        """Make runs until the deadline (``time.monotonic``); return how many are finished."""
        started = float("-inf")
        while time.monotonic() < deadline and (self.waiting or self.running):
            self.running = {run: one for run, one in self.running.items() if one.poll() is None}
            settled = self.cpu or time.monotonic() - started > SETTLED or not self.running
            ready = self.ready()
            if ready and settled and room_for_another(len(self.running)):
                self.start(ready[0])
                started = time.monotonic()
            elif not ready and not self.running:
                break  # what is left needs runs that failed
            time.sleep(0.2)
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            process.wait()
        return sum(Run(run).finished for run in self.asked)

    @property
    def cpu(self) -> bool:
        """Whether runs are made on a CPU, where memory is not looked at."""
        return os.environ.get("CUDA_VISIBLE_DEVICES") == ""


def main(arguments: Sequence[str] | None = None) -> None:
    """Do the three things, and say of each how it ended."""
    parser = argparse.ArgumentParser(prog="gpu.sh", description=__doc__)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--scale", default="gpu", help="folder of params/")
    parser.add_argument("--runs", type=int, default=0, help="of the headline; 0: all")
    parser.add_argument("--tests", nargs="+", default=list(TESTS))
    parser.add_argument("--bench", default="--model rn50 --batch 256 --pairs 512 --rows step")
    parser.add_argument("--out", default=str(ROOT / "book" / "results" / "performance.jsonl"))
    given = parser.parse_args(arguments)
    begun, seconds = time.monotonic(), 60 * given.minutes
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    logs = root() / "build" / "gpu"
    logs.mkdir(parents=True, exist_ok=True)
    steps = {
        "tests": ["pytest", "-q", "-p", "no:cacheprovider", *given.tests],
        "step": ["tests.benchmarks", *given.bench.split(), f"--device={given.device}"],
    }
    steps["step"].append(f"--out={given.out}")
    for name, command in steps.items():
        ended = within(SHARES[name] * seconds, command, logs / f"{name}.log")
        print(f"{name}: {ended}; {logs / name}.log says more", flush=True)
    headline = Headline(given.scale, logs, most=given.runs)
    data = {experiments.data_of(config) for _, config in headline.waiting.values()}
    for name in sorted(data):
        left = begun + seconds - time.monotonic()
        ended = within(left, ["bdnb.data.datasets", name], logs / "data.log")
        print(f"data {name}: {ended}", flush=True)
    finished = headline.work(begun + seconds)
    print(f"headline: {finished} of {len(headline.asked)} runs are finished")
    if finished:
        made = shipped.pack(given.scale)
        print(f"rows: {given.out} and {made[0].parent}: copy both into the repository's book")


if __name__ == "__main__":
    main()
