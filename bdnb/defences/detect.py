"""Detection: how well poison is found with a backdoored model, and training without what is found.

Both look at the pairs that the model was trained on, which other defences may not.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
import torch
from accelerate.utils import broadcast
from pydantic import AfterValidator
from torch import Tensor

from bdnb.config.options import Count, Share, nearest
from bdnb.data.batches import Batches, Poison
from bdnb.defences.registry import Before, Setting, defence, run_fit, start
from bdnb.defences.retrain import anew
from bdnb.evaluate.detectors import registry
from bdnb.evaluate.detectors.registry import Known, Samples
from bdnb.evaluate.embedding import pair_features
from bdnb.evaluate.predictions import seen
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.runtime import plugins
from bdnb.training.fit import Epoch


def _there(name: str) -> str:
    if name not in (there := registry.DETECTORS):
        raise ValueError(f"one of {', '.join(there)}{nearest(name, there)}")
    return name


Name = Annotated[str, AfterValidator(_there)]
"""A type: a detector's name, known before a run starts."""


DETECTOR = "dao"
"""What ``drop`` takes unless another is named."""


def _check_options(given: Mapping[str, Any], before: Before) -> None:
    """Refuse options that one of the detectors, all or the one named, does not take."""
    options = given.get("options") or {}
    for name in {*given.get("detectors", ()), *options}:
        registry.check(name, options.get(name, {}), code=before.code)


def _check_detector(given: Mapping[str, Any], before: Before) -> None:
    options = given.get("options") or {}
    registry.check(given.get("detector", DETECTOR), options, code=before.code)


@defence("detect", check=_check_options)
def detect(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    detectors: tuple[Name, ...] = (),
    options: dict[str, Any] | None = None,
    reference: Count = 500,
) -> Iterator[Epoch]:
    """Leave the model as it is; its row has ``<detector>_auroc``, ``_fpr95`` and ``_f1``.

    detectors: by name; (): all there are. options: of each, by its name. reference: clean images
    that a method may take its threshold from, or look for neighbours among. Errors: ConfigError.
    """
    there = plugins.of_run(registry.DETECTORS, setting.code)
    names, given = detectors or tuple(there), options or {}
    known, values = knowledge(model, pairs, setting, reference), dict[str, float]()
    judged: dict[str, tuple[Samples, np.ndarray]] = {}
    for name in names if setting.benchmark is not None else ():
        of = registry.OF[name]
        if of not in judged:
            pair = of == "pairs"
            judged[of] = trained_on(model, setting.training()) if pair else tested(model, setting)
        samples, poisoned = judged[of]
        scored = registry.score(name, model, samples, known, given.get(name, {}))
        values |= {f"{name}_{what}": value for what, value in registry.found(scored, poisoned)}
    yield Epoch(1, model, {"step": 0} | values)


@defence("drop", check=_check_detector)
def drop(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    detector: Name = DETECTOR,
    share: Share = 0.05,
    options: dict[str, Any] | None = None,
) -> Iterator[Epoch]:
    """Train anew on the training pairs, the most suspicious ``share`` left out, as the run says.

    options: of the detector. A row's ``poison_dropped`` is the percentage of the poison that was
    among them. The run's loss, learning rate, epochs and batch size should be those of
    pre-training. Errors: ConfigError.
    """
    every = setting.training()
    samples, poisoned = trained_on(model, every)
    known = knowledge(model, pairs, setting, 500)
    scored = registry.score(detector, model, samples, known, options or {})
    order = broadcast(scored.scores.argsort(stable=True).to(setting.accelerator.device))
    count = len(poisoned) - round(share * len(poisoned))
    kept = without(every, sorted(order[:count].tolist()))
    anew(model, seed=setting.seed)
    dropped = 100 * (1 - len(kept.poison) / max(1, len(every.poison)))
    for epoch in run_fit(start(model, kept, setting), kept, setting, setting.loss):
        yield epoch._replace(stats=epoch.stats | {"poison_dropped": dropped})


def without(batches: Batches, places: list[int]) -> Batches:
    """Return the batches of some of the pairs, with the poison that is among them."""
    now, old = dict(zip(places, range(len(places)), strict=True)), batches.poison
    kept = [place for place in old.images if place in now]
    images = {now[place]: old.images[place] for place in kept}
    poison = Poison(images, {now[place]: old.captions[place] for place in kept})
    return replace(batches, pairs=batches.pairs.take(places), poison=poison)


def knowledge(model: Model, pairs: Batches, setting: Setting, reference: int) -> Known:
    """Return what a detector may know: clean images, class names."""
    images = pairs.pairs.images[: min(reference, pairs.samples)]
    templates = setting.benchmark.templates if setting.benchmark else targets.templates()
    with lengths(model) as found:
        features = seen(model, images)
    return Known(
        seed=setting.seed,
        reference=features,
        length=torch.cat(found),
        classnames=setting.classnames,
        templates=templates,
    )


def trained_on(model: Model, batches: Batches) -> tuple[Samples, np.ndarray]:
    """Return the training pairs in the model, and which of them (N,) are poisoned."""
    poisoned = np.isin(np.arange(batches.samples), list(batches.poison.images))
    with lengths(model) as found:
        image, text = pair_features(model, batches)
    return Samples(image, text, torch.cat(found)), poisoned


@contextmanager
def lengths(model: Model) -> Iterator[list[Tensor]]:
    """Collect the lengths (B,), before they are made unit, of image features that are made here."""
    found: list[Tensor] = []
    hook = model.clip.visual.register_forward_hook(
        lambda tower, given, made: found.append(made.float().norm(dim=-1))
    )
    try:
        yield found
    finally:
        hook.remove()


def tested(model: Model, setting: Setting) -> tuple[Samples, np.ndarray]:
    """Return test images without and with the trigger, and which are with it.

    With it are the attacked, but none of the target class, which would be taken for it anyway.
    """
    benchmark = setting.benchmark
    assert benchmark is not None
    clean, triggered = benchmark.sets[0], benchmark.triggered
    features = [seen(model, np.asarray(clean.images))]
    if triggered is not None:
        labels = np.asarray(clean.labels)[benchmark.attacked]
        features.append(seen(model, triggered[labels != benchmark.target]))
    samples = Samples(torch.cat(features))
    return samples, np.arange(len(samples.image)) >= len(clean)
