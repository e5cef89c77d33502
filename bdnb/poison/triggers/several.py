"""Several triggers with one target: which an image gets is drawn, or it gets all of them."""

import inspect
from typing import Literal

import torch
from torch import Tensor

from bdnb.config.options import Size
from bdnb.poison.stamps import TRIGGERS, Draws, check_options, trigger
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator


@trigger("several")
def several(
    images: Tensor,
    draws: Draws,
    *,
    names: str = "badnet+blended+sig",
    how: Literal["one", "all"] = "one",
    size: Size = 16 / 224,
) -> Tensor:
    """Put one of the named triggers on each image, or all of them, one after another.

    names: joined by "+", with their other options at their defaults. how: ``one``, drawn from the
    image's key, or ``all``. size: of those that are patches.
    Errors: ConfigError for a name that is unknown, or ``several`` itself.
    """
    listed = names.split("+")
    if "several" in listed:
        raise ConfigError(f"trigger 'several': names={names!r}: expected other triggers")
    for name in listed:
        check_options(name, {})
    if how == "all":
        for name in listed:
            images = _put(name, images, draws, size)
        return images
    # A stream of its own, beside the trigger's.
    streams = [generator(draws.seed, "which trigger", key) for key in draws.keys]
    chosen = torch.tensor([int(stream.integers(len(listed))) for stream in streams])
    out = images.clone()
    for number, name in enumerate(listed):
        if len(index := (chosen == number).nonzero().flatten()):
            own = Draws(draws.seed, [draws.keys[int(i)] for i in index], draws.fixed)
            place = index.to(images.device)
            out[place] = _put(name, images[place], own, size)
    return out


def _put(name: str, images: Tensor, draws: Draws, size: float) -> Tensor:
    function = TRIGGERS[name]
    takes = inspect.signature(function).parameters
    return function(images, draws, **({"size": size} if "size" in takes else {}))
