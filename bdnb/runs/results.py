"""The rows of runs that experiments ask for, and which of a run's epochs is the kept model."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import elsewhere
from bdnb.runs.cleaning_runs import screened
from bdnb.runs.experiments import Stage, folder, folders, like, runs_of
from bdnb.runs.records import Run, finished, sound, tidy, weights_of
from bdnb.runtime.errors import ConfigError


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
    if not found and (lacks := elsewhere.unsaid(asdict(config))):
        why = f"{elsewhere.NOT_MEASURED} (not given: {', '.join(lacks)})"
        raise ConfigError(f"{config.experiment}: nothing to pick by: {why}; {elsewhere.GIVE}")
    if not found:
        raise ConfigError(f"{config.experiment}: no screened model has an ASR below {config.pick}")
    return max(found, key=lambda one: one[0])[1]


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


def kept_weights(config: TrainConfig) -> Path:
    """Return a training run's weights after its kept epoch. Errors: ConfigError: not there."""
    path = weights_of(Run(folder(config)), kept_epoch(config))
    if not path.is_file():
        remedy = f"train {config.experiment} with checkpoints=all"
        if config.checkpoints == "all":  # as it was, but the file is gone, or never came along
            remedy = f"remove {path.parents[1].name}/ and give the same command again"
        raise ConfigError(f"{path}: not there; {remedy}")
    return path


def rows(requested: Sequence[Stage], *, under: Path | None = None) -> pd.DataFrame:
    """The tidy rows of these runs, as far as recorded, under the names that asked for them.

    A run that several experiments of one study ask for is there once. under: where their folders
    are, if not among the runs.
    """
    lines: list[dict[str, Any]] = []
    seen = set()
    paths = [under / path.name if under else path for path in folders(requested)]
    found = dict.fromkeys(paths)
    there, left_out = sound(path for path in found if (path / "manifest.json").is_file())
    readable = {run.folder: run for run in there}
    for config, path in zip(requested, paths, strict=True):
        study = (config.study, config.poisoned) if isinstance(config, CleanConfig) else ("", "")
        if path in readable and (path, *study) not in seen:
            seen.add((path, *study))
            names = {"scale": config.scale, "experiment": config.experiment}
            if isinstance(config, CleanConfig):
                names |= {"poisoned": config.poisoned, "study": config.study}
                for kind, own in (("option", config.options), ("cleaned", config.cleaned)):
                    names |= {f"{kind}_{name}": _cell(value) for name, value in own.items()}
            lines += [row | names for row in tidy(readable[path])]
    made = pd.DataFrame(lines)
    made.attrs["left_out"] = left_out
    return made


def _cell(value: Any) -> Any:
    """A value of a row: a list or mapping in words, as ``records`` has it."""
    return str(value) if isinstance(value, dict | list | tuple) else value


def rows_of_scale(scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tidy rows of all recorded runs of a scale: of training, and of cleaning."""
    requested = runs_of(scale)
    train = [config for config in requested if isinstance(config, TrainConfig)]
    return rows(train), rows([config for config in requested if isinstance(config, CleanConfig)])


def kept_rows(requested: Sequence[TrainConfig]) -> pd.DataFrame:
    """The row of each training run's kept epoch: the models that are cleaned (Table 3)."""
    frames = []
    for config in requested:
        if finished(folder(config)):
            frame = rows([config])
            frames.append(frame[frame["epoch"] == kept_epoch(config)])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
