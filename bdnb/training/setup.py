"""What a run is made with: its folder for itself, its batches with second views, its benchmark."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from filelock import FileLock, Timeout
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from bdnb.data import bad_samples, stream
from bdnb.data.augment.eda import STOP_WORDS, ShiftedViews, TextViews, words_of
from bdnb.data.augment.second_views import ImageViews
from bdnb.data.augment.wordnet import synonyms
from bdnb.data.batches import Batches, Poison
from bdnb.data.datasets import Dataset
from bdnb.data.labelled import LabelledSet
from bdnb.data.shards import Pairs
from bdnb.evaluate.benchmark import Benchmark
from bdnb.evaluate.retrieval import hold_out
from bdnb.models import Model
from bdnb.models.clip import TOKENS_KEPT
from bdnb.poison import targets
from bdnb.poison.triggers import TRIGGERS
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import remove_parts, storing
from bdnb.runtime.parallel import cores
from bdnb.training.attacks import Attack, stamp


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
            raise ConfigError(
                f"{run.folder.name}: another process is making this run: wait until it is done, "
                "then give the same command again"
            ) from error
    try:
        remove_parts(run.folder)
        if handle is not None:
            handle.wait_for_everyone()
        yield
    finally:
        lock.release()


@dataclass(frozen=True, kw_only=True)
class Parts:
    """How pairs become batches and what is measured, as ``config.recipes`` describes each value."""

    batch_size: int
    seed: int
    last_batch: str = "keep"
    truncation: str = "end"
    image_views: str = "autoaugment"
    text_views: str = "fresh"
    stream_workers: int = -1
    templates: str = "openai"
    retrieval: int = 0


def batches(
    pairs: Pairs,
    poison: Poison,
    wanted: Parts,
    model: Model,
    handle: Accelerator,
    *,
    second_views: bool,
) -> Batches:
    """Return the batches of a run, of decoded pairs or of a stream; a share for each process."""
    given: dict[str, Any] = {
        "batch_size": wanted.batch_size,
        "last_batch": wanted.last_batch,
        "seed": wanted.seed,
        "tokens": partial(model.tokens, truncation=wanted.truncation),
        "poison": poison,
        "rank": handle.process_index,
        "world": handle.num_processes,
    }
    if second_views:
        given["image_views"] = ImageViews(wanted.seed, policy=wanted.image_views)
        given["text_views"] = text_views(pairs, poison, wanted)
    if isinstance(pairs, stream.StreamedPairs):
        given["workers"] = wanted.stream_workers
        if wanted.stream_workers < 0:
            given["workers"] = max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return Batches(pairs, **given)


def text_views(pairs: Pairs, poison: Poison, wanted: Parts) -> TextViews | ShiftedViews:
    """Return the second views of captions; the authors' shifted ones are of all pairs at once."""
    if wanted.text_views != "shifted":
        return TextViews(wanted.seed, mode=wanted.text_views)
    captions = [poison.captions.get(i, caption) for i, caption in enumerate(pairs.captions)]
    return ShiftedViews(wanted.seed, captions, pairs.keys)


def used_tokens(batches: Batches, data: Dataset, wanted: Parts, model: Model) -> Tensor | None:
    """Return the tokens (R,) that captions, second views and prompts of a run can have.

    None where that is not known: streamed or very many pairs, another tokenizer than CLIP's, which
    splits a text at its words.
    """
    tokenizer, pairs = model.tokenizer, batches.pairs
    known = type(tokenizer) is SimpleTokenizer and tokenizer.reduction_fn is None and model.trims
    if not known or isinstance(pairs, stream.StreamedPairs) or len(pairs.keys) > TOKENS_KEPT:
        return None
    captions = {*pairs.captions, *batches.poison.captions.values()}
    found = [model.tokens(sorted(captions), truncation=wanted.truncation)]
    if batches.text_views is not None:
        words = {word for caption in captions for word in words_of(caption)}
        words |= {name for word in words - STOP_WORDS for name in synonyms(word)}
        found.append(torch.tensor(tokenizer.encode(" ".join(sorted(words))), dtype=torch.int64))
    chosen = [targets.fill(template, "{c}") for template in targets.templates(wanted.templates)]
    names = {name for labelled in data.labelled(model.side) for name in labelled.classnames}
    texts = [targets.fill(template, name) for template in chosen for name in sorted(names)]
    texts += data.pairs("clean", model.side).captions if wanted.retrieval else []
    found += [model.tokens(texts), torch.zeros(1, dtype=torch.int64)]  # zeros are padding
    return torch.cat([tokens.flatten() for tokens in found]).unique()


def dropped(run: Run, pairs: Pairs, sets: Sequence[LabelledSet]) -> dict[str, Any]:
    """Count the samples that could not be used, by reason; their names are kept with the run."""
    bad = {"pairs": pairs.bad} | {found.name: found.bad for found in sets}
    return bad_samples.keep(run.folder / "dropped.tsv", bad)


def benchmark(
    data: Dataset, attack: Attack | None, wanted: Parts, *, side: int, used: int | None = 0
) -> Benchmark:
    """Return the evaluation of a run: its labelled sets, and its trigger on the first of them.

    attack: None when it is not known; there is no ASR then. used: how many clean pairs the run
    cleans with, which retrieval is not measured on; None: all. Only for the main process: the
    triggered images are held in memory, and taken again by the next run of this process that has
    the same. Errors: ConfigError.
    """
    resized = attack is not None and attack.resize == "squash"
    sets = data.labelled(side)
    held_out = None
    if wanted.retrieval:
        clean = data.pairs("clean", side)
        attacked = data.pairs("clean", side, fit="squash") if resized else clean
        used = len(clean.keys) if used is None else used
        held_out = hold_out(clean, attacked, seed=wanted.seed, count=wanted.retrieval, used=used)
    about = (repr(attack), wanted.templates, held_out and tuple(held_out.keys))
    key = (*map(id, sets), *about, attack and TRIGGERS.get(attack.trigger))
    if key in _LAST:
        return _LAST[key]
    _LAST.clear()
    _LAST[key] = made = Benchmark(
        sets,
        resized=data.labelled(side, fit="squash")[0] if resized else None,
        held_out=held_out,
        stamp=stamp(attack) if attack else None,
        target=attack.target if attack else "",
        victims=attack.victims if attack else (),
        templates=targets.templates(wanted.templates),
    )
    return made


_LAST: dict[tuple[Any, ...], Benchmark] = {}
"""The benchmark of the last run, which refers to its sets, so that no others have their ids."""
