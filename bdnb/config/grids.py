"""Grids of parameters: a mapping with lists in, a stage's dataclass for every point out."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from itertools import product
from typing import Any

from bdnb.config import parameters
from bdnb.runtime.errors import ConfigError


def expand(cls: type, values: Mapping[str, Any], *, where: str) -> list[Any]:
    """A stage's dataclasses for every point of a grid: each list is an axis.

    A list inside a mapping is an axis, too: ``options: {shrink: [0.5, 0.9]}`` has two points
    (``{shrink: [[1, 2]]}`` has one, whose value is a list). ``grids`` is a list of mappings, each
    a grid of its own with the other values as its defaults; the runs are those of all of them.
    Every point is checked before any is returned. Errors: ConfigError.
    """
    grids = values.get("grids", [{}])
    if not isinstance(grids, list) or not grids or any(not isinstance(g, dict) for g in grids):
        raise ConfigError(f"{where}: grids={grids!r}: expected a list of `name: value` pairs")
    rest = {k: v for k, v in values.items() if k != "grids"}
    points = [point for grid in grids for point in _points(rest | grid, where)]
    made: list[Any] = [parameters.make(cls, point, where=where) for point in points]
    return list({parameters.digest(asdict(c)): c for c in made}.values())


def of_file(cls: type, scale: str, experiment: str) -> list[Any]:
    """The dataclasses that a parameter file asks for, as ``expand``. Errors: ConfigError."""
    return list(_of_file(parameters.stamp(scale), cls, scale, experiment))


@lru_cache(maxsize=1024)
def _of_file(_files: object, cls: type, scale: str, experiment: str) -> tuple[Any, ...]:
    """Made anew only when a parameter file of the scale has changed."""
    values = parameters.load(scale, experiment)
    return tuple(expand(cls, values, where=f"params/{scale}/{experiment}.yaml"))


def _points(grid: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """The points of one grid."""
    axes: list[list[Any]] = []
    for name, value in grid.items():
        axis = list(value) if isinstance(value, list | tuple) else [value]
        if not axis:
            raise ConfigError(f"{where}: {name} is an empty list: expected at least one value")
        if twice := [v for i, v in enumerate(axis) if v in axis[:i]]:
            raise ConfigError(f"{where}: {name}={value!r}: {twice[0]!r} is there twice")
        inner = [_points(v, where) if isinstance(v, dict) else [v] for v in axis]
        axes.append([point for points in inner for point in points])
    return [dict(zip(grid, point, strict=True)) for point in product(*axes)]
