"""What numbers and metadata alone show to be wrong with a run, before anything is decoded or made.

In: a stage's parameters, and those that the model was trained with. Out: nothing, or ConfigError.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch

from bdnb import models
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import datasets
from bdnb.data.datasets import Dataset
from bdnb.evaluate.attack_success import target_index
from bdnb.poison.stamps import Stamp
from bdnb.runs.experiments import Stage
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root


class Known(NamedTuple):
    """What is known of a data set: pairs of each split, classes (none before it is made)."""

    counts: dict[str, int]
    classes: list[str]


def known(name: str) -> Known:
    """Return what is known of a data set that is not made here. Errors: ConfigError."""
    data = Dataset(root() / "data" / parameters.checked_name(name, f"data={name!r}"))
    if (root() / "params" / name / "data.yaml").is_file():
        values = parameters.load(name, "data")
        if (shown := values.get("elsewhere", name)) != name:
            return known(shown)
        if not data.about:
            drawn = {"train": values.get("pairs"), "clean": values.get("cleaning_pairs")}
            return Known({split: count for split, count in drawn.items() if count}, [])
    elif not (data.folder / "train").is_dir():
        datasets.dataset(name)
    first = data.folder / "val" / "classnames.txt"
    lines = first.read_text("utf-8").splitlines() if first.is_file() else []
    return Known(data.counts, [line.strip() for line in lines if line.strip()])


def check_numbers(config: Stage, source: TrainConfig, stamp: Stamp) -> None:
    """Refuse counts above those of the data, a target that is no class, too large a trigger.

    source: the training run, with the attack that is measured. stamp: its trigger, which is put on
    one image here. Errors: ConfigError.
    """
    there = known(config.data or source.data)
    split = "clean" if isinstance(config, CleanConfig) and config.overlap == "separate" else "train"
    most = there.counts.get(split)
    if most is not None and config.pairs > most:
        raise ConfigError(f"pairs={config.pairs}: {config.data or source.data} has {most}")
    used = config.pairs or most
    poisons = config.poisons if isinstance(config, CleanConfig) else config.poison_count
    for name, value in (("batch_size", config.batch_size), ("poisons", poisons)):
        if used is not None and value > used:
            name = "poison_count" if name == "poisons" and config is source else name
            raise ConfigError(f"{name}={value}: above the {used} pairs there are")
    if there.classes:
        target_index(there.classes, source.target)
    size = open_clip.get_model_config(source.model)["vision_cfg"]["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    stamp(torch.zeros(1, 3, height, width, dtype=torch.uint8), ["0"])


def check_weights(path: Path, model: str = "") -> None:
    """Refuse weights that cannot be read, are of another model, or are not finite.

    model: open_clip's name; empty: the file says it. Errors: ConfigError.
    """
    name = model or models.read_about(path).get("model", "")
    if not name:
        raise ConfigError(f"{path}: from elsewhere: say which open_clip model it is (model=...)")
    _load(path, path.stat().st_mtime_ns, models.check_name(name))


@cache
def _load(path: Path, _: int, model: str) -> None:
    """Kept by the file's time: a grid asks for the same weights many times."""
    bias = models.read_about(path).get("config", {}).get("objective") == "siglip"
    weights = models.load(model, path, bias=bias).clip.state_dict()
    bad = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if bad:
        raise ConfigError(f"{path}: {len(bad)} weights are not finite numbers, {bad[0]} the first")
