"""How a trigger is named, checked, seeded and put on images; the triggers are in ``triggers``.

In: uint8 images and the keys of their samples; out: the images with the trigger. What an image
draws depends on the run's seed and on its own key only, so that it does not depend on the batch.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from bdnb.config import options as checks
from bdnb.config.options import nearest
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

CHUNK = 2**21
"""Values stamped at a time: keeps copies small (in cache, on a CPU); changes no byte."""


@dataclass(frozen=True)
class Draws:
    """The random streams of one batch: one for each image, one for the run."""

    seed: int
    keys: Sequence[str]
    fixed: dict[str, Tensor] = field(default_factory=dict)

    def each(self, i: int) -> np.random.Generator:
        """The stream of image ``i`` of the batch, from its key."""
        return generator(self.seed, "trigger", self.keys[i])

    def once(self, name: str, make: Callable[[np.random.Generator], np.ndarray]) -> Tensor:
        """What is fixed for the run: made from its stream when first asked for, then kept.

        ``Stamp.state()`` has it under ``name``, which must tell one image size from another.
        """
        if name not in self.fixed:
            stream = generator(self.seed, "trigger of the run")
            self.fixed[name] = torch.from_numpy(np.ascontiguousarray(make(stream)))
        return self.fixed[name]


TRIGGERS: dict[str, Callable[..., Tensor]] = {}
"""Every trigger by name: images (B, 3, H, W) uint8 and ``Draws`` in, the same shape out."""

Function = TypeVar("Function", bound=Callable[..., Tensor])


def trigger(name: str) -> Callable[[Function], Function]:
    """Decorator: the function below is the trigger ``name``.

    Errors: ConfigError as ``config.options.register``.
    """

    def register(function: Function) -> Function:
        checks.register(TRIGGERS, name, function, what="trigger", takes="images, draws")
        return function

    return register


def pixels(size: float, images: Tensor) -> int:
    """``size`` in pixels on these images. Errors: ConfigError when the images are smaller."""
    height, width = images.shape[-2:]
    side = max(1, round(size * min(height, width))) if size < 1 else int(size)
    if side > min(height, width):
        raise ConfigError(f"trigger size {side} pixels: larger than the images, {height} x {width}")
    return side


def check_options(
    name: str, options: Mapping[str, Any], *, code: str | None = None
) -> dict[str, Any]:
    """Return the options of a trigger as the types of its signature.

    code: Python file that may define it; None: any that is imported.
    Errors: ConfigError for an unknown trigger, an unknown option, a value that does not fit.
    """
    there = TRIGGERS if code is None else plugins.of_run(TRIGGERS, code)
    if name not in there:
        near = plugins.not_named(TRIGGERS, name) or nearest(name, there)
        raise ConfigError(
            f"trigger {name!r}: unknown{near}. There are: {', '.join(there)}; the book's page "
            "howto adds one"
        )
    return checks.check_options(TRIGGERS[name], options, what=f"trigger {name!r}")


def tried(name: str, images: Tensor, draws: Draws, options: Mapping[str, Any]) -> Tensor:
    """A user's own trigger on images, held to what a trigger promises.

    Errors: ConfigError, with file and line, where it changes the images given, returns another
    shape or type, or draws from elsewhere than ``draws``: on the first images that it gets it is
    run twice with the same.
    """
    function, given, made = TRIGGERS[name], images.clone(), []
    place = f"{checks.source(function)}: trigger {name!r}"
    for fixed in [dict(draws.fixed)] * (function not in TRIED) + [draws.fixed]:
        with plugins.calling(place):
            made.append(function(images, Draws(draws.seed, draws.keys, fixed), **options))
        wrong = ""
        if not torch.equal(images, given):
            wrong = "changes the images that it is given: begin with images.clone()"
        elif not isinstance(made[-1], Tensor):
            wrong = f"returned {type(made[-1]).__name__}: expected images"
        elif (made[-1].shape, made[-1].dtype) != (given.shape, given.dtype):
            wrong = f"returned {made[-1].dtype} {tuple(made[-1].shape)}: expected "
            wrong += f"{given.dtype} {tuple(given.shape)}"
        elif not torch.equal(made[0], made[-1]):
            wrong = "makes other images of the same draws: take every random number from draws"
        if wrong:
            raise ConfigError(f"{place} {wrong}")
    TRIED.add(function)
    return made[-1]


TRIED: set[Callable[..., Tensor]] = set()
"""The users' own triggers that have kept what a trigger promises, in this process."""


class Stamp:
    """A trigger with its options and seed, ready to be put on images.

    options: the trigger's keyword arguments, defaults for those left out.
    state: what an earlier ``state()`` returned, to use the very same pattern or grid again.
    Errors: ConfigError for an unknown trigger or option, or a value that does not fit.
    """

    def __init__(
        self,
        name: str,
        *,
        seed: int,
        options: Mapping[str, Any] | None = None,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.name, self.seed, self.options = name, seed, check_options(name, options or {})
        self._fixed = {key: value.cpu() for key, value in (state or {}).items()}

    def __call__(self, images: Tensor, keys: Sequence[str] | str) -> Tensor:
        """The images with the trigger; the images given are not changed.

        images: (B, 3, H, W) uint8 with their B keys, or one (3, H, W) uint8 with its key.
        Returns: the same shape, type and device; the same bytes on any device and in any batch.
        Errors: ConfigError for another shape or type, or images smaller than the patch.
        """
        if images.ndim == 3 and isinstance(keys, str):
            return self(images[None], [keys])[0]
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            found = f"{images.dtype} {tuple(images.shape)}"
            raise ConfigError(f"trigger {self.name!r}: expected uint8 (B, 3, H, W), found {found}")
        if isinstance(keys, str) or len(keys) != len(images):
            found = repr(keys) if isinstance(keys, str) else f"{len(keys)} keys"
            raise ConfigError(f"trigger {self.name!r}: {found} for {len(images)} images")
        function, out = TRIGGERS[self.name], torch.empty_like(images)
        step = max(1, CHUNK // max(1, images[:1].numel()))
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            draws = Draws(self.seed, keys[part], self._fixed)
            if function.__module__.startswith("bdnb."):
                out[part] = function(images[part], draws, **self.options)
            else:
                out[part] = tried(self.name, images[part], draws, self.options)
        return out

    def state(self) -> dict[str, Tensor]:
        """What is fixed for the run (pattern, noise, grid), by name; empty before the first use."""
        return dict(self._fixed)


class NoStamp(Stamp):
    """Leaves images as they are: for an attack that needs no trigger."""

    def __init__(self, *, seed: int) -> None:
        self.name, self.seed, self.options, self._fixed = "", seed, {}, {}

    def __call__(self, images: Tensor, keys: Sequence[str] | str) -> Tensor:
        """A copy of the images."""
        return images.clone()
