"""One pre-training run, from its data to its rows (Section 3.1): read this first.

Data -> poison -> model -> ``fit`` -> evaluation -> rows. ``python -m bdnb.train --params FILE``.
"""

import argparse
from functools import partial
from pathlib import Path

from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime import interrupts
from bdnb.runtime.command import command
from bdnb.training import attacks, setup
from bdnb.training.fit import Loop, fit, objective
from bdnb.training.recording import record


def train(config: TrainConfig) -> Run:
    """One pre-training run, from its data to its rows; done at once when it is recorded already.

    Errors: ConfigError before any work starts; NonFiniteLoss.
    """
    run = Run(experiments.folder(config))
    if run.finished:
        run.settle()
        return run
    for source in experiments.needs(config):
        train(source)
    accelerator = setup.accelerator(config, run.folder)
    data = datasets.dataset(config.data)
    model = setup.starting_model(config)
    pairs = datasets.training_pairs(config, data, side=model.side)
    with interrupts.listening(run.folder.name), setup.alone(run, accelerator):
        look = attacks.look(config, data, "train", side=model.side)
        poison = attacks.poison(config, pairs, folder=run.folder, look=look)
        batches = setup.batches(
            config,
            pairs,
            batch_size=config.batch_size,
            seed=config.seed,
            tokens=partial(model.tokens, truncation=config.truncation),
            poison=poison,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            **setup.views(config, pairs, poison, needed="ssl" in config.objective),
        )
        steps = config.epochs * len(batches)
        loop = Loop(model, config, steps=steps, accelerator=accelerator)
        candidates = fit(
            loop,
            batches,
            objective(config, name=config.objective),
            epochs=config.epochs,
            state=run.state,
        )
        benchmark = setup.benchmark(data, config, side=model.side)
        about = {"poisoned_pairs": len(poison), "pairs": len(pairs.keys)}
        about |= setup.dropped(pairs, benchmark, folder=run.folder)
        record(
            run,
            candidates,
            benchmark,
            config,
            model=model,
            accelerator=accelerator,
            about=about,
        )
    return run


def main() -> None:
    """Every run of a parameter file: ``accelerate launch -m bdnb.train --params FILE``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--params", type=Path, required=True, help="params/<scale>/train_*.yaml")
    path = parser.parse_args().params
    with command(), interrupts.command("bdnb.train"):
        for config in experiments.of_path(path, TrainConfig):
            print(train(config).folder)


if __name__ == "__main__":
    main()
