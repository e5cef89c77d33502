"""Experiments by name: from a parameter file to the runs it asks for, to the folders of those.

A folder's name tells one run from another: it has a digest of all that the run's rows depend on.
No rows are read, and no torch is there, so that Snakemake can plan hundreds of runs in a second.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from bdnb.config import grids, parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import contents, elsewhere
from bdnb.runs.cleaning_runs import cleaned, screened
from bdnb.runs.records import Run, finished, runs_folder
from bdnb.runtime import hardware, plugins, project
from bdnb.runtime.errors import ConfigError

Stage = TrainConfig | CleanConfig

# The stage whose runs a notebook makes; the other notebooks only read.
STAGE_OF = {"train": TrainConfig} | dict.fromkeys(
    ("clean", "ablations", "nonideal", "stopping"), CleanConfig
)


def notebook_of(experiment: str) -> str:
    """The notebook that an experiment's parameter file belongs to: its first word."""
    return experiment.partition("_")[0]


def of_file(scale: str, experiment: str) -> list[Any]:
    """Return the runs that ``params/<scale>/<experiment>.yaml`` asks for. Errors: ConfigError."""
    if (notebook := notebook_of(experiment)) not in STAGE_OF:
        parameters.load(scale, experiment)  # a file that cannot be read is said first
        raise ConfigError(
            f"params/{scale}/{experiment}.yaml: no experiment by its name, which begins with the "
            f"notebook whose runs it asks for: {', '.join(f'{name}_' for name in STAGE_OF)}"
        )
    return grids.of_file(STAGE_OF[notebook], scale, experiment)


def of_path(path: Path, stage: type | None = None) -> list[Any]:
    """Return the runs that a file asks for; of one stage, if given. Errors: ConfigError."""
    wanted = project.root() / "params" / path.parent.name / f"{path.stem}.yaml"
    if wanted.resolve() not in (path.resolve(), (project.root() / path).resolve()):
        raise ConfigError(f"{path}: expected a file params/SCALE/EXPERIMENT.yaml of the project")
    if stage not in (None, STAGE_OF.get(notebook_of(path.stem))):
        raise ConfigError(f"{path}: not of this stage; `python -m bdnb.sweep {path}` takes any")
    return of_file(path.parent.name, path.stem)


def of_notebook(notebook: str, scale: str) -> dict[str, str]:
    """The parameter files of a notebook by study: ``ssl_weight`` for ``ablations_ssl_weight``."""
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


def runs_of(scale: str) -> list[Any]:
    """Return the runs of a scale, one that several experiments ask for as often."""
    return [config for configs in of_scale(scale).values() for config in configs]


@cache
def _warn(text: str) -> None:
    """Once a process: a plan reads every file of its scale several times."""
    warnings.warn(text, stacklevel=3)


def trained(scale: str, experiment: str, seed: int) -> TrainConfig:
    """The training run of an experiment with one seed."""
    return _trained(parameters.stamp(scale), scale, experiment, seed)


@lru_cache(maxsize=1024)
def _trained(_files: object, scale: str, experiment: str, seed: int) -> TrainConfig:
    """Made anew only when a parameter file of the scale has changed."""
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
    """The training runs whose kept models a run uses: the one it starts from, and others."""
    scale, names = config.scale, named(config).values()
    return [trained(scale, name, config.seed) for name in names if is_experiment(scale, name)]


def named(config: Stage) -> dict[str, str]:
    """The models that a run's parameters name: parameter -> experiment, file or folder."""
    if isinstance(config, TrainConfig):
        return {"init": config.init, "surrogate": config.trigger_options.get("surrogate", "")}
    others = {name: config.options.get(name, "") for name in ("classifier", "clean_model")}
    return {"poisoned": config.poisoned} | others


def like(config: Stage) -> list[TrainConfig]:
    """The training run whose accuracy says which epoch of this one is kept, if there is one."""
    if not isinstance(config, TrainConfig) or config.keep != "closest":
        return []
    return [trained(config.scale, config.keep_like, config.seed)]


def before(config: Stage) -> list[Stage]:
    """The runs that a run's rows are made from, and that must be there before it starts."""
    return [*needs(config), *screened(config), *cleaned(config)]


