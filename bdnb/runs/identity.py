"""What tells one run from another, and so the name of its folder: all that its rows depend on."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import contents, elsewhere
from bdnb.runs.asked import Stage, is_experiment, like, named, screened, sources
from bdnb.runs.records import Run, finished, runs_folder
from bdnb.runtime import hardware, plugins
from bdnb.runtime.errors import ConfigError


def identity(config: Stage) -> dict[str, Any]:
    """All that a run's rows depend on: parameters, data, files, and the models that it uses.

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
    if others := screened(config):
        values["screened"] = [folder(other).name for other in others]
    return values


def _kept(source: TrainConfig) -> list[str]:
    """A training run, and by which rule one of its epochs is kept."""
    return [part for run in (source, *like(source)) for part in (folder(run).name, run.keep)]


def process_count_matters(config: Stage) -> bool:
    """Whether a run's rows depend on its number of processes: with the authors' ways they do."""
    return config.batch_norm == "own" or config.gather == "authors"


def folder(config: Stage) -> Path:
    """A run's folder: a readable name, and a digest of everything that its rows depend on."""
    return runs_folder() / f"{_label(config)}-{parameters.digest(identity(config))}"


def _label(config: Stage) -> str:
    if isinstance(config, TrainConfig):
        return f"train-{config.objective}-s{config.seed}"
    rate = f"{config.lr:.0e}".replace("e-0", "e-")
    return f"clean-{config.defence}-{config.loss}-lr{rate}-s{config.seed}"


def shipped_name(config: Stage) -> str:
    """The name that a run's rows are shipped under: by its parameters, wherever they are read.

    It leaves out what ``identity`` takes from the machine and its files (precision, data, weights)
    and is the name of a run's folder as it was before these counted, which the rows shipped then
    have.
    """
    values = parameters.identity(config)
    if config.code:
        values["code"] = plugins.digest(config.code)
    if used := sources(config):
        both = [used[0], *(like(used[0]) if isinstance(config, CleanConfig) else ()), *used[1:]]
        values["from"] = [shipped_name(source) for source in both]
        values.pop("poisoned", None)
        values.pop("init", None)
        values |= {"keep": used[0].keep} if isinstance(config, CleanConfig) else {}
    if others := screened(config):
        values["screened"] = [shipped_name(other) for other in others]
    return f"{_label(config)}-{parameters.digest(values)}"


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
