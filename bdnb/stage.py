"""What a run needs, made from its parameters: device, data, attack, views, starting model.

All of it is checked here, before the first step is taken.
"""

import inspect
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from bdnb import configs, experiments, models, plugins
from bdnb.allocator import keep_freed_memory
from bdnb.augment import ImageViews, TextViews
from bdnb.configs import CleanConfig, ConfigError, TrainConfig
from bdnb.data import bad, emoji, labelled, shards, stream
from bdnb.data.index import cores, index
from bdnb.data.labelled import LabelledSet
from bdnb.data.pairs import Batches, Poison
from bdnb.data.shards import Pairs
from bdnb.eda import ShiftedViews
from bdnb.evaluate.benchmark import Benchmark
from bdnb.files import remove_parts, storing, write_atomic
from bdnb.models import Model
from bdnb.poison import selection, targets
from bdnb.poison.triggers import AUTHORS, TRIGGERS, Stamp, check_options
from bdnb.records import Run
from bdnb.states import read_state

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


@dataclass(frozen=True)
class Dataset:
    """A data set under ``data/``: pre-training pairs, cleaning pairs, labelled sets."""

    folder: Path

    @property
    def about(self) -> dict[str, Any]:
        """What ``dataset.json`` says; ``{}`` for a set from elsewhere."""
        path = self.folder / "dataset.json"
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    @property
    def side(self) -> int:
        """The side in pixels that its images were made at; 224 for a set from elsewhere."""
        return int(self.about.get("config", {}).get("side", 224))

    def pairs(
        self,
        split: str,
        side: int,
        *,
        fit: str = "crop",
        stream: str = "auto",
        bad_share: float = bad.BAD_SHARE,
    ) -> Pairs:
        """The pairs of ``train`` or ``clean``, as (N, 3, side, side) uint8.

        stream: "no": decoded once; "yes": read from their shards when asked for; "auto": that
        where they are too many. Errors: ConfigError for a larger share of bad ones.
        """
        return _pairs(self.folder, split, side, fit, stream, bad_share)

    def labelled(
        self, side: int, *, fit: str = "crop", bad_share: float = bad.BAD_SHARE
    ) -> list[LabelledSet]:
        """The labelled sets, the one that ``accuracy`` is measured on first."""
        there = sorted(p.parent.name for p in self.folder.glob("*/classnames.txt"))
        names = sorted(there, key=lambda n: {"val": 0, "unseen": 1}.get(n, 2))
        return [_labelled(self.folder, name, side, fit, bad_share) for name in names]


@cache
def _pairs(folder: Path, split: str, side: int, fit: str, how: str, bad_share: float) -> Pairs:
    tars = sorted((folder / split).glob("*.tar"))
    if not tars:
        raise ConfigError(f"{folder / split}: no shards (*.tar) there")
    cache = folder / "prepared"
    with storing(folder):
        if how == "yes" or (how == "auto" and stream.too_large(tars, side, cache, fit=fit)):
            return stream.streamed(index(tars, cache, bad_share=bad_share), side=side, fit=fit)
        return shards.prepare(tars, side, cache, fit=fit, bad_share=bad_share)


@cache
def _labelled(folder: Path, name: str, side: int, fit: str, bad_share: float) -> LabelledSet:
    with storing(folder):
        return labelled.read_labelled(
            folder / name, side=side, cache=folder / "prepared", fit=fit, bad_share=bad_share
        )


