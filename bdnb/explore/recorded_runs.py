"""What is recorded, to look at: runs by a readable name, their rows and the attack on their models.

Folders under ``runs/`` in; runs, tidy rows, tables and the attack's parameters out.
"""

from dataclasses import fields
from typing import Any

import pandas as pd

from bdnb import backdoored, models
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs.records import Run, runs_folder, sound, tidy
from bdnb.runtime.errors import ConfigError

EMPTY = (
    "nothing is recorded in {} yet: `make book` makes the runs of scale quick; for one alone run "
    "`papermill notebooks/clean.ipynb OUT.ipynb`, and then this cell again"
)


def recorded() -> dict[str, Run]:
    """Return the training and cleaning runs with a row, by readable name.

    Errors: ConfigError, saying what to run, when there is none.
    """
    folders = sorted(path.parent for path in runs_folder().glob("*/manifest.json"))
    runs = [run for run in sound(folders)[0] if run.manifest["stage"] in ("train", "clean")]
    found = [run for run in runs if run.rows()]
    if not found:
        raise ConfigError(EMPTY.format(runs_folder().name + "/"))
    named = [name(run) for run in found]
    # Two runs may differ in what a name does not say; their folders' digests tell them apart.
    twice = {one for one in named if named.count(one) > 1}
    labels = [
        n + f" · {r.folder.name[-4:]}" * (n in twice) for n, r in zip(named, found, strict=True)
    ]
    return dict(sorted(zip(labels, found, strict=True), key=lambda pair: pair[0]))


def name(run: Run) -> str:
    """Return a run in words: ``clean mine · cleanclip mmcl_ssl · lr 0.001 · seed 0 · quick``."""
    manifest = run.manifest
    config, kind = manifest["config"], manifest["stage"]
    ends = f"lr {config['lr']:g} · seed {config['seed']} · {config['scale']}"
    if kind == "train":
        return f"train {config['experiment']} · {config['objective']} · {ends}"
    return f"clean {config['poisoned']} · {config['defence']} {config['loss']} · {ends}"


def attack(run: Run) -> TrainConfig:
    """Return the attack that a run's ASR is measured with, and its data.

    A default one where nobody said what it was (``elsewhere.attacked``). Errors: ConfigError.
    """
    manifest = run.manifest
    if manifest["stage"] == "train":
        return _config(TrainConfig, manifest)
    config: CleanConfig = _config(CleanConfig, manifest)
    path = run.origin()
    known = models.read_about(path).get("config", {}) if path else {}
    if "poisoned" in known:  # weights that another cleaning run made
        return attack(Run(runs_folder() / manifest["about"]["from"]["run"]))
    about = {k: v for k, v in manifest["about"].items() if k in ("target", "trigger", "data") and v}
    about |= {"model": config.model} if config.model else {}
    source: TrainConfig = _config(TrainConfig, {"run": run.folder.name, "config": known | about})
    return backdoored.attack(config, source)


def _config(cls: type, manifest: dict[str, Any]) -> Any:
    """A stage's dataclass from a manifest, which may be older or newer than the package."""
    known = {f.name for f in fields(cls)}
    values = {k: v for k, v in manifest["config"].items() if k in known}
    return parameters.make(cls, values, where=manifest["run"])


def rows(run: Run) -> pd.DataFrame:
    """Return a run's rows as ``read_runs`` has them. Errors: ConfigError where they are gone."""
    if not (lines := tidy(run)):
        raise ConfigError(f"{run.folder}: its rows are gone")
    return pd.DataFrame(lines)


def table() -> pd.DataFrame:
    """Return a line a recorded run: its name, epochs, last accuracy and ASR, weights kept."""
    lines = []
    for label, run in recorded().items():
        last = rows(run).iloc[-1]
        lines.append(
            {"run": label, "epochs": int(last["epoch"]), "accuracy, %": last["accuracy"]}
            | {"ASR, %": last["asr"], "weights of epochs": _spans(list(run.weights()))}
            | {"state": "recorded" if run.finished else "under way"}
        )
    return pd.DataFrame(lines)


def _spans(epochs: list[int]) -> str:
    return f"{epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else ", ".join(map(str, epochs)) or "–"


def differences(runs: dict[str, Run]) -> pd.DataFrame:
    """Return the parameters in which runs differ, a line each; a column a run, by its label."""
    given = {label: run.manifest["config"] for label, run in runs.items()}
    names = dict.fromkeys(name for config in given.values() for name in config)
    lines = [{"parameter": n} | {k: str(c.get(n, "–")) for k, c in given.items()} for n in names]
    return pd.DataFrame([line for line in lines if len({line[k] for k in given}) > 1])
