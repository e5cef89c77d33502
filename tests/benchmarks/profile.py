"""Where a step and an evaluation spend their time: torch's operators, in plain words.

``python -m tests.benchmarks.profile --out FILE``: shares of the time of one go, the largest
operators first, a row of kind ``profile`` for each row of the table.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

from . import command, measure
from .cases import DATA

GROUPS = {
    "bookkeeping": (
        *("evaluate_function", "Backward0", "Backward1", "AccumulateGrad", "expand", "view"),
        *("transpose", "permute", "reshape", "slice", "select", "strided", "detach", "item"),
        *("empty", "resize", "narrow", "unbind", "split", "chunk", "squeeze", "aten::t"),
    ),
    "convolution": ("conv",),
    "batch norm": ("batch_norm",),
    "optimiser": ("adam", "Optimizer", "foreach"),
    "matrix product": ("mm", "matmul", "linear", "attention"),
    "copies": ("copy", "clone", "contiguous", "cat", "zero", "fill", "aten::to", "stack"),
    "indexing": ("index", "gather", "sort", "embedding", "scatter"),
    "elementwise": (
        *("relu", "gelu", "add", "mul", "sub", "div", "exp", "log", "pow", "sqrt", "sum", "mean"),
        *("norm", "softmax", "threshold", "pool", "clamp", "where", "abs", "max", "min", "neg"),
    ),
}
"""Words of an operator's name, or whole names, that put it into a group; the first group counts."""
REST = "outside torch"
ROWS = ("step MMCL", "step MMCL+SSL", "cleaning epoch", "evaluation")
SHOWN = 12
"""Operators that a row keeps."""


def group(name: str) -> str:
    """The group of an operator by its name."""

    def named(word: str) -> bool:
        return word == name if word.startswith("aten::") else word in name

    return next((g for g, words in GROUPS.items() if any(map(named, words))), "other")


def group_of(event: FunctionEvent) -> str:
    """The group of an operator that ran: by its name, but all that makes batches is one."""
    above = event
    while above is not None:
        if above.name == DATA:
            return DATA
        above = above.cpu_parent
    return group(event.name)


def shares(work: Callable[[], object], device: torch.device, *, repeats: int) -> dict:
    """Seconds of a go, and the shares of it, in percent, of groups and of the largest operators.

    On a GPU those of the time that it works; ``outside torch`` is what is left of the time of the
    go: Python, NumPy, and there a GPU that waits.
    """
    activities = [ProfilerActivity.CPU]
    if device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    seconds = measure.timed(work, device, repeats)
    with profile(activities=activities) as seen:
        profiled = measure.timed(work, device, repeats)
    kind = "self_device_time_total" if device.type == "cuda" else "self_cpu_time_total"
    percent = 100 / (profiled * repeats * 1e6)
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in seen.events():
        if event.device_type == DeviceType.CPU and getattr(event, kind) > 0:
            found[event.name, group_of(event)].append(percent * getattr(event, kind))
    groups: dict[str, float] = defaultdict(float)
    for (_, group_name), each in found.items():
        groups[group_name] += sum(each)
    groups[REST] = max(0.0, 100 - sum(groups.values()))
    largest = sorted(found.items(), key=lambda item: -sum(item[1]))[:SHOWN]
    return {
        "seconds": seconds,
        "profiled_seconds": profiled,
        "groups": dict(sorted(groups.items(), key=lambda item: -item[1])),
        "operators": [
            {"name": name, "group": of, "share": sum(each), "calls": len(each) // repeats}
            for (name, of), each in largest
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile the rows asked for."""
    parser = command.parser("tests.benchmarks.profile", __doc__)
    parser.add_argument("--rows", nargs="+", default=[], help="words of the rows' names; all")
    given = parser.parse_args(arguments)
    command.choose_device(given)
    from . import rows

    words = [word.lower() for word in given.rows]
    with tempfile.TemporaryDirectory() as folder:
        bench = command.make_ready(given, Path(folder))
        for name in ROWS:
            if words and not any(word in name.lower() for word in words):
                continue
            about = command.about(bench, given)
            work = rows.ROWS[name](bench)["bdnb"]()
            for _ in range(2):
                work()
            found = shares(work, bench.device, repeats=given.repeats)
            row = {"kind": "profile"} | about | {"row": name} | found
            command.append(given.out, row)
            parts = ", ".join(f"{group} {share:.0f} %" for group, share in row["groups"].items())
            print(f"{name}: {row['seconds']:.3g} s; {parts}", flush=True)


if __name__ == "__main__":
    main()
