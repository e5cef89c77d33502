"""One cleaning run, from a poisoned model to its rows (Section 3.2): Table 2 is made of these.

Poisoned model -> clean pairs -> a defence -> evaluation of every candidate -> rows.
``python -m bdnb.clean --params FILE``.
"""

import argparse
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from bdnb import defences, models
from bdnb.config import authors, parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import datasets
from bdnb.data.batches import Batches, Poison
from bdnb.data.shards import Pairs
from bdnb.models import Model
from bdnb.poison import selection
from bdnb.runs import elsewhere, experiments
from bdnb.runs.records import Run
from bdnb.runtime import interrupts
from bdnb.runtime.errors import ConfigError
from bdnb.train import train
from bdnb.training import attacks, setup
from bdnb.training.recording import record


@dataclass(frozen=True)
class Patient:
    """The poisoned model with what is known of its attack: ``source`` says how it was trained.

    foreign: it is from elsewhere, so that nobody said how.
    """

    model: Model
    source: TrainConfig
    weights: Path
    origin: dict[str, Any]
    foreign: bool = False


def patient(config: CleanConfig) -> Patient:
    """The poisoned model of a run: trained first when it stands for an experiment, else loaded.

    Errors: ConfigError for a checkpoint that is not there or is of another architecture.
    """
    foreign = False
    if needed := experiments.needs(config):
        for source in reversed(needed):
            if not Run(experiments.folder(source)).finished:
                print(f"{source.experiment} is not trained yet: training it first", flush=True)
            train(source)
        source = needed[0]
        path = setup.kept_weights(source)
        origin = {"run": experiments.folder(source).name, "epoch": experiments.kept_epoch(source)}
    else:
        path = checkpoint(config.poisoned)
        about = models.read_about(path)
        # Whose code is run is for the user to say, not for a file from elsewhere.
        given = {"code": config.code} | ({"model": config.model} if config.model else {})
        foreign = is_foreign(path)
        known = about.get("config", {"attack": "none"}) | given
        source = parameters.make(TrainConfig, known, where=str(path))
        if not known.get("model"):
            raise ConfigError(
                f"{path}: from elsewhere: say which open_clip model it is (model=...)"
            )
        origin = {"run": about.get("run", path.name), "epoch": about.get("epoch", -1)}
    model = models.load(source.model, path, bias=source.objective == "siglip")
    return Patient(model, source, path, origin, foreign)


def checkpoint(name: str) -> Path:
    """A weights file, or the last one of a run's folder. Errors: ConfigError when not there."""
    path = Path(name)
    if path.is_dir():
        found = sorted((path / "checkpoints").glob("*.safetensors"))
        if found:
            return found[-1]
    if not path.is_file():
        raise ConfigError(
            f"poisoned={name!r}: no such checkpoint; expected an experiment in params/, the folder "
            "of a run, or a weights file"
        )
    return path


def is_foreign(path: Path) -> bool:
    """Whether a weights file does not say how it was trained. Errors: ConfigError."""
    return "config" not in models.read_about(path)


def attack(config: CleanConfig, source: TrainConfig) -> TrainConfig:
    """The attack that ASR is measured with: the poisoned model's, or what the run says instead."""
    said: dict[str, Any] = {
        "target": config.target,
        "trigger": config.trigger,
        "templates": config.templates,
    }
    said |= {"trigger_size": config.trigger_size, "trigger_options": config.trigger_options}
    return replace(source, **{name: value for name, value in said.items() if value})


def check_known(config: CleanConfig) -> None:
    """Refuse to leave poison of an unknown attack. Errors: ConfigError."""
    lacks = elsewhere.lacking(asdict(config))
    if config.poisons and lacks:
        raise ConfigError(
            f"poisons={config.poisons}, but nobody said what attacked {elsewhere.WORDS}: give "
            f"{', '.join(f'-p {name}' for name in lacks)}"
        )


