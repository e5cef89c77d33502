"""What the paper published: Tables 1 to 3 as numbers, and the authors' files of raw points.

In: ``results_plots/cleaning_plot_data_*.json`` of the authors' repository, for a user who has
them. Out: a DataFrame with the columns of our own rows, to be laid under ours.
"""

import json
import math
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from bdnb.runtime.errors import ConfigError

SCALE = {"fraction": 100.0, "percent": 1.0}


class Published(NamedTuple):
    """The paper's numbers for one poisoned model, in percent; NaN where it gives none."""

    data: str
    poisoned: str
    """Our name of the training experiment that corresponds to it."""
    accuracy: float = math.nan
    """Before cleaning (Table 3)."""
    asr: float = math.nan
    """Before cleaning (Table 3)."""
    cleaned_accuracy: float = math.nan
    """The best at ASR <= 5 % after CleanCLIP (Table 2)."""
    change: float = math.nan
    """Relative change of accuracy at ASR <= 5 % (Table 1; Figure 4 for the ViT)."""


PAPER = (
    Published("CC3M", "train_cc3m_mmcl", 16.00, 99.88, 16.49),
    Published("CC3M", "train_cc3m_mmcl_ssl", 17.04, 99.03, 14.16),
    Published("CC6M", "train_mmcl", 23.76, 99.98, 24.04, 1.0),
    Published("CC6M", "train_mmcl_ssl", 23.86, 99.45, 13.05, -45.0),
    Published("CC6M", "train_finetune_mmcl", 60.30, 99.20, change=-17.0),
    Published("CC6M", "train_finetune_mmcl_ssl", 59.81, 90.24, change=-33.0),
    Published("CC6M", "train_vit_mmcl", change=-30.0),
    Published("CC6M", "train_vit_mmcl_ssl", change=-41.0),
    Published("CC6M", "train_label_mmcl", 22.96, 88.27, change=10.0),
    Published("CC6M", "train_label_mmcl_ssl", 23.09, 88.01, change=-16.0),
)


def paper() -> pd.DataFrame:
    """``PAPER`` as a DataFrame: a line a poisoned model, the fields of ``Published`` as columns."""
    return pd.DataFrame(PAPER, columns=list(Published._fields))


def read_published(
    path: Path | str, *, unit: Literal["fraction", "percent"] = "fraction"
) -> pd.DataFrame:
    """The authors' raw points of one file, ``{setting: [[asr, ...], [accuracy, ...]]}`` (JSON).

    unit: what the file's numbers are; the authors wrote fractions of 1.
    Out: a line a point, columns setting, point (its place in the list), asr and accuracy
    (percent). The files hold no epoch and no learning rate.
    Errors: ConfigError for a missing file, one that is not JSON (a pickle is never opened), one
    of another form, lists of unequal length, or values outside the unit's range.
    """
    path = Path(path)
    if unit not in SCALE:
        raise ConfigError(f"unit={unit!r}: expected fraction or percent")
    settings = _settings(path)
    frames = [_points(path, name, lists, SCALE[unit]) for name, lists in settings.items()]
    return pd.concat(frames, ignore_index=True)


def _settings(path: Path) -> dict[str, object]:
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{path}: not JSON ({error}); give one of their .json") from error
    if not isinstance(settings, dict) or not settings:
        raise ConfigError(f"{path}: expected {{setting: [[asr, ...], [accuracy, ...]]}}")
    return settings


def _points(path: Path, setting: str, lists: object, scale: float) -> pd.DataFrame:
    place = f"{path}: {setting!r}"
    if not isinstance(lists, list) or [type(values) for values in lists] != [list, list]:
        raise ConfigError(f"{place}: expected two lists, [asr, ...] and [accuracy, ...]")
    asr, accuracy = lists
    if len(asr) != len(accuracy):
        raise ConfigError(f"{place}: {len(asr)} values of ASR but {len(accuracy)} of accuracy")
    if not all(_is_share(value, 100.0 / scale) for value in asr + accuracy):
        raise ConfigError(
            f"{place}: expected numbers between 0 and {100.0 / scale:g}; "
            "is the file in another unit (unit='fraction' or 'percent')?"
        )
    values = {"asr": asr, "accuracy": accuracy}
    points = pd.DataFrame({name: [scale * v for v in column] for name, column in values.items()})
    points.insert(0, "setting", setting)
    points.insert(1, "point", range(len(points)))
    return points


def _is_share(value: object, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most