def dataset(name: str) -> Dataset:
    """A data set by name, built first when ``params/<name>/data.yaml`` says how.

    ``elsewhere: NAME`` in that file: the scale's own set is that folder, which nothing here makes.
    Errors: ConfigError when it is neither there nor described.
    """
    folder = configs.root() / "data" / name
    described = configs.root() / "params" / name / "data.yaml"
    if described.is_file():
        values = configs.load(name, "data")
        if (shown := values.pop("elsewhere", name)) != name:
            return dataset(shown)
        known = {"scale", "experiment"}
        config = configs.make(
            emoji.EmojiData,
            {k: v for k, v in values.items() if k not in known},
            where=f"params/{name}/data.yaml",
        )
        with storing(folder):
            return Dataset(emoji.build(config, configs.root()))
    if not (folder / "train").is_dir():
        raise ConfigError(
            f"data={name!r}: no params/{name}/data.yaml says how to make it, so expected a folder "
            f"data/{name}/ with train/ and clean/ (shards *.tar, as img2dataset writes them) and "
            "val/ (a labelled set, as CLIP_benchmark's wds_*); bdnb.data.web and "
            "bdnb.data.imagenet make them from CC3M, CC12M and ImageNet"
        )
    return Dataset(folder)


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
    model = models.build(config.model, seed=config.seed, bias=config.objective == "siglip")
    if kind == "experiment":
        source = experiments.trained(config.scale, config.init, config.seed)
        models.load_weights(model, kept_weights(source))
    elif kind == "file":
        models.load_weights(model, Path(config.init))
    return model


def weights_of(run: Run, epoch: int) -> Path:
    """Where a run keeps its weights after an epoch."""
    return run.folder / "checkpoints" / f"epoch_{epoch:03d}.safetensors"


def kept_weights(config: TrainConfig) -> Path:
    """The weights of a training run's kept epoch. Errors: ConfigError when they are not there."""
    path = weights_of(Run(experiments.folder(config)), experiments.kept_epoch(config))
    if not path.is_file():
        raise ConfigError(f"{path}: not there; train {config.experiment} with checkpoints=all")
    return path


def stamp(attack: TrainConfig) -> Stamp:
    """The trigger of a run with its size and options. Errors: ConfigError."""
    plugins.load(attack.code)
    theirs = AUTHORS.get(attack.trigger, {}) if attack.fidelity == "authors" else {}
    options = {**theirs, **attack.trigger_options}
    check_options(attack.trigger, options)
    takes = inspect.signature(TRIGGERS[attack.trigger]).parameters
    if "size" in takes and "size" not in options:
        size = attack.trigger_size
        options["size"] = int(size) if size >= 1 else size
    return Stamp(attack.trigger, seed=attack.seed, options=options)


def poisoned_keys(config: TrainConfig, pairs: Pairs) -> list[str]:
    """The keys of the pairs that a training run poisons; none for ``attack="none"``."""
    if config.attack == "none":
        return []
    if config.poison_keys:
        return selection.read_keys(Path(config.poison_keys), among=pairs.keys)
    by_count = config.poison_count > 0
    return selection.select(
        pairs.keys,
        pairs.captions,
        seed=config.seed,
        rate=None if by_count else config.poison_rate,
        count=config.poison_count if by_count else None,
        attack=config.attack,
        target=config.target,
        match=config.match,
    )


def look(config: TrainConfig, data: Dataset, split: str, *, side: int) -> Pairs | None:
    """The pairs as the attacker resizes them; None when that is as everybody does."""
    if config.resize != "squash":
        return None
    how = config.stream if split == "train" else "no"
    return data.pairs(split, side, fit="squash", stream=how, bad_share=config.bad_share)


def poison(config: TrainConfig, pairs: Pairs, *, folder: Path, look: Pairs | None = None) -> Poison:
    """Select, trigger and re-caption the poisoned pairs; their keys are written with the run."""
    keys, trigger = poisoned_keys(config, pairs), stamp(config)
    keep = config.attack == "label_consistent"
    made = poisoned(trigger, pairs, keys, target=None if keep else config.target, look=look)
    selection.write_keys(folder / "poisoned_keys.txt", keys)
    save_trigger(trigger, folder)
    return made


def training_pairs(config: TrainConfig, data: Dataset, *, side: int) -> Pairs:
    """The pairs that a run trains on: all there are, or the first of the seed's order."""
    pairs = data.pairs("train", side, stream=config.stream, bad_share=config.bad_share)
    if config.pairs > len(pairs.keys):
        raise ConfigError(f"pairs={config.pairs}: {data.folder} has {len(pairs.keys)} to train on")
    if not config.pairs:
        return pairs
    return subset(pairs, selection.rank(pairs.keys, config.seed, "train", config.pairs))


