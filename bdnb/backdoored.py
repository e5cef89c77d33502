"""What a cleaning run starts from: a training experiment's kept model, or a checkpoint.

In: the parameters of a cleaning run. Out: the model, how it was trained, what attacked it.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bdnb import models
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.models import Model
from bdnb.poison.triggers import TRIGGERS
from bdnb.runs import cleaning_runs, elsewhere, experiments, results
from bdnb.runs.records import Run
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import checkpoints


@dataclass(frozen=True)
class BackdooredModel:
    """A backdoored model: its training as far as is known (foreign: it is not), weights and run."""

    source: TrainConfig
    weights: Path
    origin: dict[str, Any]
    foreign: bool = False

    def load(self) -> Model:
        """Return the model. Errors: ConfigError for weights of another architecture."""
        if self.foreign:
            model = models.load_any(str(self.weights), self.source.model)
        else:
            model = models.load(self.source.model, self.weights)
        return checkpoints.without_bias_gradient(model)


def backdoored_model(config: CleanConfig) -> BackdooredModel:
    """Return what a run cleans: a training experiment's kept epoch, or a checkpoint.

    With ``cleaned``, what another run has made of that. Errors: ConfigError for a checkpoint that
    is not there, or of which too little is known.
    """
    foreign = False
    if needed := experiments.needs(config):
        source = needed[0]
        path = results.kept_weights(source)
        origin = {"run": experiments.folder(source).name, "epoch": results.kept_epoch(source)}
    else:
        path = checkpoint(config.poisoned)
        about = models.read_about(path)
        foreign = "config" not in about  # it does not say how it was trained
        # Whose code is run is for the user to say, not for a file from elsewhere.
        given = {"code": config.code, "model": model_of(config, path, about)}
        known = about.get("config", {"attack": "none"}) | given
        source = parameters.make(TrainConfig, known, where=str(path))
        origin = {"run": about.get("run", path.name), "epoch": about.get("epoch", -1)}
    for other in cleaning_runs.cleaned(config):
        kept = Run(experiments.folder(other)).weights()
        if not kept:
            raise ConfigError(f"cleaned={config.cleaned}: made with checkpoints=none: needs last")
        path = kept[max(kept)]
        origin = {"run": experiments.folder(other).name, "epoch": max(kept)}
    if foreign:
        check_known(config)
    return BackdooredModel(source, path, origin, foreign)


def checkpoint(name: str) -> Path:
    """A weights file, or the last one of a run's folder. Errors: ConfigError when not there."""
    path = Path(name)
    if elsewhere.published(name):
        return path
    if found := sorted((path / "checkpoints").glob("*.safetensors")):
        return found[-1]
    if not path.is_file():
        raise ConfigError(
            f"poisoned={name!r}: no such checkpoint; expected an experiment in params/, the folder "
            "of a run, a weights file, or NAME:TAG of open_clip"
        )
    return path


def model_of(config: CleanConfig, path: Path, about: dict[str, Any]) -> str:
    """Return which model a checkpoint is, from its name, itself or what the run says of it.

    Errors: ConfigError where none says it, or two say different ones, and for weights that
    cleaning made.
    """
    if "poisoned" in about.get("config", {}):
        raise ConfigError(f"{path}: weights of a cleaning run: expected those of a training run")
    named = elsewhere.published(config.poisoned)
    if named and config.model not in ("", named):
        raise ConfigError(
            f"poisoned={config.poisoned!r}: give model={named!r}, not {config.model!r}"
        )
    if found := config.model or named or about.get("model", ""):
        return str(found)
    raise ConfigError(f"{path}: from elsewhere: say which open_clip model it is (model=...)")


def check_known(config: CleanConfig) -> None:
    """Refuse a checkpoint from elsewhere without data, or poison of an unknown attack.

    Errors: ConfigError.
    """
    if not config.data:
        raise ConfigError(
            f"poisoned={config.poisoned!r}: {elsewhere.WORDS}: say which data set to clean and "
            "measure it on: -p data, a folder of data/ or of params/ with a data.yaml"
        )
    lacks = elsewhere.lacking(asdict(config))
    if config.poisons and lacks:
        raise ConfigError(
            f"poisons={config.poisons}, but nobody said what attacked {elsewhere.WORDS}: give "
            f"{', '.join(f'-p {name}' for name in lacks)}"
        )


def attack(config: CleanConfig, source: TrainConfig) -> TrainConfig:
    """Return the attack that ASR is measured with: the model's, or what the run says instead.

    A trigger of the cleaning run's own ``code`` is that file's. Errors: ConfigError as ``load``.
    """
    names = ("target", "trigger", "templates", "trigger_size", "trigger_options")
    given = {name: getattr(config, name) for name in names}
    if config.trigger in plugins.of_run(TRIGGERS, config.code):
        given["code"] = config.code
    return replace(source, **{name: value for name, value in given.items() if value})
