"""The command: measure the rows, print the table."""

import argparse
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .cases import Bench

ROOT = Path(__file__).parents[2]
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
    """A row as measured: seconds and peak MB by way, samples and operations of one go."""

    row: str
    samples: int
    seconds: dict[str, float]
    flops: float
    memory: dict[str, float] = field(default_factory=dict)

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
SIZES = ("batch", "pairs", "cleaning_pairs", "images", "classes")
"""Options that change the case."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--model", default="laptop", choices=("laptop", "rn50", "smoke"))
    parser.add_argument("--rows", nargs="+", default=[], help="words of the rows' names; all")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--repeats", type=int, default=5, help="times that each way is taken")
    parser.add_argument("--batch", type=int, default=0, help="pairs a step; 0: the case's own")
    parser.add_argument("--pairs", type=int, default=0, help="pre-training pairs; 0: the case's")
    parser.add_argument("--cleaning-pairs", type=int, default=0, help="0: the case's")
    parser.add_argument("--images", type=int, default=0, help="a labelled set; 0: the case's")
    parser.add_argument("--classes", type=int, default=0, help="0: the case's")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def make_ready(given: argparse.Namespace, home: Path) -> "Bench":
    """The case with the sizes asked for, in a folder of its own."""
    from .cases import CASES, Bench

    sizes = {name: getattr(given, name) for name in SIZES if getattr(given, name)}
    if "batch" in sizes:
        sizes["clean_batch"] = max(2, sizes["batch"] // 2)
    case = replace(CASES[given.model], **sizes)
    os.environ["BDNB_HOME"] = str(home)
    return Bench(case, home, ROOT / "data" / ".npm")


def measure(row: str, names: Sequence[str], given: argparse.Namespace, samples: int) -> Line:
    """One row, its ways in turn; a sweep is taken once and is not warmed up."""
    from . import measure

    more = [f"--{n.replace('_', '-')}={getattr(given, n)}" for n in SIZES]
    more += [f"--model={given.model}", f"--device={given.device}", f"--child={row}"]
    ways = {name: measure.Child([*more, f"--way={name}"]) for name in names}
    long = row.startswith("sweep")
    try:
        seconds = measure.in_turn(ways, repeats=1 if long else given.repeats, warm=0 if long else 2)
        memory = {name: child.ask("peak") / 2**20 for name, child in ways.items()}
        counts = not long and not row.startswith("pipeline")
        flops = ways["bdnb"].ask("flops") if counts else 0.0
    finally:
        for child in ways.values():
            child.close()
    return Line(row, samples, seconds, flops, memory)


def main() -> None:
    """Measure the rows asked for, and print each as it is done."""
    given = arguments()
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if given.child:
        from . import measure, rows

        bench = make_ready(given, Path(os.environ["BDNB_HOME"]))
        measure.serve(rows.ROWS[given.child](bench)[given.way](), bench.device)
        return
    with tempfile.TemporaryDirectory() as folder:
        table(given, Path(folder))


def table(given: argparse.Namespace, home: Path) -> None:
    """The table, a line a row, then how to have it from a GPU."""
    import torch

    from bdnb import stage

    from . import measure as measuring
    from . import rows

    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here")
    bench = make_ready(given, home)
    dtype = torch.bfloat16 if bench.bf16 else torch.float32
    peak = measuring.matmul_peak(bench.device, dtype)
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    print(f"{given.model}: {bench.case}")
    print(f"{stage.device_name(bench.accelerator)}; matrix product {peak / 1e9:.0f} GFLOP/s")
    print(f"load of the machine {load} on {os.cpu_count()} cores; median of {given.repeats}\n")
    print(HEAD, flush=True)
    words = [word.lower() for word in given.rows]
    for row, ready in rows.ROWS.items():
        if words and not any(word in row.lower() for word in words):
            continue
        line = measure(row, list(ready(bench)), given, rows.samples(bench, row))
        peak = max(peak, measuring.matmul_peak(bench.device, dtype))
        print(line.text(TARGETS.get(given.model, {}).get(row), peak), flush=True)
    load = ", ".join(f"{n:.1f}" for n in os.getloadavg())
    print(f"\nmatrix product, best of all looks {peak / 1e9:.0f} GFLOP/s; load at the end {load}")
    if bench.device.type == "cpu":
        more = "--batch 256 --pairs 4096 --cleaning-pairs 2048 --images 2000 --classes 100"
        print(f"On a GPU: python -m tests.benchmarks --model rn50 --device cuda {more}")
