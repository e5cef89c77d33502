"""The rows of the table: what each does, in the package and in the references.

A way is made ready by a call, and done by calling what that returns: ``ROWS[row](bench)[way]()()``.
"""

import shutil
from collections.abc import Callable

import numpy as np
import torch
from tqdm import tqdm

from bdnb.clean import clean
from bdnb.config.parameters import part
from bdnb.config.recipes import CleanConfig
from bdnb.data import datasets
from bdnb.data.augment.eda import TextViews
from bdnb.models import Model
from bdnb.runtime.seeds import generator
from bdnb.training import attacks, optimiser
from bdnb.training.fit import Saver, run_epoch

from . import reference
from .cases import RATES, Bench

OURS, AUTHORS, OPEN_CLIP = "bdnb", "authors", "open_clip"
Ways = dict[str, Callable[[], Callable[[], object]]]


def order(count: int, epoch: int) -> list[int]:
    """The package's order of an epoch, so that both ways see the same batches."""
    return generator(0, "order", epoch).permutation(count).tolist()


def step(bench: Bench, *, ssl: bool) -> Ways:
    """One step on a batch that is ready: uint8 images and tokens, or what the reference takes."""

    def ours() -> Callable[[], object]:
        model = bench.model()
        batches = bench.batches(model, "train", ssl=ssl)
        batch = next(batches.epoch(1))
        loop, loss = bench.loop(model, batches, steps=100_000), bench.objective(ssl=ssl)
        model.train()
        return lambda: loop.descend(batch, loss)[0]

    def other(cls: type[reference.Authors]) -> Callable[[], Callable[[], object]]:
        def ready() -> Callable[[], object]:
            images, tokens = plain_batch(bench, ssl=ssl)
            lr = bench.config.lr
            trainer = cls(bench.clip(), ssl=ssl, lr=lr, device=bench.device)
            return lambda: trainer.step(images, tokens)

        return ready

    ways: Ways = {OURS: ours, AUTHORS: other(reference.Authors)}
    if not ssl:
        ways[OPEN_CLIP] = other(reference.OpenClip)
        if bench.device.type == "cuda":
            ways["open_clip_amp"] = other(reference.OpenClipAmp)
    return ways


