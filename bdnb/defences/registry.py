"""Defences by name, what each is given, and the loop that most of them train with.

``@defence("name")`` adds one; its keyword-only parameters are the ``options`` of a cleaning run.
Every sweep, record, figure and table then works for it.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from bdnb.config.options import check_options
from bdnb.config.options import register as register_checked
from bdnb.data.batches import Batches
from bdnb.evaluate.benchmark import Benchmark
from bdnb.models import Model
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch, fit
from bdnb.training.loop import Compute, Loop, Objective
from bdnb.training.objectives import RunLoss
from bdnb.training.optimiser import Optimiser


def _no_training_pairs() -> Batches:
    raise ConfigError("the training pairs of the model are not known")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a defence is given besides the model and the pairs.

    loss: the run's cleaning loss. state: file where ``run_fit`` saves what training goes on from,
    every ``save_every`` seconds. adam: optimiser state to begin with, parameter groups included
    (``optimiser="authors"``). used: the tokens that captions, their views and prompts can have;
    None: any. classnames: of the primary labelled set, and scale: whose training experiments can
    be named, both for labels by a zero-shot classifier. training: makes the batches of the pairs
    that the model was trained on, poison included. benchmark: what measures the candidates; None on
    all processes but the main one. Both are for detection, and for no other defence. code: the
    user's file, whose detectors are looked at, too.
    """

    accelerator: Accelerator
    loss: RunLoss
    optimiser: Optimiser
    epochs: int
    seed: int
    state: Path
    compute: Compute
    save_every: float = 60.0
    adam: dict[str, Any] | None = None
    used: Tensor | None = None
    classnames: tuple[str, ...] = ()
    scale: str = ""
    training: Callable[[], Batches] = _no_training_pairs
    benchmark: Benchmark | None = None
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class Before:
    """What is known of a run before it starts: its model's name, "" if not, and what it was given.

    code: the user's file, as of ``check``, which fills it in.
    """

    model: str = ""
    micro_batch: int = 0
    code: str = ""


Defence = Callable[..., Iterator[Epoch]]
DEFENCES: dict[str, Defence] = {}
CHECKS: dict[str, Callable[[Mapping[str, Any], Before], object]] = {}


def defence(
    name: str, *, check: Callable[[Mapping[str, Any], Before], object] | None = None
) -> Callable[[Defence], Defence]:
    """Register ``fn(model, pairs, setting, *, options...) -> Iterator[Epoch]`` under a name.

    check: called with the options that are given, in their types, before anything is trained;
    raises ConfigError for what the types cannot say.
    Errors: ConfigError as ``config.options.register``.
    """

    def register(function: Defence) -> Defence:
        register_checked(DEFENCES, name, function, what="defence", takes="model, pairs, setting")
        CHECKS.pop(name, None)
        if check is not None:
            CHECKS[name] = check
        return function

    return register


def check(
    name: str, options: Mapping[str, Any], *, code: str = "", before: Before | None = None
) -> Defence:
    """Return the defence of that name.

    code: Python file that may define it. Errors: ConfigError for an unknown name or option, for a
    word that an option (a ``Literal``) does not know, and for what the defence itself refuses.
    """
    there = plugins.of_run(DEFENCES, code)
    if name not in there:
        raise ConfigError(
            f"defence={name!r}: unknown{plugins.not_named(DEFENCES, name)}. There are: "
            f"{', '.join(there)}; the book's page howto adds one"
        )
    given = check_options(DEFENCES[name], options, what=f"defence {name!r}")
    if name in CHECKS:
        with plugins.calling(f"the check of defence {name!r}"):
            CHECKS[name](given, replace(before or Before(), code=code))
    return DEFENCES[name]


def start(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    extra: nn.Module | None = None,
    extra_options: Mapping[str, float] | None = None,
    weight_decay: float | None = None,
    used_tokens: bool = False,
) -> Loop:
    """Return a training loop on the backdoored model with the run's optimiser and schedule.

    used_tokens: of the loss only the captions see the token embedding, so that no rows but those
    of ``setting.used`` need be trained.
    extra: a module to train beside the model, with optimiser options (lr, weight_decay) of its own.
    ``setting.adam`` brings moments *and parameter groups*, so that the run's own weight decay is
    overwritten, as in the authors' code.
    """
    optimiser = setting.optimiser
    if weight_decay is not None:
        optimiser = replace(optimiser, weight_decay=weight_decay)
    loop = Loop(
        model,
        setting.accelerator,
        optimiser=optimiser,
        compute=setting.compute,
        epochs=setting.epochs,
        epoch_steps=len(pairs),
        extra=extra,
        extra_options=extra_options,
        used=setting.used if used_tokens and setting.adam is None else None,
    )
    if setting.adam is not None:
        loop.restore(setting.adam)
    return loop


def run_fit(
    loop: Loop,
    pairs: Batches,
    setting: Setting,
    loss: Objective,
    *,
    before_epoch: Callable[[int, Loop], None] | None = None,
) -> Iterator[Epoch]:
    """Train as ``fit`` does, with the run's epochs and state file.

    before_epoch: called before each epoch, after what the run's cleaning loss does there.
    """

    def hook(epoch: int, loop: Loop, batches: Batches) -> None:
        setting.loss.before_epoch(epoch, loop, batches)
        if before_epoch is not None:
            before_epoch(epoch, loop)

    return fit(
        loop,
        pairs,
        loss,
        epochs=setting.epochs,
        state=setting.state,
        save_every=setting.save_every,
        before_epoch=hook,
    )
