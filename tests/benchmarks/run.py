"""The command: measure the rows, print the table."""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import command, measure

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


@dataclass(frozen=True)
class Line:
    """A row as measured: seconds of each go and peak MB by way, samples and operations of a go."""

    row: str
    samples: int
    times: dict[str, list[float]]
    flops: float
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """The median of each way."""
        return measure.medians(self.times)

    def text(self, target: float | None, peak: float) -> str:
        """The row of the table."""
        ours = self.seconds["bdnb"]
        ratios = [
            f"{self.seconds[way] / ours:.2f}" if way in self.seconds else "-"
            for way in ("authors", "open_clip")
        ]
        memory = [
            f"{self.memory[way]:.0f}" if way in self.memory else "-" for way in ("bdnb", "authors")
        ]
        share = f"{self.flops / ours / peak:.0%}" if self.flops else "-"
        cells = [f"{self.samples / s:.4g}" for s in self.seconds.values()]
        cells += ["-"] * (3 - len(cells))
        asked = "-" if target is None else f"{target:g}"
        values = [*cells, *ratios, asked, share, *memory]
        return f"{self.row:18}" + "".join(f"{value:>11}" for value in values)


COLUMNS = ("bdnb", "(a) plain", "(b) o_clip", "x (a)", "x (b)", "asked", "of peak")
COLUMNS = (*COLUMNS, "MB bdnb", "MB (a)")
HEAD = f"{'samples/s':18}" + "".join(f"{name:>11}" for name in COLUMNS)


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, or these words instead."""
    parser = command.parser("tests.benchmarks", __doc__)
    parser.add_argument("--rows", nargs="+", default=[], help="words of the rows' names; all")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--set", type=json.loads, default={}, help=argparse.SUPPRESS)
    return parser.parse_args(given)


def measured(row: str, names: Sequence[str], given: argparse.Namespace, samples: int) -> Line:
    """One row, its ways in turn; a sweep is taken once and is not warmed up."""
    long = row.startswith("sweep")
    with command.ways(given, row, names) as ways:
        times = measure.in_turn(ways, repeats=1 if long else given.repeats, warm=0 if long else 2)
        memory = measure.peaks(ways)
        counts = not long and not row.startswith("pipeline")
        flops = ways["bdnb"].ask("flops") if counts else 0.0
    return Line(row, samples, times, flops, memory)


def main() -> None:
    """Measure the rows asked for, and print each as it is done."""
    given = arguments()
    command.choose_device(given)
    if given.child:
        from . import rows

        bench = command.make_ready(given, Path(os.environ["BDNB_HOME"]), parameters=given.set)
        measure.serve(rows.WORK[given.child](bench)[given.way](), bench.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        table(given, Path(folder))


def table(given: argparse.Namespace, home: Path) -> None:
    """The table, a line a row, then how to have it from a GPU."""
    import torch

    from bdnb.report import speed

    from . import rows

    bench = command.make_ready(given, home)
    dtype = torch.bfloat16 if bench.bf16 else torch.float32
    peak = measure.matmul_peak(bench.device, dtype)
    about = command.about(bench, given)
    load = ", ".join(f"{n:.1f}" for n in about["load"])
    print(f"{given.model}: {bench.case}")
    print(f"{about['device']}; matrix product {peak / 1e9:.0f} GFLOP/s")
    print(f"load of the machine {load} on {about['cores']} cores; median of {given.repeats}\n")
    print(HEAD, flush=True)
    words = [word.lower() for word in given.rows]
    for row, ready in rows.ROWS.items():
        if words and not any(word in row.lower() for word in words):
            continue
        about = command.about(bench, given)
        line = measured(row, list(ready(bench)), given, rows.samples(bench, row))
        peak = max(peak, measure.matmul_peak(bench.device, dtype))
        target = TARGETS.get(given.model, {}).get(row)
        command.append(given.out, record(line, about, target=target, peak=peak))
        print(line.text(target, peak), flush=True)
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    print(f"\nmatrix product, best of all looks {peak / 1e9:.0f} GFLOP/s; load at the end {load}")
    if bench.device.type == "cpu":
        print(f"On a GPU: {speed.GPU}")


def record(line: Line, about: dict, *, target: float | None, peak: float) -> dict:
    """A line as a row of kind ``ratio``. peak: FLOP/s of a matrix product."""
    taken = {"repeats": len(line.times["bdnb"])}
    return (
        {"kind": "ratio"}
        | about
        | taken
        | {
            "row": line.row,
            "samples": line.samples,
            "seconds": line.seconds,
            "times": line.times,
            "flops": line.flops,
            "peak_flops": peak,
            "memory_mb": line.memory,
            "target": target,
        }
    )
