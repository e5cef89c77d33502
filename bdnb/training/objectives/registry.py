"""Losses of a run by name: ``@objective("name")`` adds one, for pre-training and for cleaning.

An objective is a function of a batch's embeddings that gives its terms by name; ``RunLoss`` is one
with the run's weights and options, as the loop calls it.
"""

import inspect
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bdnb import losses
from bdnb.config.options import check_options, nearest, source
from bdnb.config.options import register as register_checked
from bdnb.data.batches import Batch, Batches
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training.loop import Features, Loop


class Embedded(NamedTuple):
    """A batch in the model, the shares of all processes together.

    image, text: (B, D) unit embeddings; image_view, text_view: of the second views, or the same.
    places: (B,) the pairs' places in the set (of an objective with a hook, else of this process).
    kept: tensors that the objective keeps from step to step; they are saved with the run.
    """

    image: Tensor
    image_view: Tensor
    text: Tensor
    text_view: Tensor
    scale: Tensor
    bias: Tensor
    places: Tensor
    kept: MutableMapping[str, Tensor]
    epoch: int


Terms = Callable[..., dict[str, Tensor]]
Hook = Callable[..., None]


class About(NamedTuple):
    """What the loop needs to know of an objective, as ``objective`` describes it."""

    second_views: bool
    bias: bool
    before_epoch: Hook | None


OBJECTIVES: dict[str, Terms] = {}
ABOUT: dict[str, About] = {}
PAIRED = ("mmcl", "siglip")
"""Terms that are not self-supervised: all others count ``ssl_weight``."""
TAKEN = ("total", "options")
"""Names that no term can have: ``loss_`` and these are in a row, or a parameter."""


def objective(
    name: str, *, second_views: bool = False, bias: bool = False, before_epoch: Hook | None = None
) -> Callable[[Terms], Terms]:
    """Register ``fn(embedded, *, options...) -> {term: scalar}`` under a name.

    second_views: whether batches need them. bias: whether it trains SigLIP's logit bias.
    before_epoch: ``fn(epoch, loop, batches, **options)``, called before each epoch with all
    options; what it puts in ``loop.kept`` is saved with the run, a single number recorded, too;
    ``loop.kept["kinds"]`` (N,) says which of the epoch's pairs share no batch.
    Errors: ConfigError as ``config.options.register``.
    """

    def register(function: Terms) -> Terms:
        if before_epoch is not None:
            _check_hook(before_epoch, function, f"{source(function)}: objective {name!r}")
        register_checked(OBJECTIVES, name, function, what="objective", takes="embedded")
        ABOUT[name] = About(second_views, bias, before_epoch)
        return function

    return register


def _check_hook(hook: Hook, function: Terms, place: str) -> None:
    """Refuse a ``before_epoch`` that cannot be called with all options. Errors: ConfigError."""
    every = inspect.signature(function).parameters.values()
    named = {p.name: p.default for p in every if p.kind is p.KEYWORD_ONLY}
    try:
        inspect.signature(hook).bind(None, None, None, **named)
    except TypeError as error:
        raise ConfigError(
            f"{place}: before_epoch: {error}: expected a function (epoch, loop, batches, *, ...) "
            "of all its options"
        ) from error


def check(
    name: str, options: Mapping[str, Any], *, code: str = "", cleaning: bool = False
) -> dict[str, Any]:
    """Return all options of an objective, those not given at their defaults.

    code: Python file that may define it. cleaning: it is a cleaning loss, of models that have no
    logit bias. Errors: ConfigError for an unknown name or option, or an option's value.
    """
    there = plugins.of_run(OBJECTIVES, code)
    known = [one for one in there if not (cleaning and ABOUT[one].bias)]
    if name not in known:
        what = "loss" if cleaning else "objective"
        raise ConfigError(
            f"{what}={name!r}: expected one of {', '.join(known)}"
            f"{plugins.not_named(OBJECTIVES, name) or nearest(name, known)}"
        )
    function = OBJECTIVES[name]
    given = check_options(function, options, what=f"objective {name!r}")
    every = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in every if p.kind is p.KEYWORD_ONLY} | given


