"""Cleaning runs that another cleaning run is made from: screened ones, and a cleaned model's."""

from functools import lru_cache
from typing import Any

from bdnb.config import grids, parameters
from bdnb.config.recipes import CleanConfig
from bdnb.runtime.errors import ConfigError


def screened(config: Any) -> list[CleanConfig]:
    """The runs among which ``pick`` finds its options: those of the same file that pick nothing."""
    if not isinstance(config, CleanConfig) or not config.pick:
        return []
    files, named = parameters.stamp(config.scale), (config.scale, config.experiment)
    found = _screened(files, *named, seed=config.seed, poisoned=config.poisoned)
    if not found:
        where = "params/{}/{}.yaml".format(*named)
        raise ConfigError(f"{where}: pick={config.pick:g}: none of its grids is without pick")
    return list(found)


@lru_cache(maxsize=256)
def _screened(_files: object, scale: str, experiment: str, **same: Any) -> tuple[CleanConfig, ...]:
    """Made anew only when a parameter file of the scale has changed; none: no grid without pick."""
    values = parameters.load(scale, experiment)
    axes = [g | same for g in values.get("grids", []) if not g.get("pick", values.get("pick"))]
    where = f"params/{scale}/{experiment}.yaml"
    wanted = values | same | {"grids": axes}
    return tuple(grids.expand(CleanConfig, wanted, where=where)) if axes else ()


def cleaned(config: Any) -> list[CleanConfig]:
    """The run whose last model this one starts from (``cleaned``): same poisoned model and seed.

    Errors: ConfigError where the values given leave no run of its experiment, or several.
    """
    if not isinstance(config, CleanConfig) or not config.cleaned:
        return []
    wanted = dict(config.cleaned) | {"seed": config.seed, "poisoned": config.poisoned}
    name = str(wanted.pop("experiment", ""))
    runs: list[CleanConfig] = grids.of_file(CleanConfig, config.scale, name)
    found = [run for run in runs if all(getattr(run, k, None) == v for k, v in wanted.items())]
    if len(found) != 1 or found[0].cleaned:
        told = ", ".join(f"{k}={v!r}" for k, v in wanted.items())
        where = f"params/{config.scale}/{name}.yaml"
        raise ConfigError(f"cleaned: {len(found)} runs of {where} have {told}: expected one")
    return found
