"""How a trigger is named, checked, seeded and put on images; the triggers are in ``triggers``.

In: uint8 images and the keys of their samples; out: the images with the trigger. What an image
draws depends on the run's seed and on its own key only, so that it does not depend on the batch.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

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

    def shared(self) -> np.random.Generator:
        """The stream of the run, for what all images have in common."""
        return generator(self.seed, "trigger of the run")

    def once(self, name: str, make: Callable[[np.random.Generator], np.ndarray]) -> Tensor:
        """What is fixed for the run: made from ``shared()`` when first asked for, then kept.

        ``Stamp.state()`` has it under ``name``, which must tell one image size from another.
        """
        if name not in self.fixed:
            self.fixed[name] = torch.from_numpy(np.ascontiguousarray(make(self.shared())))
        return self.fixed[name]


TRIGGERS: dict[str, Callable[..., Tensor]] = {}
"""Every trigger by name: images (B, 3, H, W) uint8 and ``Draws`` in, the same shape out."""

Function = TypeVar("Function", bound=Callable[..., Tensor])


def trigger(name: str) -> Callable[[Function], Function]:
    """Decorator: the function below is the trigger ``name``.

    Errors: ConfigError if another module has taken it; the same one may define it anew.
    """

    def register(function: Function) -> Function:
        if name in TRIGGERS and TRIGGERS[name].__module__ != function.__module__:
            raise ConfigError(f"trigger {name!r} is there already: {TRIGGERS[name].__module__}")
        TRIGGERS[name] = function
        return function

    return register


def _number(value: object) -> float:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain else float("nan")  # type: ignore[arg-type]


def _is_size(value: object) -> str:
    number = _number(value)
    fits = 0 < number < 1 or (number >= 1 and number == int(number))
    return "" if fits else "a number of pixels, or a share of the image's side between 0 and 1"


def _is_share(value: object) -> str:
    return "" if 0 <= _number(value) <= 1 else "a number from 0 to 1"


def _is_amount(value: object) -> str:
    return "" if 0 <= _number(value) < float("inf") else "a number of at least 0"


Size = Annotated[float, _is_size]
"""An option's type: pixels when a whole number, share of the image's shorter side below 1."""
Share = Annotated[float, _is_share]
"""An option's type: from 0 to 1."""
Amount = Annotated[float, _is_amount]
"""An option's type: any number that is not negative."""


def pixels(size: float, images: Tensor) -> int:
    """``size`` in pixels on these images. Errors: ConfigError when the images are smaller."""
    height, width = images.shape[-2:]
    side = max(1, round(size * min(height, width))) if size < 1 else int(size)
    if side > min(height, width):
        raise ConfigError(f"trigger size {side} pixels: larger than the images, {height} x {width}")
    return side


def _nearest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    return f" (did you mean {near[0]!r}?)" if near else ""


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """A trigger's name and options, against its signature.

    Options annotated with Literal, or with Annotated and a function from the value to what was
    expected instead ("" when it fits), have their values checked too.
    Errors: ConfigError for an unknown trigger, an unknown option, a value that does not fit.
    """
    if name not in TRIGGERS:
        near = _nearest(name, list(TRIGGERS))
        raise ConfigError(
            f"trigger {name!r}: unknown{near}. There are: {', '.join(TRIGGERS)}; the "
            "book's page howto_trigger adds one"
        )
    parameters = inspect.signature(TRIGGERS[name]).parameters.values()
    known = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    hints = get_type_hints(TRIGGERS[name], include_extras=True)
    for option, value in options.items():
        if option not in known:
            near = _nearest(option, known)
            takes = ", ".join(known) or "none"
            raise ConfigError(f"trigger {name!r}: no option {option!r}{near}. It takes: {takes}")
        if expected := _expected(hints.get(option), value):
            raise ConfigError(f"trigger {name!r}: {option}={value!r}: expected {expected}")


def _expected(hint: object, value: object) -> str:
    if get_origin(hint) is Literal:
        return "" if value in get_args(hint) else f"one of {', '.join(map(str, get_args(hint)))}"
    if get_origin(hint) is Annotated:
        return str(get_args(hint)[1](value))
    return ""


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
        check_options(name, options or {})
        self.name, self.seed, self.options = name, seed, dict(options or {})
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
        out = torch.empty_like(images)
        step = max(1, CHUNK // max(1, images[:1].numel()))
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            draws = Draws(self.seed, keys[part], self._fixed)
            out[part] = TRIGGERS[self.name](images[part], draws, **self.options)
        return out

    def state(self) -> dict[str, Tensor]:
        """What is fixed for the run (pattern, noise, grid), by name; empty before the first use."""
        return dict(self._fixed)