def cleaning_pairs(
    config: CleanConfig, source: TrainConfig, data: datasets.Dataset, *, side: int
) -> tuple[Pairs, Poison, dict[str, Any]]:
    """The pairs to clean with, the poison left in them, and counts of both for the manifest."""
    train_pairs = datasets.training_pairs(source, data, side=side)
    clean_pairs = data.pairs("clean", side, stream="no", bad_share=config.bad_share)
    trigger = attacks.stamp(source)
    poisoned_keys = attacks.poisoned_keys(source, train_pairs)
    keys = selection.cleaning_keys(
        train_pairs.keys,
        clean_pairs.keys,
        poisoned_keys,
        seed=config.seed,
        count=config.pairs,
        overlap=config.overlap,
    )
    whole = train_pairs if config.overlap == "authors" else clean_pairs
    chosen = datasets.subset(whole, keys)
    left = selection.select(
        chosen.keys,
        chosen.captions,
        seed=config.seed,
        count=config.poisons,
        attack="template" if source.attack == "none" else source.attack,
        target=source.target,
        match=source.match,
    )
    keep = source.attack == "label_consistent"
    split = "train" if config.overlap == "authors" else "clean"
    poison = attacks.poisoned(
        trigger,
        chosen,
        left,
        target=None if keep else source.target,
        look=attacks.look(source, data, split, side=side),
    )
    shared = selection.overlap(chosen.keys, train_pairs.keys)
    return chosen, poison, {"cleaning_pairs": len(chosen.keys), "overlap_with_training": shared}


def clean(config: CleanConfig) -> Run:
    """One cleaning run; done at once when it is recorded already. Errors: ConfigError."""
    defend = defences.check(config)
    run = Run(experiments.folder(config))
    if run.finished:
        run.settle()
        return run
    sick = patient(config)
    source = attack(config, sick.source)
    attacked = not (sick.foreign and elsewhere.lacking(asdict(config)))
    if sick.foreign:
        check_known(config)
    accelerator = setup.accelerator(config, run.folder)
    data = datasets.dataset(config.data or source.data)
    side = sick.model.side
    with interrupts.listening(run.folder.name), setup.alone(run, accelerator):
        pairs, poison, counts = cleaning_pairs(config, source, data, side=side)
        batches = Batches(
            pairs,
            batch_size=config.batch_size,
            seed=config.seed,
            tokens=partial(sick.model.tokens, truncation=config.truncation),
            poison=poison,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            **setup.views(config, pairs, poison, needed="ssl" in config.loss),
        )
        benchmark = setup.benchmark(data, source, side=side, attacked=attacked)
        setting = defences.Setting(
            config=config,
            accelerator=accelerator,
            state=run.state,
            classnames=tuple(benchmark.sets[0].classnames),
            adam=setup.optimiser_state(sick.weights) if config.optimiser == "authors" else None,
        )
        counts |= setup.dropped(pairs, benchmark, folder=run.folder)
        objective = elsewhere.ELSEWHERE if sick.foreign else source.objective
        about = counts | {"from": sick.origin, "pretrain_objective": objective}
        told = {"target": source.target, "trigger": source.trigger}
        about |= (told if attacked else dict.fromkeys(told, "")) | {"data": data.folder.name}
        theirs = authors.DEFENCES.get(config.defence, {}) if config.fidelity == "authors" else {}
        options = {**theirs, **config.options}
        if config.pick:
            options = experiments.picked(config) | options
            about |= {f"picked_{name}": value for name, value in options.items()}
        sick.model.to(accelerator.device)
        candidates = defend(sick.model, batches, setting, **options)
        record(
            run,
            candidates,
            benchmark,
            config,
            model=sick.model,
            accelerator=accelerator,
            about=about,
        )
    return run


def main() -> None:
    """Every run of a parameter file: ``python -m bdnb.clean --params FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params/<scale>/clean*.yaml")
    path = parser.parse_args().params
    with interrupts.command("bdnb.clean"):
        for config in experiments.of_file(path.parent.name, path.stem):
            print(clean(config).folder)


if __name__ == "__main__":
    main()
