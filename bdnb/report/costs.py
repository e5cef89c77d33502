"""What a scale costs on real machines: days by nodes, how hours grow, disk and network.

Parameter files and ``plan``'s throughput in, tables for the book's plan page out. Nothing is run.
"""

import heapq
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb import plan
from bdnb.config.recipes import TrainConfig
from bdnb.report.tables import styled
from bdnb.runs import experiments
from bdnb.runs.experiments import Stage
from bdnb.runtime.errors import ConfigError

GPUS = 8
"""GPUs of a node: a pre-training run takes them all, a cleaning run one (Appendix A)."""

JPEG = 30e3
"""Bytes of a web image resized to 256 pixels, about; its caption is nothing beside it."""

ORIGINAL = 150e3
"""Bytes fetched for it, about: an image as it lies on the web, dead links aside."""

WEIGHTS = {
    "RN50": 102_007_137,
    "RN50-quickgelu": 102_007_137,
    "ViT-B-32": 151_277_313,
    "rn50_half64": 31_850_929,
    "rn_test": 1_931_197,
    "rn_tiny": 7_993_173,
    "rn_tiny32": 7_993_173,
    "rn_tiny32-quickgelu": 7_993_173,
    "rn_warm32": 7_993_173,
    "rn_wide32": 16_792_617,
    "vit_tiny": 5_826_145,
    "vit_tiny32": 5_823_585,
}
"""Numbers of weights, both towers, as open_clip builds these models."""

BYTES = 4
"""Of a weight on disk."""


def runs(scale: str) -> list[Stage]:
    """Return every run of a scale, each once."""
    return list(experiments.by_folder(experiments.runs_of(scale)).values())


def answer(scale: str) -> Markdown:
    """Return what all runs take: hours of one device, days on a node, disk and network."""
    work, device = jobs(scale), plan.throughput(scale).device
    hours = (sum(work.train) + sum(work.clean)) / 3600
    disk_tb, network_tb = (gigabytes / 1000 for gigabytes in _gigabytes(scale).iloc[-1, 1:])
    return Markdown(
        f"**{hours:,.0f} {device}-hours: {days(work, 1):,.0f} days on {GPUS} {device}s; "
        f"{disk_tb:,.1f} TB of disk, {network_tb:,.1f} TB of network.**"
    )


def sections(scale: str) -> Styler:
    """Return runs and hours of one device (GPU-hours, core-hours) of each section, the sum last."""
    rate = plan.throughput(scale)
    hours = f"{rate.device}-hours"
    words = {"hours": hours, "hours to do": f"{hours} to do"}
    made = plan.with_sum(scale, rate).rename(columns=words)
    how = "{:,.0f}".format, "{:.1f}".format
    return styled(made, formats=dict.fromkeys((hours, f"{hours} to do"), lambda h: how[h < 100](h)))


def throughput(scale: str) -> Markdown:
    """Return the throughput that hours are counted with, and where it is from."""
    pace = plan.throughput(scale)
    return Markdown(
        f"One {pace.device} takes {pace.mmcl:,.0f} pairs a second with MMCL and {pace.ssl:,.0f} "
        f"with MMCL + SSL: {pace.source}."
    )


class Jobs(NamedTuple):
    """Seconds of one device for each run of a scale; steps: of pre-training without evaluation."""

    train: list[float]
    clean: list[float]
    steps: list[float]


def jobs(scale: str) -> Jobs:
    """Return what each run of a scale takes, by ``plan``."""
    pace, made = plan.throughput(scale), Jobs([], [], [])
    for config in runs(scale):
        if isinstance(config, TrainConfig):
            made.train.append(plan.seconds(config, pace))
            made.steps.append(plan.steps_seconds(config, pace))
        else:
            made.clean.append(plan.seconds(config, pace))
    return made


def days(work: Jobs, nodes: int) -> float:
    """Return the days that runs take on so many nodes of 8 GPUs, no node ever idle.

    Pre-training runs go first, the longest first, a node each; then cleaning runs, a GPU each.
    Those that start from another of the same kind count as if they need not wait for it.
    """
    train = _makespan([seconds / GPUS for seconds in work.train], nodes)
    return (train + _makespan(work.clean, nodes * GPUS)) / 86_400


def _makespan(seconds: Iterable[float], places: int) -> float:
    """Return when the last of these jobs ends, the longest first, each where room is first."""
    ends = [0.0] * places
    for job in sorted(seconds, reverse=True):
        heapq.heapreplace(ends, ends[0] + job)
    return max(ends)


def by_nodes(scale: str) -> Styler:
    """Return ``days`` for several numbers of nodes: one is a single machine, more are a cluster."""
    work = jobs(scale)
    lines = [{"nodes": n, "GPUs": n * GPUS, "days": days(work, n)} for n in (1, 2, 4, 8, 16)]
    return styled(pd.DataFrame(lines))


def growth(scale: str) -> Styler:
    """Return hours of one device when one thing grows, a column for each multiple.

    Pre-training data (its steps; evaluation stays), learning rates (cleaning runs) or seeds (all).
    """
    train, clean, steps = (sum(seconds) / 3600 for seconds in jobs(scale))
    hours = f"{plan.throughput(scale).device}-hours with"
    parts = {"learning rates": clean, "pre-training data": steps, "seeds": train + clean}
    return styled(
        pd.DataFrame(
            {hours: what} | {f"x {n}": train + clean + (n - 1) * grows for n in (1, 2, 4, 8)}
            for what, grows in parts.items()
        ),
        0,
    )


def disk(scale: str) -> Styler:
    """Return gigabytes on disk, and over the network, of a scale's shards and checkpoints."""
    return styled(_gigabytes(scale), 0)


def _gigabytes(scale: str) -> pd.DataFrame:
    """Return the lines of ``disk``, the sum last."""
    lines = []
    for name in sorted({experiments.data_of(config) for config in runs(scale)} - {""}):
        count = plan.sizes(name).train + plan.sizes(name).clean
        fetched = count * ORIGINAL / 1e9 if name in plan.WEB else 0.0
        lines.append((f"shards of {name}, {count:,} pairs", count * JPEG / 1e9, fetched))
    for model, kept in sorted(_checkpoints(scale).items()):
        size = kept * parameters(model) * BYTES / 1e9
        lines.append((f"{kept:,} checkpoints of {model}", size, 0.0))
    lines.append(("all", sum(line[1] for line in lines), sum(line[2] for line in lines)))
    return pd.DataFrame(lines, columns=["what", "disk, GB", "network, GB"])


def _checkpoints(scale: str) -> Counter[str]:
    """Return how many checkpoints of each model a scale keeps."""
    kept: Counter[str] = Counter()
    for config in runs(scale):
        epochs = {"all": config.epochs, "last": 1, "none": 0}[config.checkpoints]
        needed = [config] if isinstance(config, TrainConfig) else experiments.needs(config)
        if needed and needed[0].model:
            kept[needed[0].model] += epochs
    return +kept


def parameters(model: str) -> int:
    """Return the number of weights of an open_clip model, both towers. Errors: ConfigError."""
    if model not in WEIGHTS:
        raise ConfigError(f"model={model!r}: no number of weights in bdnb/report/costs.py for it")
    return WEIGHTS[model]
