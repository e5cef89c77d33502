"""What a scale costs before it is run: runs and hours of each section. No torch.

``python -m bdnb.plan paper``. Parameter files and throughputs in, a table out; no data, in seconds.
"""

import argparse
import re
import tarfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from bdnb.analysis import verdict_rules
from bdnb.config import parameters
from bdnb.config.recipes import ONE_VIEW, TrainConfig
from bdnb.data.shards import successes
from bdnb.runs import experiments, results
from bdnb.runs.experiments import Stage
from bdnb.runs.records import finished
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root


class Rate(NamedTuple):
    """Pairs a second of one device, with MMCL (or SigLIP) and with second views (SSL)."""

    mmcl: float
    ssl: float
    device: str
    source: str


class Sizes(NamedTuple):
    """How much there is in a data set."""

    train: int
    clean: int
    evaluated: int
    """Images that an evaluation sees: for accuracy, and once more triggered."""


AUTHORS = "the authors' 24-40 h of 8 A100s on CC6M, until this scale has runs recorded here"
DESK = "one AVX2 core, small ResNet at 32 pixels, until this scale has runs recorded here"
THROUGHPUT = {"paper": Rate(510, 350, "GPU", AUTHORS)}
SMALL = Rate(530, 280, "core", DESK)
"""Throughput of a scale of which no run is recorded. RN50's is taken for the faster ViT, too."""

WEB = {"cc3m": Sizes(3_000_000, 200_000, 100_000), "cc6m": Sizes(6_000_000, 200_000, 100_000)}
"""Sets that nothing here draws: pairs, and ImageNet's 50,000 validation images twice."""

FORWARD = 3.0
"""Evaluation goes forward only: about three times the images of an MMCL step in the same time."""


def sizes(data: str) -> Sizes:
    """What a data set holds, by its parameter file, or as it lies under ``data/``.

    Errors: ConfigError for an unknown set.
    """
    if data in WEB:
        return WEB[data]
    if (root() / "params" / data / "data.yaml").is_file():
        made = parameters.load(data, "data")
        if (shown := made.get("elsewhere", data)) != data:
            return sizes(shown)
        val, unseen = int(made["val_images"]), int(made["unseen_images"])
        return Sizes(int(made["pairs"]), int(made["cleaning_pairs"]), 2 * val + unseen)
    folder = root() / "data" / data
    if not data or not (folder / "train").is_dir():
        raise ConfigError(
            f"data={data!r}: neither params/{data}/data.yaml nor data/{data}/train/ is there"
        )
    labelled = [counted(path.parent / "test") for path in folder.glob("*/classnames.txt")]
    evaluated = sum(labelled) + counted(folder / "val" / "test")
    return Sizes(counted(folder / "train"), counted(folder / "clean"), evaluated)


@cache
def counted(folder: Path) -> int:
    """The samples in a folder of shards: as img2dataset counted them, else by their names."""
    total = 0
    for path in folder.glob("*.tar"):
        if (found := successes([path])) is None:
            with tarfile.open(path) as shard:
                found = len({Path(member.name).stem for member in shard})
        total += found
    return total


def throughput(scale: str) -> Rate:
    """Pairs a second by the scale's recorded epochs (medians), or from elsewhere as it says.

    Counted a device: a run on several GPUs, or with several threads, is divided by their number.
    """
    elsewhere = THROUGHPUT.get(scale, SMALL)
    frames = [frame for frame in results.rows_of_scale(scale) if "pairs_per_s" in frame]
    if not frames:
        return elsewhere
    rows = pd.concat(frames, ignore_index=True)
    rows = rows[(rows["epoch"] > 0) & rows["pairs_per_s"].notna()]
    losses = rows["loss"] if "loss" in rows else pd.Series(index=rows.index, dtype=object)
    ssl = ~losses.fillna(rows.get("objective", "")).isin(ONE_VIEW)
    if ssl.all() or not ssl.any():
        return elsewhere
    each = rows["pairs_per_s"] / rows["device"].map(devices)
    source = f"median of {len(rows)} epochs recorded here ({rows['device'].mode()[0]})"
    return Rate(each[~ssl].median(), each[ssl].median(), elsewhere.device, source)


def devices(name: str) -> int:
    """How many GPUs or cores a manifest's device stands for: "8 x ...", "cpu, 2 threads, fp32"."""
    found = re.search(r"^(\d+) x |(\d+) threads", name)
    return int(found[1] or found[2]) if found else 1


