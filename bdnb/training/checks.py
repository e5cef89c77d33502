"""What numbers and metadata alone show to be wrong with a run, before anything is decoded or made.

In: single parameters of a run. Out: nothing, or ConfigError.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import open_clip
import torch

from bdnb import models
from bdnb.config import parameters
from bdnb.data import datasets
from bdnb.data.datasets import Dataset
from bdnb.data.labelled import class_index
from bdnb.poison.stamps import Stamp
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


def check_numbers(
    data: str, split: str, *, pairs: int, counts: Mapping[str, int], target: str
) -> None:
    """Refuse counts above those of a data set's split, and a target that is no class of it.

    pairs: how many are used; 0: all. counts: other numbers that cannot be larger, by parameter.
    Errors: ConfigError.
    """
    there = known(data)
    most = there.counts.get(split)
    if most is not None and pairs > most:
        raise ConfigError(f"pairs={pairs}: {data} has {most}")
    used = pairs or most
    for name, value in counts.items():
        if used is not None and value > used:
            raise ConfigError(f"{name}={value}: above the {used} pairs there are")
    if there.classes:
        class_index(there.classes, target, where=data, what="target=")


def check_trigger(stamp: Stamp, model: str) -> None:
    """Put a trigger on one image of a model's size. Errors: ConfigError where it does not fit."""
    size = open_clip.get_model_config(model)["vision_cfg"]["image_size"]
    height, width = (size, size) if isinstance(size, int) else size
    stamp(torch.zeros(1, 3, height, width, dtype=torch.uint8), ["0"])


def check_weights(path: Path, model: str) -> None:
    """Refuse weights that cannot be read, are of another model, or are not finite.

    model: open_clip's name. Errors: ConfigError.
    """
    _load(path, path.stat().st_mtime_ns, models.check_name(model))


@cache
def _load(path: Path, _: int, model: str) -> None:
    """Kept by the file's time: a grid asks for the same weights many times."""
    bias = models.read_about(path).get("config", {}).get("objective") == "siglip"
    weights = models.load(model, path, bias=bias).clip.state_dict()
    bad = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if bad:
        raise ConfigError(f"{path}: {len(bad)} weights are not finite numbers, {bad[0]} the first")
