"""Detectors by name, what each is given, and how well one finds the poison.

``@detector("name")`` adds one; its keyword-only parameters are its options.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from sklearn.metrics import f1_score, roc_auc_score, roc_curve
from torch import Tensor

from bdnb.config.options import check_options, checked, nearest, source
from bdnb.config.options import register as register_checked
from bdnb.models import Model
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError


class Samples(NamedTuple):
    """N samples to be judged: unit features (N, D) in the model.

    text: of captions, or None. length: (N,) that image features had before they were made unit.
    """

    image: Tensor
    text: Tensor | None = None
    length: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a detector may know beside the samples.

    reference: (R, D) unit features of clean images; length: (R,), as of samples. classnames,
    templates: of zero-shot prompts.
    """

    seed: int
    reference: Tensor
    length: Tensor | None = None
    classnames: Sequence[str] = ()
    templates: Sequence[str] = ()


class Scored(NamedTuple):
    """Suspicions (N,), the larger the likelier poisoned; threshold: above it, says the method."""

    scores: Tensor
    threshold: float | None = None


Detector = Callable[..., Scored]
Of = Literal["pairs", "images"]
DETECTORS: dict[str, Detector] = {}
OF: dict[str, Of] = {}
"""Whether a detector judges training pairs or test images."""


def detector(name: str, *, of: Of) -> Callable[[Detector], Detector]:
    """Register ``fn(model, samples, known, *, options...) -> Scored`` under a name.

    of: what it judges: training "pairs", or test "images", which have no captions.
    Errors: ConfigError as ``config.options.register``.
    """

    def register(function: Detector) -> Detector:
        takes = "model, samples, known"
        checked(Of, of, f"{source(function)}: detector {name!r}: of={of!r}")
        register_checked(DETECTORS, name, function, what="detector", takes=takes)
        OF[name] = of
        return function

    return register


def check(name: str, options: Mapping[str, Any], *, code: str = "") -> dict[str, Any]:
    """Return a detector's options as their types. Errors: ConfigError, also for its name.

    code: Python file that may define it.
    """
    if name not in (there := plugins.of_run(DETECTORS, code)):
        near = plugins.not_named(DETECTORS, name) or nearest(name, there)
        raise ConfigError(f"detector={name!r}: expected one of {', '.join(there)}{near}")
    return check_options(DETECTORS[name], options, what=f"detector {name!r}")


def score(
    name: str, model: Model, samples: Samples, known: Known, options: Mapping[str, Any]
) -> Scored:
    """Return a detector's suspicions, on the CPU; a user's own is given copies of the features.

    Errors: ConfigError.
    """
    function = DETECTORS[name]
    given = check_options(function, options, what=f"detector {name!r}")
    place, ours = f"{source(function)}: detector {name!r}", function.__module__.startswith("bdnb.")
    if not ours:  # what it changes in place, other detectors are given as it was
        samples = Samples._make(None if one is None else one.clone() for one in samples)
        known = replace(known, reference=known.reference.clone())
    with nullcontext() if ours else plugins.calling(place), torch.inference_mode():
        made = function(model, samples, known, **given)
    if what := wrong(made, len(samples.image)):
        raise ConfigError(
            f"{place} returned {what}: expected Scored(scores, threshold) of {len(samples.image)} "
            "numbers, one a sample, and one number or None"
        )
    return Scored(made.scores.detach().cpu().double(), made.threshold)


def wrong(made: object, count: int) -> str:
    """Return what is wrong with a detector's result for ``count`` samples; "" for nothing."""
    if not isinstance(made, Scored):
        return type(made).__name__
    scores, threshold = made
    if not isinstance(scores, Tensor) or scores.is_complex():
        return f"scores {scores!r:.80}"
    if scores.shape != (count,):
        return f"scores of shape {tuple(scores.shape)}"
    if bad := int((~scores.isfinite()).sum()):
        return f"scores of which {bad} are not finite"
    number = isinstance(threshold, int | float) and not math.isnan(threshold)
    return "" if threshold is None or number else f"threshold {threshold!r:.80}"


def found(scored: Scored, poisoned: np.ndarray) -> Iterator[tuple[str, float]]:
    """Yield ``auroc``, ``fpr95`` and ``f1`` in percent; NaN where there is nothing to find.

    poisoned: (N,) bool. fpr95: clean samples that are flagged where 95 % of the poisoned are.
    f1: at the threshold that the method itself names, NaN if it names none.
    """
    scores, both = scored.scores.numpy(), len(np.unique(poisoned)) == 2
    yield "auroc", 100 * float(roc_auc_score(poisoned, scores)) if both else math.nan
    false, true, _ = roc_curve(poisoned, scores) if both else ([math.nan], [1.0], None)
    yield "fpr95", 100 * float(np.asarray(false)[np.asarray(true) >= 0.95][0])
    named = scored.threshold is not None and both
    flagged = scores > (scored.threshold if scored.threshold is not None else math.inf)
    yield "f1", 100 * float(f1_score(poisoned, flagged)) if named else math.nan
