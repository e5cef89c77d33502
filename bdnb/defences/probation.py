"""A defence's candidates, held to what a defence promises: models after each epoch, in order."""

from collections.abc import Iterator, Mapping
from typing import Any

from bdnb.config.options import check_options, source
from bdnb.data.batches import Batches
from bdnb.defences.registry import Setting, check
from bdnb.models import Model
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch


def candidates(
    name: str, model: Model, pairs: Batches, setting: Setting, options: Mapping[str, Any]
) -> Iterator[Epoch]:
    """Yield the candidate models of a defence.

    Errors: ConfigError as ``check`` and, with file and line, for a defence that fails, yields
    nothing, or something else than ``Epoch`` of a number from 1 on.
    """
    function = check(name, options)
    checked = check_options(function, options, what=f"defence {name!r}")
    if function.__module__.startswith("bdnb."):
        yield from function(model, pairs, setting, **checked)
        return
    place, empty = f"{source(function)}: defence {name!r}", True
    with plugins.calling(place):
        made = function(model, pairs, setting, **checked)
    if not isinstance(made, Iterator):
        kind = type(made).__name__
        raise ConfigError(f"{place} returned {kind}: expected a function that yields Epoch(...)")
    while True:
        with plugins.calling(place):
            epoch = next(made, None)
        if epoch is None:
            break
        if not isinstance(epoch, Epoch) or not isinstance(epoch.number, int) or epoch.number < 1:
            what = f"number {epoch.number!r}" if isinstance(epoch, Epoch) else repr(epoch)
            raise ConfigError(
                f"{place} yielded {what:.80}: expected Epoch(number, model, stats), numbers from 1"
            )
        empty = False
        yield epoch
    if empty:
        raise ConfigError(f"{place} yielded nothing: expected an Epoch after each epoch")
