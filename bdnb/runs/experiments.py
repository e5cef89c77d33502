"""Experiments by name: from a parameter file to its runs, to their folders, to their rows.

Free of torch, so that Snakemake can plan hundreds of runs in a second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import elsewhere
from bdnb.runs.records import Run, read_runs, runs_folder
from bdnb.runtime import plugins, project
from bdnb.runtime.errors import ConfigError

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

    A list inside a mapping is an axis, too: ``options: {shrink: [0.5, 0.9]}`` has two points
    (``{shrink: [[1, 2]]}`` has one, whose value is a list). ``grids`` is a list of mappings, each
    a grid of its own with the other values as its defaults; the runs are those of all of them.
    Every point is checked before any is returned. Errors: ConfigError.
    """
    grids = values.get("grids", [{}])
    if not isinstance(grids, list) or not grids or any(not isinstance(g, dict) for g in grids):
        raise ConfigError(f"{where}: grids={grids!r}: expected a list of `name: value` pairs")
    rest = {k: v for k, v in values.items() if k != "grids"}
    single = {f.name for f in fields(cls) if parameters.takes_list(f)}
    points = [point for grid in grids for point in _points(rest | grid, single, where)]
    made: list[Any] = [parameters.make(cls, point, where=where) for point in points]
    return list({parameters.digest(asdict(c)): c for c in made}.values())


def _points(grid: Mapping[str, Any], single: set[str], where: str) -> list[dict[str, Any]]:
    """The points of one grid. single: names whose list is one value."""
    axes: list[list[Any]] = []
    for name, value in grid.items():
        listed = isinstance(value, list | tuple) and name not in single
        axis = list(value) if listed else [value]
        if not axis:
            raise ConfigError(f"{where}: {name} is an empty list: expected at least one value")
        inner = [_points(v, set(), where) if isinstance(v, dict) else [v] for v in axis]
        axes.append([point for points in inner for point in points])
    return [dict(zip(grid, point, strict=True)) for point in product(*axes)]


def of_file(scale: str, experiment: str) -> list[Any]:
    """The runs that ``params/<scale>/<experiment>.yaml`` asks for."""
    cls = STAGE_OF[notebook_of(experiment)]
    where = f"params/{scale}/{experiment}.yaml"
    return expand(cls, parameters.load(scale, experiment), where=where)


def of_notebook(notebook: str, scale: str) -> dict[str, str]:
    """The parameter files of a scale that belong to a notebook, by what follows its name in them.

    So ``ablations_ssl_weight`` is the study ``ssl_weight`` of ``ablations``.
    """
    names = sorted(path.stem for path in parameters.scale_folder(scale).glob(f"{notebook}*.yaml"))
    mine = [name for name in names if notebook_of(name) == notebook]
    return {name.partition("_")[2]: name for name in mine}


def trained(scale: str, experiment: str, seed: int) -> TrainConfig:
    """The training run of an experiment with one seed."""
    values = parameters.load(scale, experiment) | {"seed": seed}
    where = f"params/{scale}/{experiment}.yaml"
    config: TrainConfig = parameters.make(TrainConfig, values, where=where)
    return config


def is_experiment(scale: str, name: str) -> bool:
    """Whether a name stands for a parameter file of that scale (and not for a file or folder)."""
    return (project.root() / "params" / scale / f"{name}.yaml").is_file()


def needs(config: Stage) -> list[TrainConfig]:
    """The training runs that must be there before this run: the poisoned model and its like."""
    if isinstance(config, TrainConfig):
        starts = is_experiment(config.scale, config.init) if config.init else False
        return [trained(config.scale, config.init, config.seed)] if starts else []
    if not is_experiment(config.scale, config.poisoned):
        return []
    source = trained(config.scale, config.poisoned, config.seed)
    judge = config.options.get("classifier", "")
    judges = [judge] if is_experiment(config.scale, judge) else []
    return [source, *like(source), *(trained(config.scale, name, config.seed) for name in judges)]


def like(config: Stage) -> list[TrainConfig]:
    """The training run whose accuracy says which epoch of this one is kept, if there is one."""
    if not isinstance(config, TrainConfig) or config.keep != "closest":
        return []
    return [trained(config.scale, config.keep_like, config.seed)]


def screened(config: Stage) -> list[CleanConfig]:
    """The runs among which ``pick`` finds its options: those of the same file that pick nothing."""
    if not isinstance(config, CleanConfig) or not config.pick:
        return []
    values = parameters.load(config.scale, config.experiment)
    same = {"seed": config.seed, "poisoned": config.poisoned}
    grids = [g | same for g in values.get("grids", []) if not g.get("pick", values.get("pick"))]
    where = f"params/{config.scale}/{config.experiment}.yaml"
    if not grids:
        raise ConfigError(f"{where}: pick={config.pick:g}: none of its grids is without pick")
    return expand(CleanConfig, values | same | {"grids": grids}, where=where)


