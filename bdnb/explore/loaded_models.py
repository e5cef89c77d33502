"""Models to look at: those of a run after an epoch, or a checkpoint of the user's.

Names of runs and epochs in; models by title, the attack on them, triggers and measurements out.
"""

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from bdnb.config.parameters import part
from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets
from bdnb.data.labelled import LabelledSet
from bdnb.evaluate.benchmark import Benchmark
from bdnb.explore import recorded_runs, user_files
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.poison.triggers import TRIGGERS, Stamp
from bdnb.runs import elsewhere
from bdnb.runs.records import Run
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks
from bdnb.training.attacks import Attack


class Loaded(NamedTuple):
    """Models by title, and the attack that they were under.

    known: whether somebody said what the attack was; where nobody did, ``attack`` is only where
    data, templates and seed come from.
    """

    models: Mapping[str, Model]
    attack: TrainConfig
    known: bool

    @property
    def side(self) -> int:
        """Side in pixels of the images that the models take."""
        return next(iter(self.models.values())).side

    def sets(self) -> dict[str, LabelledSet]:
        """Return the labelled sets of the attack's data, by name, at the models' side."""
        return {s.name: s for s in datasets.dataset(self.attack.data).labelled(self.side)}


def of_run(run: Run, epoch: int) -> Loaded:
    """Return a run's model after ``epoch``, of a cleaning run the backdoored one besides.

    The run's own triggers are registered. Errors: ConfigError when the weights of that epoch were
    not kept, or its code cannot be loaded.
    """
    kept = run.weights()
    if epoch not in kept:
        there = ", ".join(map(str, kept)) or "none"
        raise ConfigError(
            f"{run.folder.name}: no weights of epoch {epoch}; there are those of epochs {there}. "
            "checkpoints=all keeps every epoch's"
        )
    config, attack = run.manifest["config"], recorded_runs.attack(run)
    plugins.load(attack.code)
    cleaned, made = run.manifest["stage"] == "clean", {}
    if cleaned and (path := run.origin()):
        made["before cleaning"] = user_files.checkpoint(str(path), config.get("model", ""))
    title = f"{'cleaned' if cleaned else 'trained'}, after epoch {epoch}"
    made[title] = user_files.checkpoint(str(kept[epoch]), attack.model)
    return Loaded(made, attack, elsewhere.attacked(run.manifest))


def of_checkpoint(spec: str, name: str, scale: str) -> Loaded:
    """Return a checkpoint from elsewhere, to be shown a scale's data. Errors: ConfigError."""
    attack = TrainConfig(data=scale)
    return Loaded({f"yours: {spec}": user_files.checkpoint(spec, name)}, attack, known=False)


def stamp(loaded: Loaded, trigger: str, *, size: int, place: str) -> Stamp:
    """Return a trigger; size (pixels) and place as far as it has them. Errors: ConfigError."""
    own = loaded.known and trigger == loaded.attack.trigger
    options: dict[str, Any] = dict(loaded.attack.trigger_options) if own else {}
    takes = inspect.signature(TRIGGERS[trigger]).parameters
    given = {"size": min(size, loaded.side), "place": place}
    options |= {name: value for name, value in given.items() if name in takes}
    return attacks.stamp(
        part(Attack, replace(loaded.attack, trigger=trigger, trigger_options=options))
    )


def measured(
    loaded: Loaded, labelled: LabelledSet, *, trigger: Stamp | None, target: str
) -> pd.DataFrame:
    """Return accuracy and ASR of each model on a labelled set, in percent; no trigger: no ASR.

    A target that is no class of the set is added to the classes, so that the backdoor can show.
    """
    classes = list(labelled.classnames)
    if trigger and target not in classes:
        labelled = replace(labelled, classnames=[*classes, target])
    prompts = targets.templates(loaded.attack.templates)
    benchmark = Benchmark([labelled], stamp=trigger, target=target, templates=prompts)
    lines = []
    for title, model in loaded.models.items():
        values = benchmark.measure(model)
        line = {"model": title, "accuracy, %": values["accuracy"]}
        line |= {"top-5, %": values["accuracy_top5"]}
        line |= {"ASR, %": values["asr"], "target": target} if trigger else {}
        lines.append(line | {"images": len(labelled), "classes": len(labelled.classnames)})
    return pd.DataFrame(lines)