def plain_batch(bench: Bench, *, ssl: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The package's first batch as float images (n, 3, H, W) and 77 tokens."""
    model = Model(bench.case.model)
    batch = next(bench.batches(model, "train", ssl=ssl).epoch(1))
    images = (batch.images.float() - model.mean) / model.std
    tokens = torch.zeros(len(images), 77, dtype=torch.int64)
    tokens[:, : batch.tokens.shape[1]] = batch.tokens
    return images, tokens


def plain_pairs(bench: Bench, split: str, *, ssl: bool, **more: object) -> reference.Pairs:
    """A split as the reference reads it."""
    views = TextViews(0) if ssl else None
    return reference.Pairs(
        bench.files(split), bench.side, bench.tokenizer, text_views=views, **more
    )


def epoch(bench: Bench, split: str, *, ssl: bool) -> Ways:
    """An epoch of a split, data and steps. ssl: MMCL + SSL rather than MMCL."""
    size = bench.case.batch if split == "train" else bench.case.clean_batch

    def ours() -> Callable[[], object]:
        model = bench.model()
        batches = bench.batches(model, split, ssl=ssl)
        loop, loss = bench.loop(model, batches, steps=100_000), bench.objective(ssl=ssl)
        epochs = iter(range(1, 1000))
        bar, save = tqdm(disable=True), Saver(loop, None)

        def work() -> object:
            stats = run_epoch(loop, batches, loss, next(epochs), bar, save)
            loop.progress.turn()
            return stats["loss_total"]

        return work

    def authors() -> Callable[[], object]:
        pairs = plain_pairs(bench, split, ssl=ssl)
        trainer = reference.Authors(bench.clip(), ssl=ssl, lr=bench.config.lr, device=bench.device)

        def work() -> object:
            pairs.epoch += 1
            return trainer.epoch(pairs, order(len(pairs), pairs.epoch), size)

        return work

    return {OURS: ours, AUTHORS: authors}


def evaluation(bench: Bench) -> Ways:
    """Accuracy on two sets and ASR on the first: each prompt and image of one model state."""

    def ours() -> Callable[[], object]:
        measured, model = bench.benchmark(), bench.model()
        model.lay_out(kernels=bench.config.kernels)
        autocast = bench.accelerator.mixed_precision != "no"

        def work() -> object:
            with torch.autocast(bench.device.type, torch.bfloat16, enabled=autocast):
                return measured.measure(model)

        return work

    def other(head: Callable) -> Callable[[], Callable[[], object]]:
        return lambda: plain_evaluation(bench, bench.clip(), head=head)

    return {
        OURS: ours,
        AUTHORS: other(reference.authors_head),
        OPEN_CLIP: other(reference.open_clip_head),
    }


def plain_evaluation(
    bench: Bench, clip: torch.nn.Module, *, head: Callable = reference.authors_head
) -> Callable[[], dict[str, float]]:
    """The reference's evaluation of a model."""
    sets = [bench.files(name) for name in ("val", "unseen")]
    trigger = attacks.stamp(part(attacks.Attack, bench.config))
    return lambda: reference.evaluate(
        clip,
        bench.tokenizer,
        bench.prompts,
        sets,
        bench.side,
        stamp=trigger,
        stamp_prefix="val/",
        target=bench.target,
        head=head,
    )


def sweep(bench: Bench) -> Ways:
    """Cleaning at some rates, an epoch each, measured before and after; nothing is prepared."""
    rates = RATES[: bench.case.rates]

    def ours() -> Callable[[], object]:
        def work() -> object:
            for folder in (bench.home / "runs", bench.data.folder / "prepared"):
                shutil.rmtree(folder, ignore_errors=True)
            datasets._pairs.cache_clear()
            datasets._labelled.cache_clear()
            runs = [clean(cleaning(bench, lr)) for lr in rates]
            return [run.rows()[-1]["accuracy"] for run in runs]

        return work

    def authors() -> Callable[[], object]:
        return lambda: [plain_run(bench, lr)["accuracy"] for lr in rates]

    return {OURS: ours, AUTHORS: authors}


def cleaning(bench: Bench, lr: float) -> CleanConfig:
    """One run of the sweep."""
    return CleanConfig(
        scale="bench",
        poisoned=str(bench.weights),
        lr=lr,
        epochs=1,
        batch_size=bench.case.clean_batch,
        warmup_steps=0,
        templates=bench.case.templates,
        kernels=bench.config.kernels,
        checkpoints="none",
    )


def plain_run(bench: Bench, lr: float) -> dict[str, float]:
    """One run of the sweep by the reference."""
    clip = bench.clip()
    pairs = plain_pairs(bench, "clean", ssl=True)
    evaluate = plain_evaluation(bench, clip)
    evaluate()
    trainer = reference.Authors(clip, ssl=True, lr=lr, device=bench.device)
    size = bench.case.clean_batch
    steps = int(np.ceil(len(pairs) / size))
    trainer.schedule = optimiser.schedule(trainer.optimizer, warmup_steps=0, total_steps=steps)
    pairs.epoch = 1
    trainer.epoch(pairs, order(len(pairs), 1), size)
    return evaluate()


ROWS: dict[str, Callable[[Bench], Ways]] = {
    "step MMCL": lambda bench: step(bench, ssl=False),
    "step MMCL+SSL": lambda bench: step(bench, ssl=True),
    "cleaning epoch": lambda bench: epoch(bench, "clean", ssl=True),
    "evaluation": evaluation,
    "sweep of 8": sweep,
}
WORK = ROWS | {"training epoch": lambda bench: epoch(bench, "train", ssl=False)}
"""What can be measured: the rows of the table, and what has no row there."""


def samples(bench: Bench, row: str) -> int:
    """Pairs, or images, that one go of a row takes in."""
    case = bench.case
    if row.startswith("step"):
        return min(case.batch, case.pairs)
    if row == "training epoch":
        return case.pairs
    if row == "cleaning epoch":
        return case.cleaning_pairs
    return 3 * case.images if row == "evaluation" else case.rates * case.cleaning_pairs
