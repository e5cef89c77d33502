"""The runs that parameter files ask for, and the runs that those start from. No run is read."""

import warnings
from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runtime import project
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
        if twice := [v for i, v in enumerate(axis) if v in axis[:i]]:
            raise ConfigError(f"{where}: {name}={value!r}: {twice[0]!r} is there twice")
        inner = [_points(v, set(), where) if isinstance(v, dict) else [v] for v in axis]
        axes.append([point for points in inner for point in points])
    return [dict(zip(grid, point, strict=True)) for point in product(*axes)]


def of_file(scale: str, experiment: str) -> list[Any]:
    """Return the runs that ``params/<scale>/<experiment>.yaml`` asks for. Errors: ConfigError."""
    where = f"params/{scale}/{experiment}.yaml"
    values = parameters.load(scale, experiment)
    if (notebook := notebook_of(experiment)) not in STAGE_OF:
        raise ConfigError(
            f"{where}: no experiment by its name, which begins with the notebook whose runs it "
            f"asks for: {', '.join(f'{name}_' for name in STAGE_OF)}"
        )
    return expand(STAGE_OF[notebook], values, where=where)


def of_path(path: Path, stage: type | None = None) -> list[Any]:
    """Return the runs that a parameter file of the project asks for; of one stage only, if given.

    Errors: ConfigError.
    """
    wanted = project.root() / "params" / path.parent.name / f"{path.stem}.yaml"
    if wanted.resolve() not in (path.resolve(), (project.root() / path).resolve()):
        raise ConfigError(f"{path}: expected a file params/SCALE/EXPERIMENT.yaml of the project")
    if stage not in (None, STAGE_OF.get(notebook_of(path.stem))):
        raise ConfigError(f"{path}: not of this stage; `python -m bdnb.sweep {path}` takes any")
    return of_file(path.parent.name, path.stem)


def of_notebook(notebook: str, scale: str) -> dict[str, str]:
    """The parameter files of a scale that belong to a notebook, by what follows its name in them.

    So ``ablations_ssl_weight`` is the study ``ssl_weight`` of ``ablations``.
    """
    names = sorted(path.stem for path in parameters.scale_folder(scale).glob(f"{notebook}*.yaml"))
    mine = [name for name in names if notebook_of(name) == notebook]
    return {name.partition("_")[2]: name for name in mine}


def of_scale(scale: str, *, whole: bool = False) -> dict[str, list[Any]]:
    """Return every experiment of a scale that has runs, by name.

    A parameter file that cannot be read, or that starts from such a one, is left out with a
    warning. whole: refuse it instead. Errors: ConfigError for a scale without experiments.
    """
    names = sorted(path.stem for path in parameters.scale_folder(scale).glob("*.yaml"))
    names = [name for name in names if notebook_of(name) in STAGE_OF]
    if not names:
        known = ", ".join(parameters.scales()) or "none"
        raise ConfigError(f"scale={scale!r}: params/{scale}/ has no experiments; there is {known}")
    made = {}
    for name in names:
        try:
            made[name] = of_file(scale, name)
            for config in made[name]:
                _ = before(config), like(config)
        except ConfigError as error:
            if whole:
                raise
            made.pop(name, None)
            _warn(f"left out of scale {scale}: {error}")
    return made


@cache
def _warn(text: str) -> None:
    """Once a process: a plan reads every file of its scale several times."""
    warnings.warn(text, stacklevel=3)


def trained(scale: str, experiment: str, seed: int) -> TrainConfig:
    """The training run of an experiment with one seed."""
    where = f"params/{scale}/{experiment}.yaml"
    if STAGE_OF.get(notebook_of(experiment)) is not TrainConfig:
        trains = ", ".join(of_notebook("train", scale).values()) or "none"
        raise ConfigError(f"{where}: trains no model: expected a training experiment: {trains}")
    values = parameters.load(scale, experiment) | {"seed": seed}
    config: TrainConfig = parameters.make(TrainConfig, values, where=where)
    return config


def is_experiment(scale: str, name: str) -> bool:
    """Whether a name stands for a parameter file of that scale (and not for a file or folder)."""
    return (project.root() / "params" / scale / f"{name}.yaml").is_file()


def needs(config: Stage) -> list[TrainConfig]:
    """The training runs that must be there before this run: the poisoned model and its like."""
    return [run for source in sources(config) for run in (source, *like(source))]


def sources(config: Stage) -> list[TrainConfig]:
    """The training runs whose kept models a run uses: the one it starts from, and a classifier."""
    names = [name for name in named(config).values() if is_experiment(config.scale, name)]
    return [trained(config.scale, name, config.seed) for name in names]


def named(config: Stage) -> dict[str, str]:
    """The models that a run's parameters name: parameter -> experiment, file or folder."""
    if isinstance(config, TrainConfig):
        return {"init": config.init}
    return {"poisoned": config.poisoned, "classifier": config.options.get("classifier", "")}


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


def before(config: Stage) -> list[Stage]:
    """The runs that a run's rows are made from, and that must be there before it starts."""
    return [*needs(config), *screened(config)]


def data_of(config: Stage) -> str:
    """The data set that a run trains or cleans on: its own, or that of the poisoned model."""
    if config.data or isinstance(config, TrainConfig):
        return config.data
    sources = needs(config)
    return sources[0].data if sources else ""


def shown_data(scale: str) -> str:
    """Return the data set that pages on a scale's data show: of its data.yaml, else its runs'."""
    if is_experiment(scale, "data"):
        return str(parameters.load(scale, "data").get("elsewhere", scale))
    used = [data_of(config) for configs in of_scale(scale).values() for config in configs]
    return max(used, key=used.count)
