"""How fast the package is: rows of ``tests/benchmarks`` in, tables beside what is asked out.

``python -m tests.benchmarks --out FILE`` and its ``growth``, ``options`` and ``profile`` append a
JSON line a measurement. Of measurements of one thing on one kind of device the latest counts.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.report.tables import styled
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root

Row = dict[str, Any]

ABOUT = ("kind", "model", "row", "case", "device", "cores", "load", "repeats", "torch", "commit")
"""What every row says of itself, besides its ``date``."""

FIELDS: Mapping[str, tuple[str, ...]] = {
    "ratio": ("samples", "seconds", "times", "flops", "peak_flops", "memory_mb", "target"),
    "growth": ("axis", "size", "multiple", "samples", "seconds", "times", "memory_mb"),
    "option": ("option", "steps", "parameters"),
    "profile": ("seconds", "profiled_seconds", "groups", "operators"),
}
"""Kind of row -> its own fields.

seconds, times, memory_mb: by way (bdnb, authors, open_clip; of an option bdnb and option): the
median, every go, the peak in 2^20 bytes. flops: operations of a go, 0 where not counted.
peak_flops: FLOP/s of a matrix product. target: times as fast as the authors' way, or null. An
option that cannot be used has ``error`` and no numbers.
"""

IDENTITY = ("kind", "model", "row", "axis", "multiple", "option")
"""What a measurement is of, besides the kind of device."""

WAYS = {"bdnb": "bdnb", "authors": "(a)", "open_clip": "(b)"}
GPU_ASKED = {"step MMCL": 2000, "step MMCL+SSL": 1200, "cleaning epoch": 1e5 / 120}
GPU_ASKED |= {"evaluation": 1e5 / 60}
"""Pairs a second, or images, that one H100 is asked for with RN50 at 224 pixels.

