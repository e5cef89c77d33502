"""The command: measure the rows, print a line for each.

The laptop's table, on a machine at rest: ``python -m tests.benchmarks --repeats 9 --out FILE``, at
most twelve minutes on two cores. On a GPU: ``gpu.sh`` beside this file.
"""

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import command, measure

TARGETS = {
    "laptop": {
        "step MMCL": 4.5,
        "step MMCL+SSL": 6.0,
        "cleaning epoch": 5.5,
        "evaluation": 10.0,
        "sweep of 8": 8.0,
    },
}
TARGETS["rn50"] = dict.fromkeys(TARGETS["laptop"], 3.0)
"""Times as fast as (a) that the project asks of each row."""

COLUMNS = ("samples/s", "x plain loop", "x open_clip", "asked", "of matmul", "MB", "MB plain")
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
        floor = not name.startswith("sweep")
        found = command.measured(bench, given, name, list(ready(bench)), floor=floor)
        row = {"kind": "ratio"} | about | sizes | found
        row["target"] = TARGETS.get(given.model, {}).get(name)
        command.append(given.out, row)
        print(line(row), flush=True)


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    times, ours = row["seconds"], row["seconds"]["bdnb"]
    values = [f"{row['samples'] / ours:.4g}"]
    values += [f"{times[w] / ours:.2f}" if w in times else "-" for w in ("authors", "open_clip")]
    values.append("-" if row["target"] is None else f"{row['target']:g}")
    values.append(f"{row['flops'] / ours / row['peak_flops']:.0%}" if row["flops"] else "-")
    values += [f"{row['memory_mb'][way]:.0f}" for way in ("bdnb", "authors")]
    return f"{row['row']:18}" + "".join(f"{value:>13}" for value in values)
