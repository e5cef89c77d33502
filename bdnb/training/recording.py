"""From candidate models to rows: measure before the first epoch and after each, write at once."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from accelerate import Accelerator

from bdnb import models
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.evaluate.benchmark import Benchmark
from bdnb.evaluate.measured import measured
from bdnb.models import Model
from bdnb.runs.records import Run, weights_of
from bdnb.training import setup
from bdnb.training.fit import Epoch
from bdnb.training.training_state import write_state


def record(
    run: Run,
    candidates: Iterator[Epoch],
    benchmark: Benchmark,
    config: TrainConfig | CleanConfig,
    *,
    model: Model,
    accelerator: Accelerator,
    about: dict[str, Any],
) -> None:
    """Write a run: its manifest, row 0 (the model as it comes), a row for each candidate.

    A row that is recorded already is not measured again, so a run that was cut off goes on; nor
    is the model that many runs clean. Only the main process measures and writes.
    """
    main = accelerator.is_main_process
    tracked = config.log_with != "none"
    if tracked:
        accelerator.init_trackers("bdnb", init_kwargs={"wandb": {"name": run.folder.name}})
    if main:
        device = setup.device_name(accelerator)
        name = "train" if isinstance(config, TrainConfig) else "clean"
        run.start(stage=name, config=asdict(config), device=device, about=about)
    recorded = {row["epoch"] for row in run.rows()}

    def measure(model: Model) -> dict[str, float]:
        with accelerator.autocast() if accelerator.mixed_precision != "no" else nullcontext():
            return benchmark.measure(model)

    def write(epoch: Epoch) -> None:
        begun = time.perf_counter()
        if epoch.number:
            values = measure(epoch.model)
        else:
            device = setup.device_name(accelerator)
            values = measured(benchmark, epoch.model, run.folder, device=device, measure=measure)
        row = epoch.stats | values | {"eval_seconds": time.perf_counter() - begun}
        run.append({"epoch": epoch.number} | row)
        if tracked:
            accelerator.log(row, step=epoch.number)

    if main and 0 not in recorded:
        write(Epoch(0, model, {"step": 0}))
    last: Epoch | None = None
    for epoch in candidates:
        last = epoch
        if main and epoch.number not in recorded:
            if config.checkpoints == "all":
                save(run, epoch, config)
            write(epoch)
        accelerator.wait_for_everyone()
    if main:
        if config.checkpoints == "last" and last is not None:
            save(run, last, config)
        run.finish()
    for tracker in accelerator.trackers if tracked else ():
        tracker.finish()
    accelerator.wait_for_everyone()


def save(run: Run, epoch: Epoch, config: TrainConfig | CleanConfig) -> None:
    """The weights of an epoch, with the parameters that made them."""
    about = {"run": run.folder.name, "epoch": epoch.number, "config": asdict(config)}
    path = weights_of(run, epoch.number)
    models.save_weights(epoch.model, path, about=about)
    if getattr(config, "optimiser_state", False) and epoch.optimizer is not None:
        write_state(setup.optimiser_path(path), epoch.optimizer.state_dict())
