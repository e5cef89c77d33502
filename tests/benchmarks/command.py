"""What the benchmarks' commands share: their options, the case they ask for, rows as JSON lines."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import measure

if TYPE_CHECKING:
    from .cases import Bench

ROOT = Path(__file__).parents[2]
SIZES = {
    "batch": "pairs a step",
    "pairs": "pre-training pairs",
    "cleaning_pairs": "pairs to clean with",
    "images": "of a labelled set",
    "classes": "of the labelled sets",
    "rates": "learning rates of a sweep",
    "prompts": "a class, the first so many templates",
}
"""Options that change the case."""


def parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that every command has. name: of the module."""
    made = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    made.add_argument("--model", default="laptop", choices=("laptop", "rn50", "smoke"))
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    made.add_argument("--repeats", type=int, default=5, help="times that each way is taken")
    made.add_argument("--out", type=Path, help="a row as JSON is appended to this file, too")
    for size, help_text in SIZES.items():
        option = f"--{size.replace('_', '-')}"
        made.add_argument(option, type=int, default=0, help=f"{help_text}; 0: the case's own")
    return made


def choose_device(given: argparse.Namespace) -> None:
    """Hide GPUs if asked to; before torch looks. Errors: SystemExit where a GPU is missing."""
    if given.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no GPU here")


def make_ready(given: argparse.Namespace, home: Path) -> "Bench":
    """The case with the sizes given, in a folder of its own, which is the project's from now."""
    from .cases import CASES, Bench

    sizes = {name: getattr(given, name) for name in SIZES if getattr(given, name)}
    if "batch" in sizes:
        sizes["clean_batch"] = max(2, sizes["batch"] // 2)
    case = replace(CASES[given.model], **sizes)
    os.environ["BDNB_HOME"] = str(home)
    return Bench(case, home, ROOT / "data" / ".npm")


@contextmanager
def ways(
    given: argparse.Namespace, row: str, names: Sequence[str]
) -> Iterator[dict[str, measure.Child]]:
    """A process for each way to do a row, ready for a go; all are ended in any case."""
    sizes = [f"--{name.replace('_', '-')}={getattr(given, name)}" for name in SIZES]
    common = [*sizes, f"--model={given.model}", f"--device={given.device}", f"--child={row}"]
    made = {}
    try:
        for name in names:
            made[name] = measure.Child([*common, f"--way={name}"])
        for child in made.values():
            child.answer()
        yield made
    finally:
        for child in made.values():
            child.close()


def about(bench: "Bench", given: argparse.Namespace) -> dict[str, Any]:
    """What a row says of machine, case and code, whatever it is a row of."""
    import torch

    from bdnb.runs import records
    from bdnb.training.device import device_name

    device = device_name(bench.accelerator)
    if bench.device.type == "cpu":
        device += f", {torch.backends.cpu.get_cpu_capability()}"
    return {
        "model": given.model,
        "case": asdict(bench.case),
        "device": device,
        "cores": os.cpu_count(),
        "load": [round(n, 2) for n in os.getloadavg()],
        "repeats": given.repeats,
        "torch": torch.__version__,
        "commit": records.commit(),
        "date": records.now(),
    }


def measured(
    bench: "Bench", given: argparse.Namespace, row: str, names: Sequence[str], *, floor: bool = True
) -> dict[str, Any]:
    """What every row says of its ways, taken in turn: seconds, memory, operations and their floor.

    A sweep is taken once and is not warmed up. floor: count the operations of one go more.
    """
    import torch

    long = row.startswith("sweep")
    repeats, dtype = 1 if long else given.repeats, torch.bfloat16 if bench.bf16 else torch.float32
    with ways(given, row, names) as made:
        times = measure.in_turn(made, repeats=repeats, warm=0 if long else 2)
        memory = measure.peaks(made)
        flops = made["bdnb"].ask("flops") if floor else 0.0
    found = {"seconds": measure.medians(times), "times": times, "memory_mb": memory}
    speed = {"flops": flops, "peak_flops": measure.matmul_speed(bench.device, dtype)}
    return {"repeats": repeats} | found | speed


def append(out: Path | None, row: dict[str, Any]) -> None:
    """A row on disk as soon as it is measured; nothing without a file. Errors: StorageError."""
    if out is None:
        return
    from bdnb.runtime.files import append_line

    out.parent.mkdir(parents=True, exist_ok=True)
    append_line(out, (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n").encode())