def data_of(config: Stage) -> str:
    """The data set that a run trains or cleans on: its own, or that of the poisoned model."""
    return config.data or next((source.data for source in needs(config)), "")


def shown_data(scale: str) -> str:
    """Return the data set that pages on a scale's data show: of its data.yaml, else its runs'."""
    if is_experiment(scale, "data"):
        return str(parameters.load(scale, "data").get("elsewhere", scale))
    used = [data_of(config) for config in runs_of(scale)]
    return max(used, key=used.count)


Picked = dict[tuple[Any, ...], list[str]]
"""What runs are picked among: their experiment, model and seed -> names of these runs."""


def identity(config: Stage, among: Picked | None = None) -> dict[str, Any]:
    """All that a run's rows depend on: parameters, data, files, and the models that it uses.

    among: what other runs are picked among, where that is known already; added to.
    Errors: ConfigError where the number of processes matters and is left to the machine.
    """
    values = parameters.identity(config) | {"precision": hardware.precision(config.precision)}
    if config.code:
        values["code"] = plugins.digest(config.code)
    if process_count_matters(config):
        if not config.processes:
            raise ConfigError(
                f"{config.experiment}: processes=0 with batch_norm={config.batch_norm}, "
                f"gather={config.gather}: rows depend on their number, so give it"
            )
        values["processes"] = config.processes
    values["from"] = [_kept(source) for source in sources(config)]
    files = named(config) | {"poison_keys": getattr(config, "poison_keys", "")}
    for name, value in list(files.items()):
        if is_experiment(config.scale, value):
            values.pop(name, None)
            del files[name]
    values |= contents.of_files(files.values())
    values |= {"data_content": contents.of_data(config.data)} if config.data else {}
    alone = isinstance(config, CleanConfig) and not values["from"]
    if alone and elsewhere.unsaid(asdict(config)):
        values["asr"] = "not measured"  # other rows than when a default attack stood in
    if isinstance(config, CleanConfig) and config.pick:
        key = (config.scale, config.experiment, config.poisoned, config.seed)
        among = {} if among is None else among
        if key not in among:
            among[key] = [folder(other).name for other in screened(config)]
        values["screened"] = among[key]
    if others := cleaned(config):
        values["cleaned_run"] = [folder(other).name for other in others]
    return values


def _kept(source: TrainConfig) -> list[str]:
    """A training run, and by which rule one of its epochs is kept."""
    return [part for run in (source, *like(source)) for part in (folder(run).name, run.keep)]


def process_count_matters(config: Stage) -> bool:
    """Whether a run's rows depend on its number of processes: with the authors' ways they do."""
    return config.batch_norm == "own" or config.gather == "authors"


def folder(config: Stage, among: Picked | None = None) -> Path:
    """A run's folder: a readable name, and a digest of everything that its rows depend on."""
    return runs_folder() / f"{label(config)}-{parameters.digest(identity(config, among))}"


def folders(requested: Iterable[Stage]) -> list[Path]:
    """The folders of runs, in their order; what several are picked among is worked out once."""
    among: Picked = {}
    return [folder(config, among) for config in requested]


def by_folder(requested: Sequence[Stage]) -> dict[Path, Any]:
    """Each run once, by its folder; the last of those that share one."""
    return dict(zip(folders(requested), requested, strict=True))


def label(config: Stage) -> str:
    """The readable part of a run's folder."""
    if isinstance(config, TrainConfig):
        return f"train-{config.objective}-s{config.seed}"
    rate = f"{config.lr:.0e}".replace("e-0", "e-")
    return f"clean-{config.defence}-{config.loss}-lr{rate}-s{config.seed}"


def recorded(config: Stage, *, warn: bool = True) -> bool:
    """Whether a run's rows are all there, and the files that only later it was asked to keep.

    warn: say it of one that is damaged, which counts as not recorded.
    """
    run = Run(folder(config))
    if not finished(run.folder, warn=warn):
        return False
    then, rank = run.manifest["config"], ("none", "last", "all").index
    more = rank(config.checkpoints) > rank(then.get("checkpoints", config.checkpoints))
    state = getattr(config, "optimiser_state", False) and not then.get("optimiser_state", True)
    return not more and not state