A cleaning epoch of 100,000 pairs in 2 minutes; 50,000 images, plain and triggered, in one.
"""

COMMANDS = {
    "ratio": "python -m tests.benchmarks",
    "growth": "python -m tests.benchmarks.growth",
    "option": "python -m tests.benchmarks.options",
    "profile": "python -m tests.benchmarks.profile",
}
FILE = "book/results/performance.jsonl"
GPU = (
    "python -m tests.benchmarks --model rn50 --device cuda --batch 256 --pairs 4096 "
    "--cleaning-pairs 2048 --images 2000 --classes 100"
)


def read(file: str) -> list[Row]:
    """The latest row of each measurement; none without the file.

    file: from the project's folder, or absolute. Errors: ConfigError for a line that is no row.
    """
    path = root() / file
    found: dict[tuple, Row] = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            missing = {*ABOUT, "date", *FIELDS[row["kind"]]} - set(row)
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ConfigError(f"{file}, line {number}: not a row ({error!r})") from error
        if missing:
            raise ConfigError(f"{file}, line {number}: no {', '.join(sorted(missing))}")
        key = (*(row.get(name) for name in IDENTITY), kind_of(row["device"]))
        if key not in found or row["date"] >= found[key]["date"]:
            found[key] = row
    return list(found.values())


def of(rows: list[Row], kind: str) -> list[Row]:
    """Those of a kind, in the order in which they were measured first."""
    return [row for row in rows if row["kind"] == kind]


def kind_of(device: str) -> str:
    """A device without its threads: "cpu, fp32, AVX2", "NVIDIA H100, bf16"."""
    return ", ".join(part for part in device.split(", ") if "thread" not in part)


def on_gpu(row: Row) -> bool:
    """Whether a row was measured on a GPU."""
    return not row["device"].startswith("cpu")


def where(row: Row) -> str:
    """The model of a row, and the kind of device: processor and precision."""
    return f"{row['model']}, {kind_of(row['device'])}"


def nothing(kind: str, file: str = FILE) -> Markdown:
    """What stands in the place of a table that has no rows."""
    return Markdown(f"*Not measured yet: `{COMMANDS[kind]} --out {file}` does it.*")


def provenance(rows: list[Row]) -> Markdown:
    """Where the rows come from: how many of what, when, on what, from which commit."""
    if not rows:
        whole = "; ".join(f"`{command} --out {FILE}`" for command in COMMANDS.values())
        return Markdown(
            f"*Nothing has been measured yet. These do it, on a machine at rest: {whole}.*"
        )
    counts = ", ".join(f"{len(of(rows, kind))} of kind {kind}" for kind in COMMANDS)
    dates = sorted(row["date"][:10] for row in rows)
    when = " to ".join(dict.fromkeys([dates[0], dates[-1]]))
    loads = [row["load"][0] / row["cores"] for row in rows]

    def each(name: str) -> str:
        return "; ".join(sorted({str(row[name]) for row in rows}))

    cores = ", ".join(sorted({f"{row['cores']}" for row in rows}))
    return Markdown(
        f"*n = {len(rows)} rows ({counts}); {when}; {each('device')}, of {cores} cores; "
        f"torch {each('torch')}; commit {each('commit')}; processes that ran or waited a core when "
        f"a measurement began: median {np.median(loads):.1f}, most {max(loads):.1f}.*"
    )


def spread(row: Row, way: str, *, other: str = "bdnb") -> tuple[float, float, float]:
    """How many times as long a way takes: of the medians, lowest and highest of turns."""
    times = np.divide(row["times"][way], row["times"][other])
    return row["seconds"][way] / row["seconds"][other], float(times.min()), float(times.max())


def verdict(row: Row) -> str:
    """reached or not reached; empty for a row without target."""
    if row["target"] is None:
        return ""
    return "reached" if spread(row, "authors")[0] >= row["target"] else "not reached"


def answer(rows: list[Row]) -> Markdown:
    """How many targets are reached, and which are not."""
    asked = [row for row in of(rows, "ratio") if row["target"] is not None]
    if not asked:
        return Markdown("*No row has a target yet.*")
    lines = []
    for (model, device), own in _by(asked, "model", "device").items():
        missed = [row["row"] for row in own if verdict(row) != "reached"]
        said = f"- **{model}** ({device}): {len(own) - len(missed)} of {len(own)} targets reached"
        lines.append(said + (f"; not reached: {', '.join(missed)}." if missed else "."))
    return Markdown("\n".join(lines))


def _by(rows: list[Row], *names: str) -> dict[tuple, list[Row]]:
    """Rows by the values of these fields, in the order in which they come."""
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def ratios(rows: list[Row]) -> Styler | Markdown:
    """Our samples a second, and how many times as fast as the references, beside what is asked."""
    lines = []
    for row in of(rows, "ratio"):
        rate = row["samples"] / row["seconds"]["bdnb"]
        line = {"on": where(row), "what": row["row"], "bdnb, samples/s": f"{rate:,.4g}"}
        for way in ("authors", "open_clip"):
            line[f"times {WAYS[way]}"] = _interval(row, way) if way in row["seconds"] else "–"
        lines.append(line | {"n": row["repeats"], "asked": row["target"], "": verdict(row)})
    if not lines:
        return nothing("ratio")
    return styled(pd.DataFrame(lines).astype({"asked": float}))


def _interval(row: Row, way: str) -> str:
    middle, low, high = spread(row, way)
    return f"{middle:.2f}" + (f" ({low:.2f} to {high:.2f})" if row["repeats"] > 1 else "")


def machine(rows: list[Row]) -> Styler | Markdown:
    """Share of the matrix product's speed, what that speed would allow at most, and memory.

    The speed of a model's device is the best of its rows.
    """
    best: dict[str, float] = {}
    for row in of(rows, "ratio"):
        best[row["device"]] = max(best.get(row["device"], 0.0), row["peak_flops"])
    lines = []
    for row in of(rows, "ratio"):
        peak, ours = best[row["device"]], row["seconds"]["bdnb"]
        counted = row["flops"] > 0
        least = row["flops"] / peak
        line = {"on": where(row), "what": row["row"]}
        line |= {"matrix product, GFLOP/s": peak / 1e9}
        line |= {"share of it, %": 100 * least / ours if counted else np.nan}
        line |= {"times (a) at all of it": row["seconds"]["authors"] / least if counted else np.nan}
        for way, name in WAYS.items():
            line[f"MB {name}"] = row["memory_mb"].get(way, np.nan)
        lines.append(line)
    if not lines:
        return nothing("ratio")
    frame = pd.DataFrame(lines)
    whole = [c for c in frame if str(c).startswith("MB") or "GFLOP/s" in str(c)]
    return styled(frame).format("{:,.0f}", subset=whole, na_rep="–")


def gpu(rows: list[Row]) -> Styler | Markdown:
    """Rows of a GPU beside what one H100 is asked for; how to measure them where there are none."""
    found = [row for row in of(rows, "ratio") if on_gpu(row)]
    if not found:
        return Markdown(
            "No row here was measured on a GPU: what the project asks of one H100 is unchecked. "
            f"On a machine that has one:\n\n    {GPU} --out {FILE}"
        )
    lines = []
    for row in found:
        asked = GPU_ASKED.get(row["row"], np.nan) if row["model"] == "rn50" else np.nan
        rate = row["samples"] / row["seconds"]["bdnb"]
        said = "" if np.isnan(asked) else "reached" if rate >= asked else "not reached"
        line = {"model": row["model"], "device": row["device"], "what": row["row"]}
        lines.append(line | {"samples/s": rate, "asked of an H100": asked, "": said})
    return styled(pd.DataFrame(lines), 0)
