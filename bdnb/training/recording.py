"""From candidate models to rows: measure before the first epoch and after each, write at once."""

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

from accelerate import Accelerator

from bdnb import models
from bdnb.evaluate.benchmark import Benchmark
from bdnb.evaluate.measured import measured
from bdnb.models import Model
from bdnb.runs.records import Run, weights_of
from bdnb.training.checkpoints import optimiser_path
from bdnb.training.device import device_name
from bdnb.training.fit import Epoch
from bdnb.training.training_state import write_state


def record(
    run: Run,
    candidates: Iterator[Epoch],
    benchmark: Benchmark | None,
    *,
    stage: str,
    config: Mapping[str, Any],
    model: Model,
    accelerator: Accelerator,
    about: Mapping[str, Any],
    checkpoints: str = "last",
    optimiser_state: bool = False,
) -> None:
    """Write a run: its manifest, row 0 (the model as it comes), a row for each candidate.

    A row that is recorded already is not measured again, so a run that was cut off goes on; nor
    is the model that many runs clean. benchmark: None on all processes but the main one, which
    alone measures and writes. stage, config, about: for the manifest. checkpoints: whose weights
    are kept, all, last or none; optimiser_state: with the optimiser's.
    """
    if accelerator.log_with:
        accelerator.init_trackers("bdnb", init_kwargs={"wandb": {"name": run.folder.name}})
    device = device_name(accelerator)
    if benchmark is not None:
        run.start(stage=stage, config=config, device=device, about=about)
    recorded = {row["epoch"] for row in run.rows()}

    def measure(model: Model) -> dict[str, float]:
        assert benchmark is not None
        with accelerator.autocast() if accelerator.mixed_precision != "no" else nullcontext():
            return benchmark.measure(model)

    def write(epoch: Epoch) -> None:
        assert benchmark is not None
        begun = time.perf_counter()
        if epoch.number:
            values = measure(epoch.model)
        else:
            values = measured(benchmark, epoch.model, run.folder, device=device, measure=measure)
        row = epoch.stats | values | {"eval_seconds": time.perf_counter() - begun}
        run.append({"epoch": epoch.number} | row)
        accelerator.log(row, step=epoch.number)

    def keep(epoch: Epoch) -> None:
        save(run, epoch, optimiser_state=optimiser_state, config=config)

    if benchmark is not None and 0 not in recorded:
        write(Epoch(0, model, {"step": 0}))
    last: Epoch | None = None
    for epoch in candidates:
        last = epoch
        if benchmark is not None:
            if checkpoints == "all":
                keep(epoch)
            if epoch.number not in recorded:
                write(epoch)
        accelerator.wait_for_everyone()
    if benchmark is not None:
        if checkpoints == "last" and last is not None:
            keep(last)
        now = {name: config[name] for name in ("checkpoints", "optimiser_state") if name in config}
        run.finish(config=run.manifest["config"] | now)
    for tracker in accelerator.trackers:
        tracker.finish()
    accelerator.wait_for_everyone()


def save(run: Run, epoch: Epoch, *, optimiser_state: bool, config: Mapping[str, Any]) -> None:
    """Write what is not there yet of an epoch's weights, with the parameters that made them.

    optimiser_state: write this beside them, too. Errors: StorageError.
    """
    path = weights_of(run, epoch.number)
    about = {"run": run.folder.name, "epoch": epoch.number, "config": dict(config)}
    if not path.is_file():
        models.save_weights(epoch.model, path, about=about)
    if optimiser_state and epoch.optimizer is not None and not optimiser_path(path).is_file():
        write_state(optimiser_path(path), epoch.optimizer.state_dict())
