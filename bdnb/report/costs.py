"""What a scale costs on real machines: days by nodes, how hours grow, disk and network.

Parameter files and ``plan``'s throughput in, tables for the book's plan page out. Nothing is run.
"""

import heapq
from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb import plan
from bdnb.config.recipes import CleanConfig, TrainConfig
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
"""Of a weight on disk; an optimiser's state has two more of each."""


def runs(scale: str) -> list[Stage]:
    """Return every run of a scale, each once."""
    listed = [config for configs in experiments.of_scale(scale).values() for config in configs]
    return list({experiments.folder(config): config for config in listed}.values())


def sections(scale: str) -> Styler:
    """Return runs and device-hours of each section, the sum last."""
    hours = f"{plan.throughput(scale).device}-hours"
    made = plan.with_sum(scale).rename(columns={"hours": hours, "hours to do": f"{hours} to do"})
    return styled(made, formats=dict.fromkeys((hours, f"{hours} to do"), _hours))


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}"


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
    pace, all_runs = plan.throughput(scale), runs(scale)
    train = [config for config in all_runs if isinstance(config, TrainConfig)]
    clean = [config for config in all_runs if isinstance(config, CleanConfig)]
    return Jobs(
        [plan.seconds(config, pace) for config in train],
        [plan.seconds(config, pace) for config in clean],
        [plan.steps_seconds(config, pace) for config in train],
    )


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


def by_nodes(scale: str, nodes: Iterable[int] = (1, 2, 4, 8, 16)) -> Styler:
    """Return ``days`` for several numbers of nodes: one is a single machine, more are a cluster."""
    work = jobs(scale)
    lines = [{"nodes": n, "GPUs": n * GPUS, "days": days(work, n)} for n in nodes]
    return styled(pd.DataFrame(lines))


def growth(scale: str, times: Iterable[int] = (1, 2, 4, 8)) -> pd.DataFrame:
    """Return device-hours when one thing grows: columns what, times, hours.

    what: pre-training data (its steps; evaluation stays), learning rates (cleaning runs), seeds
    (all of it).
    """
    train, clean, steps = (sum(seconds) / 3600 for seconds in jobs(scale))
    parts = {"pre-training data": (steps, train - steps + clean)}
    parts |= {"learning rates": (clean, train), "seeds": (train + clean, 0.0)}
    return pd.DataFrame(
        [
            {"what": what, "times": n, "hours": n * grows + stays}
            for what, (grows, stays) in parts.items()
            for n in times
        ]
    )


def growth_table(scale: str) -> Styler:
    """Return ``growth`` with a column for each multiple."""
    wide = growth(scale).pivot(index="what", columns="times", values="hours")
    wide.columns = [f"x {n}" for n in wide.columns]
    return styled(wide.reset_index().rename(columns={"what": "device-hours with"}), 0)


def disk(scale: str) -> Styler:
    """Return gigabytes on disk, and over the network, of a scale's shards and checkpoints."""
    lines = []
    for name in sorted({experiments.data_of(config) for config in runs(scale)} - {""}):
        sizes = plan.sizes(name)
        count = sizes.train + sizes.clean
        fetched = count * ORIGINAL / 1e9 if name in plan.WEB else 0.0
        what = f"shards of {name}, {count:,} pairs"
        lines.append({"what": what, "disk, GB": count * JPEG / 1e9, "network, GB": fetched})
    for model, kept in sorted(_checkpoints(scale).items()):
        size = kept * parameters(model) * BYTES / 1e9
        what = f"{kept:,} checkpoints of {model}"
        lines.append({"what": what, "disk, GB": size, "network, GB": 0.0})
    made = pd.DataFrame(lines)
    total = {"what": "all"} | made.drop(columns="what").sum().to_dict()
    return styled(pd.concat([made, pd.DataFrame([total])], ignore_index=True), 0)


def _checkpoints(scale: str) -> dict[str, int]:
    """Return how many checkpoints of each model a scale keeps."""
    kept: dict[str, int] = {}
    for config in runs(scale):
        epochs = {"all": config.epochs, "last": 1, "none": 0}[config.checkpoints]
        needed = [config] if isinstance(config, TrainConfig) else experiments.needs(config)
        name = needed[0].model if needed else ""
        if name and epochs:
            kept[name] = kept.get(name, 0) + epochs
    return kept


def parameters(model: str) -> int:
    """Return the number of weights of an open_clip model, both towers. Errors: ConfigError."""
    if model not in WEIGHTS:
        raise ConfigError(f"model={model!r}: no number of weights in bdnb/report/costs.py for it")
    return WEIGHTS[model]
