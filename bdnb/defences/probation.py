"""A defence's candidates, held to what a defence promises: models after each epoch, in order."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from torch import nn

from bdnb.config.options import check_options, source
from bdnb.data.batches import Batches
from bdnb.defences.registry import Setting, check
from bdnb.models import Model
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch


def candidates(
    name: str,
    model: Model,
    pairs: Batches,
    setting: Setting,
    options: Mapping[str, Any],
    *,
    taken: Callable[[], Collection[str]],
) -> Iterator[Epoch]:
    """Yield the candidate models of a defence.

    taken: names that no other value of a row can have, asked for once the run has begun. Errors:
    ConfigError as ``check`` and, with file and line, for a defence that fails, yields nothing, or
    what ``wrong`` says.
    """
    function = check(name, options, code=setting.code)
    checked = check_options(function, options, what=f"defence {name!r}")
    if function.__module__.startswith("bdnb."):
        yield from function(model, pairs, setting, **checked)
        return
    place, last = f"{source(function)}: defence {name!r}", 0
    with plugins.calling(place):
        made = function(model, pairs, setting, **checked)
    if not isinstance(made, Iterator):
        kind = type(made).__name__
        raise ConfigError(f"{place} returned {kind}: expected a function that yields Epoch(...)")
    names = taken()
    while True:
        with plugins.calling(place):
            epoch = next(made, None)
        if epoch is None:
            break
        if what := wrong(epoch, last, names):
            raise ConfigError(
                f"{place} yielded {what}: expected Epoch(number, model, stats), numbers from 1 up"
            )
        last = epoch.number
        yield epoch
    if not last:
        raise ConfigError(f"{place} yielded nothing: expected an Epoch after each epoch")


def wrong(epoch: object, last: int, taken: Collection[str]) -> str:
    """Return what is wrong with a candidate after that of the number ``last``; "" for nothing."""
    if not isinstance(epoch, Epoch):
        return type(epoch).__name__ if isinstance(epoch, nn.Module) else f"{epoch!r:.80}"
    if not isinstance(epoch.number, int) or epoch.number <= last:
        return f"number {epoch.number!r:.80}" + f" after {last}" * (last > 0)
    if not isinstance(epoch.model, Model):
        return f"a {type(epoch.model).__name__} as the model"
    if not isinstance(epoch.stats, dict) or not all(isinstance(k, str) for k in epoch.stats):
        return f"stats {epoch.stats!r:.80}"
    if both := [f"{k}={v!r:.80}" for k, v in epoch.stats.items() if k in taken]:
        return f"stats {', '.join(both)} (names of parameters or of what is measured)"
    bad = [f"{k}={v!r:.80}" for k, v in epoch.stats.items() if not isinstance(v, int | float)]
    return f"stats {', '.join(bad)} (no plain numbers)" if bad else ""
