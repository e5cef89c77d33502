"""Whom the exploring notebook questions: a run's models after an epoch, or a checkpoint of yours.

Names of runs and epochs in; models by title and the attack on them out, with its trigger to move.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
import torch

from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets
from bdnb.data.labelled import LabelledSet
from bdnb.evaluate import attack_success, predictions, zero_shot
from bdnb.explore import recorded_runs, user_files
from bdnb.models import Model
from bdnb.poison.triggers import TRIGGERS, Stamp
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks

PLACES = (
    "random", "middle", "top_left", "top_right", "bottom_left", "bottom_right", "four_corners"
)  # fmt: skip
"""Where a patch may be put, for triggers that are patches."""


@dataclass(frozen=True)
class Subject:
    """Models to question together, by title, and the attack that they have been under.

    known: whether somebody said what the attack was; else it is a default, to start from.
    """

    models: Mapping[str, Model]
    attack: TrainConfig
    known: bool = True

    @property
    def side(self) -> int:
        """Side in pixels of the images that the models take."""
        return next(iter(self.models.values())).side

    @property
    def size(self) -> int:
        """Side in pixels of the attack's patch on such images."""
        size = self.attack.trigger_size
        return min(self.side, max(1, round(size * self.side) if size < 1 else int(size)))

    def sets(self) -> dict[str, LabelledSet]:
        """The labelled sets of the attack's data, by name, at the models' side."""
        return {s.name: s for s in datasets.dataset(self.attack.data).labelled(self.side)}

    def stamp(self, trigger: str = "", *, size: int = 0, place: str = "") -> Stamp:
        """A trigger, by default the attack's; size (pixels) and place as far as it has them."""
        one = self.attack if trigger in ("", self.attack.trigger) else _bare(self.attack, trigger)
        takes = inspect.signature(TRIGGERS[one.trigger]).parameters
        given: dict[str, Any] = {"size": size, "place": place}
        options = {k: v for k, v in given.items() if v and k in takes}
        return attacks.stamp(replace(one, trigger_options=one.trigger_options | options))


def _bare(attack: TrainConfig, trigger: str) -> TrainConfig:
    return replace(attack, trigger=trigger, trigger_options={})


def of_run(run: Run, epoch: int) -> Subject:
    """A cleaning run's poisoned model and the one after ``epoch``; of a training run the latter.

    Errors: ConfigError when the weights of that epoch were not kept.
    """
    kept = run.weights()
    if epoch not in kept:
        there = ", ".join(map(str, kept)) or "none"
        raise ConfigError(
            f"{run.folder.name}: no weights of epoch {epoch}; there are those of epochs {there}. "
            "checkpoints=all keeps every epoch's"
        )
    models: dict[str, Model] = {}
    if run.manifest["stage"] == "clean" and (began := recorded_runs.poisoned(run)):
        models["poisoned, before cleaning"] = began
    word = "cleaned" if run.manifest["stage"] == "clean" else "trained"
    models[f"{word}, after epoch {epoch}"] = recorded_runs.model(str(kept[epoch]))
    return Subject(models, recorded_runs.attack(run), recorded_runs.attacked(run))


@lru_cache(maxsize=2)
def of_checkpoint(spec: str, name: str, scale: str) -> Subject:
    """A checkpoint from elsewhere, and the default attack on a scale's data."""
    model = user_files.checkpoint(spec, name)
    return Subject({f"yours: {spec}": model}, TrainConfig(data=scale), known=False)


def stamped(stamp: Stamp, images: np.ndarray, keys: list[str]) -> np.ndarray:
    """Images (N, 3, S, S) uint8 with the trigger, as each key draws it."""
    return stamp(torch.from_numpy(np.array(images)), keys).numpy()


def measured(subject: Subject, mine: LabelledSet) -> pd.DataFrame:
    """Accuracy and ASR of each model on a labelled set, in percent, with the number of images.

    A target that is no class of the set is added to the classes, so that the backdoor can show.
    Without an attack that is known there is no ASR, and no target.
    """
    attack, names = subject.attack, list(mine.classnames)
    names += [attack.target] * (subject.known and attack.target not in names)
    keys = [f"{mine.name}/{key}" for key in mine.keys]
    triggered = stamped(subject.stamp(), mine.images, keys) if subject.known else None
    labels, lines = torch.from_numpy(np.array(mine.labels)), []
    for title, model in subject.models.items():
        head = predictions.head(model, tuple(names), attack.templates)
        values = dict(zero_shot.accuracy(predictions.seen(model, mine.images), labels, head))
        line = {"model": title, "accuracy, %": values["accuracy"]}
        line |= {"top-5, %": values["accuracy_top5"]}
        if triggered is not None:
            place = names.index(attack.target)
            values |= attack_success.asr(predictions.seen(model, triggered), labels, head, place)
            line |= {"ASR, %": values["asr"], "target": attack.target}
        lines.append(line | {"images": len(mine), "classes": len(names)})
    return pd.DataFrame(lines)