@dataclass(frozen=True, kw_only=True)
class RunLoss:
    """A run's loss: an objective with its options, weights and gathering.

    mmcl_weight: of MMCL; ssl_weight: of every self-supervised term. gather: as ``losses.gather``.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    mmcl_weight: float = 1.0
    ssl_weight: float = 1.0
    gather: str = "exact"

    @property
    def second_views(self) -> bool:
        """Whether batches need second views."""
        return ABOUT[self.name].second_views

    def __call__(self, features: Features, batch: Batch) -> dict[str, Tensor]:
        """Return its parts, ``loss_total`` being the one to descend (Equations 1-3)."""
        # Originals and views lie side by side, so that one gathering serves every term.
        views = 2 if self.second_views else 1
        share = partial(losses.gather, mode=self.gather, sizes=batch.sizes)
        image = torch.cat(features.image.chunk(views), dim=1)
        text = torch.cat(features.text.chunk(views), dim=1)
        images = share(image).chunk(views, dim=1)
        texts = share(text).chunk(views, dim=1)
        places = batch.places
        if ABOUT[self.name].before_epoch is not None:
            places = places.to(image.device)[:, None]
            places = losses.gather(places, mode="authors", sizes=batch.sizes)[:, 0]
        embedded = Embedded(
            *(images[0], images[-1], texts[0], texts[-1], features.scale, features.bias, places),
            *(features.kept, features.epoch),
        )
        with self._calling():
            values = OBJECTIVES[self.name](embedded, **self.options)
        if what := wrong(values, trained=features.image.requires_grad):
            raise ConfigError(
                f"{self._place} returned {what}: expected its terms by name, each one number that "
                "the gradient of the embeddings comes from"
            )
        self._check_kept(features.kept)
        weights = {k: 1.0 if k in PAIRED else self.ssl_weight for k in values}
        weights |= {"mmcl": self.mmcl_weight}
        total = torch.stack([weights[key] * value for key, value in values.items()]).sum()
        return {"loss_total": total} | {f"loss_{key}": value for key, value in values.items()}

    def before_epoch(self, epoch: int, loop: Loop, batches: Batches) -> None:
        """What the objective does before an epoch, if anything."""
        if (hook := ABOUT[self.name].before_epoch) is None:
            return
        with self._calling():
            hook(epoch, loop, batches, **self.options)
        self._check_kept(loop.kept)

    def _check_kept(self, kept: Mapping[str, object]) -> None:
        """Refuse what could not be saved with the run. Errors: ConfigError."""
        for name, value in kept.items():
            if not isinstance(value, Tensor):
                raise ConfigError(f"{self._place}: kept {name}={value!r:.80}: expected a tensor")

    @property
    def _place(self) -> str:
        return f"{source(OBJECTIVES[self.name])}: objective {self.name!r}"

    def _calling(self) -> AbstractContextManager[None]:
        """Around a call of a user's own objective or hook: what it raises is told as theirs."""
        ours = OBJECTIVES[self.name].__module__.startswith("bdnb.")
        return nullcontext() if ours else plugins.calling(self._place)


def wrong(terms: object, *, trained: bool) -> str:
    """Return what is wrong with what an objective returned; "" for nothing.

    trained: the embeddings have a gradient, so the terms must have one, too.
    """
    if not isinstance(terms, Mapping) or not terms:
        return f"{terms!r:.80}" if isinstance(terms, Mapping) else type(terms).__name__
    for name, value in terms.items():
        if not isinstance(name, str) or name in TAKEN:
            return f"a term named {name!r:.80}" + " (that name is taken)" * (name in TAKEN)
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return f"{name}={value!r:.80}"
        if value.ndim:
            return f"{name} of shape {tuple(value.shape)}"
    if trained and not any(value.requires_grad for value in terms.values()):
        return f"{', '.join(terms)} without a gradient"
    return ""


def make(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    code: str = "",
    cleaning: bool = False,
    **weights: Any,
) -> RunLoss:
    """Return a run's loss by name. weights: as of ``RunLoss``. Errors: ConfigError as ``check``."""
    every = check(name, options or {}, code=code, cleaning=cleaning)
    return RunLoss(name=name, options=every, **weights)
