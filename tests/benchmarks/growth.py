"""Time and peak memory as data, learning rates, classes and templates grow, beside a plain loop.

``python -m tests.benchmarks.growth --out FILE`` measures each size in fresh processes and a folder
of its own; a line a size, and a row of kind ``growth``.
"""

import argparse
import copy
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import command
from .cases import CASES, Case

WAYS = ("bdnb", "authors")


class Axis(NamedTuple):
    """What grows: a size of the case, in which row of the table or other work, from which base."""

    size: str
    row: str
    base: int


def axes(case: Case) -> dict[str, Axis]:
    """Each by name; the base is small enough for eight times it to take seconds."""
    return {
        "pre-training pairs": Axis("pairs", "training epoch", 2 * case.batch),
        "cleaning pairs": Axis("cleaning_pairs", "cleaning epoch", 2 * case.clean_batch),
        "learning rates": Axis("rates", "sweep of 8", 1),
        "classes": Axis("classes", "evaluation", max(2, case.classes // 8)),
        "templates": Axis("prompts", "evaluation", 10),
    }


def sizes(given: argparse.Namespace, axis: Axis, times: int) -> argparse.Namespace:
    """The options of one size: the others of the case small, so that what grows is seen."""
    case = CASES[given.model]
    made = copy.copy(given)
    made.pairs = given.pairs or 2 * case.batch
    made.cleaning_pairs = given.cleaning_pairs or 2 * case.clean_batch
    made.images = given.images or min(case.images, 64)
    setattr(made, axis.size, axis.base * times)
    return made


def point(given: argparse.Namespace, name: str, axis: Axis, times: int) -> dict:
    """One size measured, as a row."""
    from . import rows

    made = sizes(given, axis, times)
    with tempfile.TemporaryDirectory() as folder:
        bench = command.make_ready(made, Path(folder))
        about = {"kind": "growth"} | command.about(bench, made)
        found = command.measured(bench, made, axis.row, WAYS)
        own = {"axis": name, "row": axis.row, "size": axis.base * times, "multiple": times}
        return about | own | {"samples": rows.samples(bench, axis.row)} | found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each size of the axes asked for."""
    parser = command.parser("tests.benchmarks.growth", __doc__)
    parser.add_argument("--axes", nargs="+", default=[], help="words of the axes' names; all")
    parser.add_argument("--multiples", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.set_defaults(repeats=3)
    given = parser.parse_args(arguments)
    command.choose_device(given)
    from bdnb.runtime import progress

    words = [word.lower() for word in given.axes]
    known = axes(CASES[given.model])
    asked = {n: a for n, a in known.items() if not words or any(w in n for w in words)}
    if not asked:
        parser.error(f"--axes {' '.join(words)}: expected words of {', '.join(known)}")
    total = len(asked) * sum(given.multiples)
    with progress.bar(total=total, unit=" parts of the work") as bar:
        for name, axis in asked.items():
            for times in given.multiples:
                row = point(given, name, axis, times)
                command.append(given.out, row)
                print(line(row), flush=True)
                bar.update(times)


def line(row: dict) -> str:
    """A row in words."""
    seconds = ", ".join(f"{way} {value:.3g} s" for way, value in row["seconds"].items())
    memory = ", ".join(f"{way} {value:.0f} MB" for way, value in row["memory_mb"].items())
    return f"{row['axis']} {row['size']}: {seconds}; peak {memory}"


if __name__ == "__main__":
    main()
