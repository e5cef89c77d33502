"""SIGKILL at random moments, then the same command again: nothing lost, nothing twice.

``python -m tests.soak.kill --kills 50``. Every trial starts a data set or a run in a process of
its own, kills it inside a chosen phase, perhaps again, and lets the last one end. Rows, weights
and shards must then equal, byte for byte, those of a process that nobody disturbed.
"""

import argparse
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from bdnb import clean, train
from bdnb.data import datasets, decode, render, shards
from bdnb.evaluate.benchmark import Benchmark
from bdnb.runs import experiments, records
from bdnb.training import recording, training_state
from bdnb.training.loop import Loop

REPOSITORY = Path(__file__).parents[2]
TIMES = ("seconds", "eval_seconds", "pairs_per_s")
PHASES: dict[str, tuple[Any, str]] = {
    "drawing sprites": (render, "draw_sprites"),
    "writing shards": (shards, "write_tar"),
    "decoding": (decode, "_write"),
    "a step": (Loop, "descend"),
    "evaluation": (Benchmark, "measure"),
    "writing the state": (training_state, "write_atomic"),
    "writing a checkpoint": (recording, "save"),
    "writing a row": (records, "append_line"),
    "writing the manifest": (records.Run, "_write"),
}
"""Phase -> the function whose calls it is made of."""

Work = Callable[[], object]


def build() -> None:
    """The tiny data set, built and decoded."""
    data = datasets.dataset("tiny")
    data.pairs("train", 32)
    data.labelled(32)


def train_run() -> None:
    """Two epochs of MMCL + SSL, the state saved after every step."""
    train.train(replace(experiments.trained("tiny", "train_mmcl_ssl", 0), save_every=0))


def clean_run() -> None:
    """Deep clustering, whose labels are made before an epoch, of a model that is trained first."""
    config = experiments.of_file("tiny", "clean")[0]
    options = {"k": 8}
    clean.clean(replace(config, defence="deep_cluster", options=options, save_every=0))


def start(home: Path, work: Work, pipe: int) -> int:
    """A process that works in ``home`` and writes a phase's number to ``pipe`` as it begins."""
    if pid := os.fork():
        os.close(pipe)
        return pid
    os.environ["BDNB_HOME"] = str(home)
    status = 1
    try:
        for number, place in enumerate(PHASES.values()):
            announce(*place, bytes([number]), pipe)
        with (home / "log.txt").open("a") as log, redirect_stdout(log), redirect_stderr(log):
            work()
        status = 0
    except BaseException as error:
        (home / "error.txt").write_text(f"{type(error).__name__}: {error}")
    finally:
        os._exit(status)


def announce(place: Any, name: str, word: bytes, pipe: int) -> None:
    """Have a function write ``word`` at each of its calls."""
    real = getattr(place, name)

    def announcing(*given: Any, **named: Any) -> Any:
        os.write(pipe, word)
        return real(*given, **named)

    setattr(place, name, announcing)


def strike(home: Path, work: Work, phase: str, call: int, delay: float) -> bool:
    """Start the work, kill it ``delay`` seconds into a phase's call; whether it came to that."""
    reading, writing = os.pipe()
    pid, word, left = start(home, work, writing), bytes([list(PHASES).index(phase)]), call
    while left and (read := os.read(reading, 1)):
        left -= read == word
    if not left:
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
    os.close(reading)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def finish(home: Path, work: Work) -> Counter[str]:
    """Let the work end; how often each phase began. Errors: AssertionError with what it said."""
    reading, writing = os.pipe()
    pid = start(home, work, writing)
    with os.fdopen(reading, "rb") as pipe:
        calls = Counter(list(PHASES)[number] for number in pipe.read())
    _, status = os.waitpid(pid, 0)
    assert status == 0, (home / "error.txt").read_text()
    return calls


def found(home: Path) -> dict[str, Any]:
    """All that must be equal: rows without times, every other file that lasts by its digest."""
    made: dict[str, Any] = {}
    for path in sorted(p for n in ("runs", "data") for p in (home / n).rglob("*") if p.is_file()):
        name = path.relative_to(home).as_posix()
        if path.name == "rows.jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            made[name] = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
        elif not (
            path.name in ("manifest.json", "finished")
            or path.suffix == ".lock"
            or path.name == ".lock"
            or ("prepared" in path.parts and path.suffix == ".json")
        ):
            made[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return made


def fresh(folder: Path, art: Path, data: Path | None = None) -> Path:
    """A project's folder with the tiny parameters; with the data set, or the art for it alone."""
    shutil.copytree(REPOSITORY / "tests" / "params", folder / "params")
    (folder / "data").mkdir()
    (folder / "data" / ".npm").symlink_to(art)
    if data is not None:
        (folder / "data" / "tiny").symlink_to(data / "data" / "tiny")
    return folder


def soak(kills: int, seed: int, folder: Path) -> Counter[str]:
    """That many kills, all phases in turn; how many of each. Errors: AssertionError."""
    draws, counted = random.Random(seed), Counter[str]()
    art = REPOSITORY / "data" / ".npm"
    works: dict[str, Work] = {"data": build, "train": train_run, "clean": clean_run}
    wanted: dict[str, Any] = {}
    moments: list[tuple[str, str, int]] = []
    for name, work in works.items():
        home = fresh(folder / name, art, folder / "data" if wanted else None)
        moments += [(name, phase, calls) for phase, calls in finish(home, work).items()]
        wanted[name] = found(home)
    draws.shuffle(moments)
    for trial in itertools.count():
        name, phase, calls = moments[trial % len(moments)]
        home = fresh(folder / str(trial), art, None if name == "data" else folder / "data")
        for _ in range(draws.choice((1, 1, 2))):
            call, delay = draws.randint(1, calls), draws.uniform(0, 0.03)
            counted[f"{name}: {phase}"] += strike(home, works[name], phase, call, delay)
        finish(home, works[name])
        now, then = found(home), wanted[name]
        differ = sorted(key for key in {*now, *then} if now.get(key) != then.get(key))
        assert not differ, f"{name} after a kill in {phase}: other than undisturbed: {differ}"
        shutil.rmtree(home)
        if counted.total() >= kills:
            break
    return counted


def main() -> None:
    """Parse the command line, soak, and say what was hit."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        counted = soak(given.kills, given.seed, Path(folder))
    for phase, count in sorted(counted.items()):
        print(f"{count:4d}  {phase}")
    seconds = time.perf_counter() - begun
    print(f"{counted.total()} kills in {seconds:.0f} s: every result as if there had been none")


if __name__ == "__main__":
    sys.exit(main())
