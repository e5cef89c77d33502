"""What a run needs, made from its parameters: device, data, attack, views, starting model.

All of it is checked here, before the first step is taken.
"""

import gc
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs
from filelock import FileLock, Timeout

from bdnb import models
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import bad_samples, stream
from bdnb.data.augment.eda import ShiftedViews
from bdnb.data.augment.second_views import ImageViews, TextViews
from bdnb.data.batches import Batches, Poison
from bdnb.data.datasets import Dataset
from bdnb.data.index import cores
from bdnb.data.shards import Pairs
from bdnb.evaluate.benchmark import Benchmark
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.runs import experiments
from bdnb.runs.records import Run, weights_of
from bdnb.runtime.allocator import keep_freed_memory
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import remove_parts, storing
from bdnb.training.attacks import stamp
from bdnb.training.training_state import read_state

PATIENCE = timedelta(hours=2)
"""How long processes wait for the one that evaluates."""

logging.getLogger().addFilter(lambda record: "No pretrained weights loaded" not in record.msg)


def has_fast_bf16() -> bool:
    """Whether bf16 is worth it here: on most GPUs, and on CPUs with AMX or AVX512-BF16."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def accelerator(config: TrainConfig | CleanConfig, folder: Path | None = None) -> Accelerator:
    """Accelerate's handle on devices and processes, and on the tracker of a run's folder.

    Errors: ConfigError for a tracker that is not installed.
    """
    keep_freed_memory()
    cuda, tracked = torch.cuda.is_available(), config.log_with != "none"
    if cuda:
        torch.set_float32_matmul_precision("high" if config.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = config.tf32
    bf16 = config.precision == "bf16" or (config.precision == "auto" and has_fast_bf16())
    AcceleratorState._reset_state()  # one precision a process, but the runs of a sweep may differ
    if bf16:
        gc.collect()  # Accelerate's cast holds the model of the run before in a circle
    handle = Accelerator(
        cpu=int(os.environ.get("WORLD_SIZE", 1)) > 1 and not cuda,  # several: over gloo
        mixed_precision="bf16" if bf16 else "no",
        log_with=config.log_with if tracked else None,
        project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if tracked and not handle.log_with:
        raise ConfigError(
            f"log_with={config.log_with!r}: not installed: pip install {config.log_with}"
        )
    return handle


def device_name(handle: Accelerator) -> str:
    """The device in words, for manifests: kind, how many, precision."""
    threads = torch.get_num_threads()
    kind = torch.cuda.get_device_name() if handle.device.type == "cuda" else handle.device.type
    kind = f"{kind}, {threads} thread{'s' * (threads > 1)}" if kind == "cpu" else kind
    many = f"{handle.num_processes} x " if handle.num_processes > 1 else ""
    precision = "fp32" if handle.mixed_precision == "no" else handle.mixed_precision
    return f"{many}{kind}, {precision}"


@contextmanager
def alone(run: Run, handle: Accelerator | None = None) -> Iterator[None]:
    """Hold a run's folder for this process, or for the main one of several; tidy it up.

    Errors: ConfigError when another process has it; StorageError.
    """
    if handle is not None and not handle.is_main_process:
        handle.wait_for_everyone()  # until the folder is tidy: what they write is not swept away
        yield
        return
    lock = FileLock(run.folder / ".lock")
    with storing(run.folder):
        run.folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=1)
        except Timeout as error:
            raise ConfigError(f"{run.folder.name}: another process is making this run") from error
    try:
        remove_parts(run.folder)
        if handle is not None:
            handle.wait_for_everyone()
        yield
    finally:
        lock.release()


def starting_weights(config: TrainConfig) -> str:
    """What ``init`` stands for: "" from scratch, "experiment", "file" or "published" (NAME:TAG).

    Errors: ConfigError when it is none of these.
    """
    if not config.init:
        return ""
    if experiments.is_experiment(config.scale, config.init):
        return "experiment"
    if Path(config.init).is_file():
        return "file"
    if ":" in config.init:
        return "published"
    raise ConfigError(
        f"init={config.init!r}: no such checkpoint; expected an experiment in params/, a weights "
        "file, or NAME:TAG of open_clip"
    )


def starting_model(config: TrainConfig) -> Model:
    """The model that training starts from: fresh, or with the weights that ``init`` names."""
    kind = starting_weights(config)
    if kind == "published":
        return models.load_pretrained(*config.init.split(":", 1))
    bias = config.objective == "siglip"
    if kind == "experiment":
        source = experiments.trained(config.scale, config.init, config.seed)
        return models.load(config.model, kept_weights(source), bias=bias)
    if kind == "file":
        return models.load(config.model, Path(config.init), bias=bias)
    return models.build(config.model, seed=config.seed, bias=bias)


def kept_weights(config: TrainConfig) -> Path:
    """The weights of a training run's kept epoch. Errors: ConfigError when they are not there."""
    path = weights_of(Run(experiments.folder(config)), experiments.kept_epoch(config))
    if not path.is_file():
        raise ConfigError(f"{path}: not there; train {config.experiment} with checkpoints=all")
    return path


def batches(config: TrainConfig, pairs: Pairs, **rest: Any) -> Batches:
    """The batches of a training run: of decoded pairs, or of a stream made by processes."""
    if not isinstance(pairs, stream.StreamedPairs):
        return Batches(pairs, **rest)
    workers = config.stream_workers
    if workers < 0:
        workers = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return stream.Stream(pairs, workers=workers, **rest)


def dropped(pairs: Pairs, benchmark: Benchmark, *, folder: Path) -> dict[str, Any]:
    """How many samples of the run's sets could not be used and why; their names in ``folder``."""
    sets = {"pairs": pairs.bad} | {found.name: found.bad for found in benchmark.sets}
    return bad_samples.keep(folder / "dropped.tsv", sets)


def views(
    config: TrainConfig | CleanConfig, pairs: Pairs, poison: Poison, *, needed: bool
) -> dict[str, Any]:
    """The second views of a stage, as keyword arguments of ``Batches``; none when not needed."""
    if not needed:
        return {}
    if config.text_views == "shifted":
        captions = [poison.captions.get(i, caption) for i, caption in enumerate(pairs.captions)]
        text: TextViews | ShiftedViews = ShiftedViews(config.seed, captions, pairs.keys)
    else:
        text = TextViews(config.seed, mode=config.text_views)
    return {
        "image_views": ImageViews(config.seed, policy=config.image_views),
        "text_views": text,
    }


def benchmark(data: Dataset, attack: TrainConfig, *, side: int, attacked: bool = True) -> Benchmark:
    """The evaluation of a run: its labelled sets, and its trigger on the first of them.

    attacked: whether the attack is known; else there is no ASR.
    """
    share = attack.bad_share
    seen = None
    if attacked and attack.resize == "squash":
        seen = data.labelled(side, fit="squash", bad_share=share)[0]
    return Benchmark(
        data.labelled(side, bad_share=share),
        look=seen,
        stamp=stamp(attack) if attacked else None,
        target=attack.target if attacked else "",
        templates=[targets.fill(t, "{c}") for t in targets.templates(attack.templates)],
    )


def optimiser_path(weights: Path) -> Path:
    """Where the optimiser's state lies beside a run's weights."""
    return weights.with_suffix(".adam.pt")


def optimiser_state(weights: Path) -> dict[str, Any] | None:
    """The optimiser's state that was kept beside weights; None when there is none."""
    path = optimiser_path(weights)
    return read_state(path) if path.is_file() else None
