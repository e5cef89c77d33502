"""The command: measure the rows, print a line for each.

On a GPU: ``python -m tests.benchmarks --model rn50 --device cuda --batch 256 --pairs 4096
--cleaning-pairs 2048 --images 2000 --classes 100``.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import command, measure, report

TARGETS = {
    "laptop": {
        "step MMCL": 2.5,
        "step MMCL+SSL": 2.5,
        "cleaning epoch": 3.0,
        "evaluation": 6.0,
        "pipeline MMCL": 3.0,
        "pipeline MMCL+SSL": 3.0,
        "sweep of 8": 4.0,
    },
}
TARGETS["rn50"] = dict.fromkeys(TARGETS["laptop"], 3.0)
"""Times as fast as (a) that the project asks of each row."""


COLUMNS = ("samples/s", "x plain loop", "x open_clip", "asked", "MB", "MB plain")
HEAD = f"{'':18}" + "".join(f"{name:>13}" for name in COLUMNS)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or these words instead."""
    parser = command.parser("tests.benchmarks", __doc__)
    parser.add_argument("--rows", nargs="+", default=[], help="words of the rows' names; all")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    return parser.parse_args(given)


def main() -> None:
    """Measure the rows asked for, and print each as it is done."""
    given = arguments()
    command.choose_device(given)
    if given.child:
        from . import rows

        bench = command.make_ready(given, Path(os.environ["BDNB_HOME"]))
        measure.serve(rows.WORK[given.child](bench)[given.way](), bench.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        table(given, Path(folder))


def table(given: argparse.Namespace, home: Path) -> None:
    """A line and a row for each."""
    from . import rows

    bench = command.make_ready(given, home)
    about = command.about(bench, given)
    load = ", ".join(f"{n:.1f}" for n in about["load"])
    print(f"{given.model}: {bench.case}\n{about['device']}")
    print(f"load of the machine {load} on {about['cores']} cores; median of {given.repeats}\n")
    print(HEAD, flush=True)
    words = [word.lower() for word in given.rows]
    for name, ready in rows.ROWS.items():
        if words and not any(word in name.lower() for word in words):
            continue
        about = command.about(bench, given)
        sizes = {"row": name, "samples": rows.samples(bench, name)}
        row = {"kind": "ratio"} | about | sizes | measured(name, list(ready(bench)), given)
        row["target"] = TARGETS.get(given.model, {}).get(name)
        command.append(given.out, row)
        print(line(row), flush=True)


def measured(row: str, names: Sequence[str], given: argparse.Namespace) -> dict[str, Any]:
    """The ways of a row in turn; a sweep is taken once and is not warmed up."""
    long = row.startswith("sweep")
    repeats = 1 if long else given.repeats
    with command.ways(given, row, names) as ways:
        times = measure.in_turn(ways, repeats=repeats, warm=0 if long else 2)
        memory = measure.peaks(ways)
    found = {"seconds": measure.medians(times), "times": times, "memory_mb": memory}
    return {"repeats": repeats} | found


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    values = [f"{row['samples'] / row['seconds']['bdnb']:.4g}"]
    for way in report.PLAIN:
        values.append(f"{report.times_as_fast(row, way)[0]:.2f}" if way in row["times"] else "-")
    values.append("-" if row["target"] is None else f"{row['target']:g}")
    values += [f"{row['memory_mb'][way]:.0f}" for way in ("bdnb", "authors")]
    return f"{row['row']:18}" + "".join(f"{value:>13}" for value in values)
