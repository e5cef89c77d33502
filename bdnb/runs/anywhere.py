"""Rows of a scale wherever they are: recorded here, else as they are shipped with the book."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import experiments, results, shipped


def rows_of_scale(scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of training and of cleaning runs, with a column ``source``: here or shipped.

    A run that is recorded here, whole or in part, is read from here.
    """
    asked = [config for configs in experiments.of_scale(scale).values() for config in configs]
    missing = [c for c in asked if not (experiments.folder(c) / "manifest.json").is_file()]
    here = [config for config in asked if config not in missing]
    with TemporaryDirectory() as folder:
        if missing:
            shipped.unpack(scale, Path(folder))
        frames = []
        for stage in (TrainConfig, CleanConfig):
            mine = results.rows([c for c in here if isinstance(c, stage)]).assign(source="here")
            others = results.rows([c for c in missing if isinstance(c, stage)], under=Path(folder))
            both = [part for part in (mine, others.assign(source="shipped")) if len(part)]
            frames.append(pd.concat(both, ignore_index=True) if both else pd.DataFrame())
    return frames[0], frames[1]
