"""Experiments by name: from a parameter file to its runs, to their folders, to their rows.

Free of torch, so that Snakemake can plan hundreds of runs in a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb import configs
from bdnb.configs import CleanConfig, ConfigError, TrainConfig
from bdnb.records import Run, read_runs, runs_folder

Stage = TrainConfig | CleanConfig

# The stage whose runs a notebook makes; the other notebooks only read.
STAGE_OF = {
    "train": TrainConfig,
    "clean": CleanConfig,
    "ablations": CleanConfig,
    "nonideal": CleanConfig,
    "stopping": CleanConfig,
}


def notebook_of(experiment: str) -> str:
    """The notebook that an experiment's parameter file belongs to: its first word."""
    return experiment.partition("_")[0]


def expand(cls: type, values: Mapping[str, Any], *, where: str) -> list[Any]:
    """A stage's dataclasses for every point of a grid: each list is an axis.

    Every point is checked before any is returned. Errors: ConfigError.
    """
    single = {f.name for f in fields(cls) if configs.takes_list(f)}
    axes = {k: v for k, v in values.items() if isinstance(v, list | tuple) and k not in single}
    for name, points in axes.items():
        if not points:
            raise ConfigError(f"{where}: {name} is an empty list: expected at least one value")
    rest = {k: v for k, v in values.items() if k not in axes}
    grid = product(*axes.values())
    made: list[Any] = [
        configs.make(cls, rest | dict(zip(axes, p, strict=True)), where=where) for p in grid
    ]
    return list({configs.digest(asdict(c)): c for c in made}.values())


def of_file(scale: str, experiment: str) -> list[Any]:
    """The runs that ``params/<scale>/<experiment>.yaml`` asks for."""
    cls = STAGE_OF[notebook_of(experiment)]
    where = f"params/{scale}/{experiment}.yaml"
    return expand(cls, configs.load(scale, experiment), where=where)


def trained(scale: str, experiment: str, seed: int) -> TrainConfig:
    """The training run of an experiment with one seed."""
    values = configs.load(scale, experiment) | {"seed": seed}
    where = f"params/{scale}/{experiment}.yaml"
    config: TrainConfig = configs.make(TrainConfig, values, where=where)
    return config


def is_experiment(scale: str, name: str) -> bool:
    """Whether a name stands for a parameter file of that scale (and not for a file or folder)."""
    return (configs.root() / "params" / scale / f"{name}.yaml").is_file()


def needs(config: Stage) -> list[TrainConfig]:
    """The training runs that must be there before this run: the poisoned model and its like."""
    if isinstance(config, TrainConfig):
        starts = is_experiment(config.scale, config.init) if config.init else False
        return [trained(config.scale, config.init, config.seed)] if starts else []
    if not is_experiment(config.scale, config.poisoned):
        return []
    source = trained(config.scale, config.poisoned, config.seed)
    return [source, *like(source)]


def like(config: Stage) -> list[TrainConfig]:
    """The training run whose accuracy says which epoch of this one is kept, if there is one."""
    if not isinstance(config, TrainConfig) or config.keep != "closest":
        return []
    return [trained(config.scale, config.keep_like, config.seed)]


def identity(config: Stage) -> dict[str, Any]:
    """All that a run's rows depend on, that of the models it starts from included."""
    values = configs.identity(config)
    if sources := needs(config):
        values |= {"from": [folder(source).name for source in sources]}
        values.pop("poisoned", None)
        values.pop("init", None)
        values |= {"keep": sources[0].keep} if isinstance(config, CleanConfig) else {}
    return values


def folder(config: Stage) -> Path:
    """A run's folder: a readable name, and a digest of everything that its rows depend on."""
    if isinstance(config, TrainConfig):
        label = f"train-{config.objective}"
    else:
        label = f"clean-{config.defence}-{config.loss}-lr{config.lr:.0e}".replace("e-0", "e-")
    return runs_folder() / f"{label}-s{config.seed}-{configs.digest(identity(config))}"


def kept_epoch(config: TrainConfig) -> int:
    """The epoch of a finished training run that is cleaned later (Appendix A).

    keep: "best", highest accuracy; "closest", accuracy closest to the kept one of ``keep_like``;
    "last". Errors: ConfigError when the rows are not there yet.
    """
    rows = [row for row in Run(folder(config)).rows() if row["epoch"] > 0]
    if not rows:
        raise ConfigError(f"{config.experiment}: no rows in {folder(config).name}; train it first")
    if config.keep == "last":
        return int(rows[-1]["epoch"])
    if config.keep == "best":
        return int(max(rows, key=lambda row: row["accuracy"])["epoch"])
    (other,) = like(config)
    if other.keep == "closest":
        raise ConfigError(
            f"{config.experiment}: keep_like={config.keep_like} is itself keep=closest"
        )
    wanted = next(
        row["accuracy"] for row in Run(folder(other)).rows() if row["epoch"] == kept_epoch(other)
    )
    return int(min(rows, key=lambda row: abs(row["accuracy"] - wanted))["epoch"])


def rows(asked: Sequence[Stage]) -> pd.DataFrame:
    """The tidy rows of these runs, as far as recorded, under the names that asked for them."""
    frames = []
    for config in asked:
        path = folder(config)
        if (path / "manifest.json").is_file():
            frame = read_runs([path])
            names = {"scale": config.scale, "experiment": config.experiment}
            if isinstance(config, CleanConfig):
                names |= {"poisoned": config.poisoned, "study": config.study}
            frames.append(frame.assign(**names))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def of_scale(scale: str) -> dict[str, list[Any]]:
    """Every experiment of a scale that has runs, by name."""
    names = sorted(path.stem for path in configs.scale_folder(scale).glob("*.yaml"))
    return {name: of_file(scale, name) for name in names if notebook_of(name) in STAGE_OF}


def rows_of_scale(scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy rows of all recorded runs of a scale: of training, and of cleaning."""
    asked = [config for configs_ in of_scale(scale).values() for config in configs_]
    train = [config for config in asked if isinstance(config, TrainConfig)]
    return rows(train), rows([config for config in asked if isinstance(config, CleanConfig)])


def kept_rows(asked: Sequence[TrainConfig]) -> pd.DataFrame:
    """The row of each training run's kept epoch: the models that are cleaned (Table 3)."""
    frames = []
    for config in asked:
        if Run(folder(config)).finished:
            frame = rows([config])
            frames.append(frame[frame["epoch"] == kept_epoch(config)])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
