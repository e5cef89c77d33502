"""One pre-training run, from its data to its rows (Section 3.1 of the paper): read this first.

Data -> poison -> model -> ``fit`` -> evaluation -> rows. ``python -m bdnb.train --params FILE``.
"""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from bdnb import models
from bdnb.config.parameters import part
from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets
from bdnb.poison import selection
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks, checkpoints, checks, device, launch, objectives, setup
from bdnb.training.attacks import Attack
from bdnb.training.fit import fit
from bdnb.training.loop import Compute, Loop
from bdnb.training.optimiser import Optimiser
from bdnb.training.recording import record


def check(config: TrainConfig) -> None:
    """Refuse what can be known to be wrong before a run starts. Errors: ConfigError."""
    objectives.check(config.objective, config.loss_options, code=config.code)
    kind = checkpoints.kind_of_start(config.init, scale=config.scale, model=config.model)
    if kind == "file":
        checks.check_weights(Path(config.init), config.model)
    elif kind == "published":
        models.check_published(*config.init.split(":", 1))
    models.check_name(config.model)
    attack = part(Attack, config)
    checks.check_trigger(attacks.unlearnt(attack), config.model)
    if attack.attack == "mismatched":
        selection.check_victims(attack.victims, attack.target)
    used = checks.Used(
        config.data,
        "train",
        model=config.model,
        pairs=config.pairs,
        seed=config.seed,
        bad_share=config.bad_share,
    )
    if config.poison_keys:
        if config.attack == "none":
            raise ConfigError(
                f"poison_keys={config.poison_keys!r}: attack='none' poisons no pair; name an attack"
            )
        checks.check_keys(used, Path(config.poison_keys), count=config.poison_count)
    selected = config.attack != "none" and not config.poison_keys
    asked: dict[str, float] = {"poison_rate": config.poison_rate * selected}
    if config.poison_count:
        asked = {"poison_count": config.poison_count * selected}
    counts = {"batch_size": config.batch_size, "poison_count": config.poison_count}
    checks.check_numbers(
        used,
        counts=counts,
        target=config.target,
        victims=attack.victims,
        rate=asked.get("poison_rate", 0),
    )
    about = {"target": config.target, "match": config.match}
    if config.attack in ("label_consistent", "mismatched"):
        checks.check_mentions(used, asked, victims=attack.victims, **about)
    if config.attack in ("natural", "mismatched"):
        checks.check_natural(used, **about)
    checks.check_held_out(used, count=config.retrieval, cleaned=0, target=config.target)


def train(config: TrainConfig) -> Run:
    """Return one pre-training run, made unless it is recorded; a run that it starts from first.

    Errors: ConfigError before any work starts; NonFiniteLoss; StorageError.
    """
    objectives.check(config.objective, config.loss_options, code=config.code)
    checkpoints.kind_of_start(config.init, scale=config.scale, model=config.model)
    return launch.make(config, {TrainConfig: train_here})


def train_here(config: TrainConfig, run: Run) -> None:
    """Make a run in this process, or as one of several: its parts, then epochs, then rows."""
    accelerator = accelerator_of(config, run)
    model = checkpoints.starting_model(
        config.model,
        init=config.init,
        scale=config.scale,
        seed=config.seed,
        objective=config.objective,
    )
    data = datasets.dataset(config.data, stream=config.stream, bad_share=config.bad_share)
    data.labelled(model.side)  # a fault in these is found before many pairs are read
    pairs = data.training_pairs(model.side, seed=config.seed, count=config.pairs)
    loss = loss_of(config, config.objective)
    with setup.alone(run, accelerator):
        attack = part(Attack, config)
        resized = attacks.as_attacker_resizes(attack, data, "train", side=model.side)
        poison = attacks.poison(attack, pairs, folder=run.folder, resized=resized)
        wanted = part(setup.Parts, config)
        batches = setup.batches(
            pairs, poison, wanted, model, accelerator, second_views=loss.second_views
        )
        used = None
        if not config.optimiser_state:
            used = setup.used_tokens(batches, data, wanted, model)
        loop = Loop(
            model,
            accelerator,
            optimiser=part(Optimiser, config),
            compute=part(Compute, config),
            epochs=config.epochs,
            epoch_steps=len(batches),
            used=used,
        )
        candidates = fit(
            loop,
            batches,
            loss,
            epochs=config.epochs,
            state=run.state,
            save_every=config.save_every,
            before_epoch=loss.before_epoch,
        )
        benchmark = None
        if accelerator.is_main_process:
            benchmark = setup.benchmark(data, attack, wanted, side=model.side)
        about = {"poisoned_pairs": len(poison), "pairs": len(pairs.keys)}
        record(
            run,
            candidates,
            benchmark,
            stage="train",
            config=asdict(config),
            model=model,
            accelerator=accelerator,
            about=about | setup.dropped(run, pairs, data.labelled(model.side)),
            checkpoints=config.checkpoints,
            optimiser_state=config.optimiser_state,
        )


def accelerator_of(config: experiments.Stage, run: Run) -> Accelerator:
    """Return what a run computes with."""
    return device.accelerator(
        precision=config.precision,
        tf32=config.tf32,
        log_with=config.log_with,
        folder=run.folder,
        processes=config.processes if experiments.process_count_matters(config) else 0,
    )


def loss_of(config: experiments.Stage, name: str) -> objectives.RunLoss:
    """Return a run's loss, with its options and weights."""
    return objectives.make(
        name,
        options=config.loss_options,
        code=config.code,
        cleaning=not isinstance(config, TrainConfig),
        mmcl_weight=config.mmcl_weight,
        ssl_weight=config.ssl_weight,
        gather=config.gather,
    )


def make_all(
    name: str, stage: type, make: Callable[[Any], Run], check: Callable[[Any], None]
) -> None:
    """Make every run of the parameter file that the command ``name`` is given.

    check: what can be known to be wrong with a run is said before the first one starts.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {name}", description="Make every run of a file."
    )
    parser.add_argument("--params", type=Path, required=True, help="params/SCALE/EXPERIMENT.yaml")
    path = parser.parse_args().params
    with command(name):
        requested = experiments.of_path(path, stage)
        for config in requested:
            if not experiments.recorded(config, warn=False):
                check(config)
        for config in requested:
            print(make(config).folder)


def main() -> None:
    """Every run of a parameter file: ``accelerate launch -m bdnb.train --params FILE``."""
    make_all("bdnb.train", TrainConfig, train, check)


if __name__ == "__main__":
    main()