class Examples(NamedTuple):
    """Poisoned pairs for a figure: images (N, 3, H, W) uint8 before and after, captions too."""

    images: Tensor
    triggered: Tensor
    captions: list[str]
    backdoor_captions: list[str]


def examples(config: TrainConfig, *, count: int = 8) -> Examples:
    """The first poisoned pairs of a training run, as the model gets to see them."""
    data, side = dataset(config.data), models.Model(config.model).side
    pairs = training_pairs(config, data, side=side)
    keys = poisoned_keys(config, pairs)[:count]
    keep = config.attack == "label_consistent"
    made = poisoned(
        stamp(config),
        pairs,
        keys,
        target=None if keep else config.target,
        look=look(config, data, "train", side=side),
    )
    index = list(made.images)
    return Examples(
        torch.from_numpy(np.array(pairs.images[index])),
        torch.stack(list(made.images.values())),
        [pairs.captions[i] for i in index],
        list(made.captions.values()),
    )


def subset(pairs: Pairs, keys: list[str]) -> Pairs:
    """Some of the pairs, in the order of their keys; the set itself when all are asked for."""
    places = places_of(pairs, keys)
    return pairs if len(places) == len(pairs.keys) else pairs.take(sorted(places.values()))


def places_of(pairs: Pairs, keys: Iterable[str]) -> dict[str, int]:
    """Where some of the pairs are in the set, by their keys."""
    wanted = set(keys)
    return {key: i for i, key in enumerate(pairs.keys) if key in wanted}


def poisoned(
    trigger: Stamp,
    pairs: Pairs,
    keys: list[str],
    *,
    target: str | None,
    look: Pairs | None = None,
) -> Poison:
    """The trigger on the images of ``keys``, the target in their captions (None: captions stay).

    look: pairs to take these images from instead, the same keys among them.
    """
    index = sorted(places_of(pairs, keys).values())
    if not index:
        return Poison()
    names = [pairs.keys[i] for i in index]
    there = {} if look is None else places_of(look, names)
    source, places = pairs, index
    if look is not None:
        source, places = look, [there[name] for name in names]
    captions = [
        targets.template_caption(target, key, trigger.seed) if target else pairs.captions[i]
        for i, key in zip(index, names, strict=True)
    ]
    spoken = dict(zip(index, captions, strict=True))
    if isinstance(source.images, stream.Images):
        place, name = dict(zip(index, places, strict=True)), dict(zip(index, names, strict=True))
        stamped = stream.Stamped(source.images, place, name, trigger)
        stamped[index[0]]  # the first use fixes what the trigger keeps for the run
        return Poison(stamped, spoken)
    images = trigger(torch.from_numpy(np.array(source.images[places])), names)
    return Poison(dict(zip(index, images, strict=True)), spoken)


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
    return bad.keep(folder / "dropped.tsv", sets)


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


def benchmark(data: Dataset, attack: TrainConfig, *, side: int) -> Benchmark:
    """The evaluation of a run: its labelled sets, and its trigger on the first of them."""
    share = attack.bad_share
    seen = None
    if attack.resize == "squash":
        seen = data.labelled(side, fit="squash", bad_share=share)[0]
    return Benchmark(
        data.labelled(side, bad_share=share),
        look=seen,
        stamp=stamp(attack),
        target=attack.target,
        templates=[targets.fill(t, "{c}") for t in targets.templates(attack.templates)],
    )


def optimiser_path(weights: Path) -> Path:
    """Where the optimiser's state lies beside a run's weights."""
    return weights.with_suffix(".adam.pt")


def optimiser_state(weights: Path) -> dict[str, Any] | None:
    """The optimiser's state that was kept beside weights; None when there is none."""
    path = optimiser_path(weights)
    return read_state(path) if path.is_file() else None


def save_trigger(trigger: Stamp, folder: Path) -> None:
    """Keep what is fixed for the run (a pattern, a grid) beside its rows."""
    if state := trigger.state():
        write_atomic(folder / "trigger.safetensors", save(state))


if __name__ == "__main__":
    print(dataset(sys.argv[1]).folder)