def picked(config: CleanConfig) -> dict[str, Any]:
    """The options of the screened model that is cleaned: the most accurate with ASR below pick.

    The paper's rule for shrink and perturb (Section 5, 15 percent). Errors: ConfigError when a
    screened run is not recorded, or none has so low an ASR.
    """
    found: list[tuple[float, dict[str, Any]]] = []
    for other in screened(config):
        rows = [row for row in Run(folder(other)).rows() if row["epoch"] > 0]
        if not rows:
            raise ConfigError(f"{config.experiment}: {folder(other).name} is not recorded yet")
        if rows[-1]["asr"] is not None and rows[-1]["asr"] < config.pick:
            found.append((rows[-1]["accuracy"], other.options))
    if not found and config.model and (lacks := elsewhere.lacking(asdict(config))):
        told = f"{elsewhere.NOT_MEASURED} (not given: {', '.join(lacks)})"
        raise ConfigError(f"{config.experiment}: nothing to pick by: {told}; {elsewhere.GIVE}")
    if not found:
        raise ConfigError(f"{config.experiment}: no screened model has an ASR below {config.pick}")
    return max(found, key=lambda one: one[0])[1]


def before(config: Stage) -> list[Stage]:
    """The runs that a run's rows are made from, and that must be there before it starts."""
    return [*needs(config), *screened(config)]


def identity(config: Stage) -> dict[str, Any]:
    """All that a run's rows depend on, that of the models it starts from included."""
    values = parameters.identity(config)
    if config.code:
        values["code"] = plugins.digest(config.code)
    if sources := needs(config):
        values |= {"from": [folder(source).name for source in sources]}
        values.pop("poisoned", None)
        values.pop("init", None)
        values |= {"keep": sources[0].keep} if isinstance(config, CleanConfig) else {}
    elif isinstance(config, CleanConfig) and config.model and elsewhere.lacking(asdict(config)):
        values["asr"] = "not measured"  # other rows than when a default attack stood in
    if others := screened(config):
        values |= {"screened": [folder(other).name for other in others]}
    return values


def folder(config: Stage) -> Path:
    """A run's folder: a readable name, and a digest of everything that its rows depend on."""
    if isinstance(config, TrainConfig):
        label = f"train-{config.objective}"
    else:
        label = f"clean-{config.defence}-{config.loss}-lr{config.lr:.0e}".replace("e-0", "e-")
    return runs_folder() / f"{label}-s{config.seed}-{parameters.digest(identity(config))}"


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
    """The tidy rows of these runs, as far as recorded, under the names that asked for them.

    A run that several experiments of one study ask for is there once.
    """
    frames, seen = [], set()
    for config in asked:
        path = folder(config)
        study = (config.study, config.poisoned) if isinstance(config, CleanConfig) else ("", "")
        if (path / "manifest.json").is_file() and (path, *study) not in seen:
            seen.add((path, *study))
            frame = read_runs([path])
            names = {"scale": config.scale, "experiment": config.experiment}
            if isinstance(config, CleanConfig):
                names |= {"poisoned": config.poisoned, "study": config.study}
                names |= {f"option_{name}": value for name, value in config.options.items()}
            frames.append(frame.assign(**names))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def of_scale(scale: str) -> dict[str, list[Any]]:
    """Every experiment of a scale that has runs, by name."""
    names = sorted(path.stem for path in parameters.scale_folder(scale).glob("*.yaml"))
    return {name: of_file(scale, name) for name in names if notebook_of(name) in STAGE_OF}


def rows_of_scale(scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy rows of all recorded runs of a scale: of training, and of cleaning."""
    asked = [config for configs_ in of_scale(scale).values() for config in configs_]
    train = [config for config in asked if isinstance(config, TrainConfig)]
    return rows(train), rows([config for config in asked if isinstance(config, CleanConfig)])


def data_of(config: Stage) -> str:
    """The data set that a run trains or cleans on: its own, or that of the poisoned model."""
    if config.data or isinstance(config, TrainConfig):
        return config.data
    sources = needs(config)
    return sources[0].data if sources else ""


def kept_rows(asked: Sequence[TrainConfig]) -> pd.DataFrame:
    """The row of each training run's kept epoch: the models that are cleaned (Table 3)."""
    frames = []
    for config in asked:
        if Run(folder(config)).finished:
            frame = rows([config])
            frames.append(frame[frame["epoch"] == kept_epoch(config)])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