def seconds(config: Stage, rate: Rate) -> float:
    """What a run takes on one device: its steps, and an evaluation before and after each epoch."""
    evaluated = sizes(experiments.data_of(config)).evaluated
    return steps_seconds(config, rate) + (config.epochs + 1) * evaluated / (FORWARD * rate.mmcl)


def steps_seconds(config: Stage, rate: Rate) -> float:
    """What a run's steps take on one device; a model that is only looked at has none."""
    data = sizes(experiments.data_of(config))
    if isinstance(config, TrainConfig):
        pairs, loss = config.pairs or data.train, config.objective
    elif config.defence in ("screen", "detect"):
        return 0.0
    else:
        own = data.train if config.defence == "drop" else data.clean
        pairs, loss = config.pairs or own, config.loss
    return config.epochs * pairs / (rate.mmcl if loss in ONE_VIEW else rate.ssl)


def sections(scale: str, rate: Rate | None = None) -> pd.DataFrame:
    """A line an experiment: runs (each counted where it is first asked for), to do, hours.

    rate: the scale's throughput, where it is known already. Errors: ConfigError for a scale or
    parameter file that cannot be used.
    """
    rate = rate or throughput(scale)
    seen: set[str] = set()
    lines: list[dict[str, Any]] = []
    requested = experiments.of_scale(scale)
    for name in sorted(requested, key=_order):
        runs = experiments.by_folder(requested[name])
        own = {path: c for path, c in runs.items() if path.name not in seen}
        seen |= {path.name for path in own}
        left = [c for path, c in own.items() if not finished(path)]
        hours = _hours(own.values(), rate)
        lines.append(
            {"experiment": name, "runs": len(own), "shared": len(runs) - len(own)}
            | {"to do": len(left), "hours": hours, "hours to do": _hours(left, rate)}
        )
    return pd.DataFrame(lines)


def with_sum(scale: str, rate: Rate | None = None) -> pd.DataFrame:
    """``sections`` with a last line ``all``, the sums."""
    made = sections(scale, rate)
    total = made.drop(columns="experiment").sum().to_frame().T.assign(experiment="all")
    counted = {"runs": int, "shared": int, "to do": int}
    return pd.concat([made, total], ignore_index=True).astype(counted)


def verdicts(scale: str) -> str:
    """Which sections of a scale can decide a conclusion, and what the others are good for."""
    least, requested = verdict_rules.MIN_SEEDS, experiments.of_scale(scale)
    few = [name for name, runs in requested.items() if len({c.seed for c in runs}) < least]
    few = [name for name in few if not _controls(requested[name])]
    if not few:
        return f"Every section has {least} seeds or more, enough for a verdict."
    return (
        f"A verdict takes {least} seeds or more. With one seed these give a "
        "number to set beside the paper's, which has one seed as well, and cannot say whether "
        f"another seed would give it, too: {', '.join(sorted(few, key=_order))}."
    )


def _controls(runs: Iterable[Stage]) -> bool:
    """Whether they train a fresh model alone: the retraining ratio, which no verdict is on."""
    return all(getattr(run, "defence", "") == "retrain" for run in runs)


def _order(name: str) -> tuple[int, str]:
    """Training first, then cleaning, then the studies."""
    notebook = experiments.notebook_of(name)
    return list(experiments.STAGE_OF).index(notebook), name


def _hours(requested: Iterable[Stage], rate: Rate) -> float:
    return sum(seconds(config, rate) for config in requested) / 3600


def text(scale: str) -> str:
    """The table with its sums, and where the throughput comes from."""
    rate = throughput(scale)
    whole = with_sum(scale, rate)
    for name in ("hours", "hours to do"):
        whole[name] = whole[name].map("{:,.1f}".format)
    table = whole.rename(columns={"hours": f"{rate.device}-hours"}).to_string(index=False)
    return (
        f"Plan of scale {scale!r}. A run that several experiments ask for is counted once; the "
        f"others count it as shared.\n{table}\n{rate.mmcl:.0f} pairs/s a {rate.device} with MMCL, "
        f"{rate.ssl:.0f} with SSL: {rate.source}. Evaluation: {FORWARD:g} images in the time of an "
        f"MMCL pair.\n{verdicts(scale)}"
    )


def main() -> None:
    """``python -m bdnb.plan SCALE``: print the plan."""
    parser = argparse.ArgumentParser(prog="python -m bdnb.plan", description=__doc__)
    parser.add_argument("scale", help="folder of params/")
    given = parser.parse_args()
    with command():
        print(text(given.scale))


if __name__ == "__main__":
    main()
