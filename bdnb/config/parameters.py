"""From YAML files and ``-p`` to a stage's dataclass: converted, checked, the unknown refused.

Values come from YAML files in ``params/<scale>/`` and from papermill's ``-p``; they leave as
dataclasses whose every value has been converted and checked, before any work starts.
"""

import difflib
import json
import types
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, asdict, field, fields
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root

Config = TypeVar("Config")


def option(
    default: Any = MISSING,
    doc: str = "",
    *,
    above: float | None = None,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
    identity: bool | Literal["if set"] = True,
    authors: Any = None,
) -> Any:
    """A field of a stage's dataclass: its meaning, unit and allowed range.

    identity: False when a run's rows do not depend on the value, so that it does not tell one
    run from another; "if set" when only another value than the default does, so that a parameter
    that is added later leaves what is recorded recorded. authors: the value that copies the
    authors' code, taken for ``fidelity="authors"`` unless the value itself is given.
    """
    metadata: dict[str, Any] = {"doc": doc, "above": above, "least": least, "most": most}
    metadata |= {"choices": choices, "identity": identity, "authors": authors}
    if default is not MISSING and isinstance(default, dict | list):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def read(path: Path) -> dict[str, Any]:
    """The values of a YAML file (safe loader). Errors: ConfigError for what cannot be read."""
    if not path.is_file():
        near = sorted(p.stem for p in path.parent.glob("*.yaml"))
        raise ConfigError(f"{path}: no such file; {path.parent} has {', '.join(near) or 'none'}")
    try:
        values = _parse(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML that can be read: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected lines of `name: value`, found {type(values).__name__}")
    return deepcopy(values)


@lru_cache(maxsize=1024)
def _parse(text: str) -> Any:
    """Planning asks for the same few files thousands of times."""
    return yaml.safe_load(text)


def scale_folder(scale: str) -> Path:
    """``params/<scale>``. Errors: ConfigError that lists the scales there are."""
    folder = root() / "params"
    if not scale or not (folder / scale).is_dir():
        known = ", ".join(sorted({p.parent.name for p in folder.glob("*/*.yaml")}))
        raise ConfigError(f"scale={scale!r}: no such folder in params/; there is {known}")
    return folder / scale


def load(scale: str, experiment: str) -> dict[str, Any]:
    """The values of ``params/<scale>/<experiment>.yaml``, its names filled in.

    ``base: NAME`` takes over the values of another file of the folder, save those given here.
    Errors: ConfigError for a file that cannot be read, or is its own base.
    """
    path = scale_folder(scale) / f"{experiment}.yaml"
    values = {"scale": scale, "experiment": experiment} | read(path)
    if (values["scale"], values["experiment"]) != (scale, experiment):
        raise ConfigError(f"{path}: says scale and experiment of another file")
    if (base := values.pop("base", None)) is None:
        return values
    if not isinstance(base, str) or base == experiment or "base" in read(path.with_stem(base)):
        raise ConfigError(f"{path}: base={base!r}: expected another file, itself without a base")
    return override(load(scale, base), values)


def override(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values with some of them given anew, in each of their ``grids``, too."""
    made = dict(values) | dict(given)
    if "grids" in values and "grids" not in given:
        kept = [{k: v for k, v in grid.items() if k not in given} for grid in values["grids"]]
        made["grids"] = [grid for i, grid in enumerate(kept) if grid not in kept[:i]]
    return made


def make(cls: type[Config], values: Mapping[str, Any], *, where: str) -> Config:
    """A stage's dataclass from plain values, each converted and checked.

    where: file or notebook that the values come from, for the message.
    Errors: ConfigError for an unknown name, a value of another type or out of its range.
    """
    known = {f.name: f for f in fields(cls)}  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: {name!r} is not a parameter{_suggest(name, known)}")
    theirs = {n: f.metadata["authors"] for n, f in known.items() if f.metadata.get("authors")}
    given = (theirs if values.get("fidelity") == "authors" else {}) | dict(values)
    return cls(**{name: convert(known[name], value, where) for name, value in given.items()})


def _suggest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    near = near or [k for k in known if k[0] == name[0] and _initials(name) == k]
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return f"{hint}. It takes: {', '.join(sorted(known))}"


def _initials(name: str) -> str:
    return "".join(word[0] for word in name.split("_") if word)


def convert(spec: "Field[Any]", value: Any, where: str) -> Any:
    """One value as its field's type, within its range. Errors: ConfigError."""
    place, kind = f"{where}: {spec.name}={value!r}", spec.type
    if kind in (int, float):
        value = _number(value, kind, place)
    elif kind is bool and not isinstance(value, bool):
        raise ConfigError(f"{place}: expected true or false")
    elif kind is str and not isinstance(value, str):
        raise ConfigError(f"{place}: expected a word")
    elif get_origin(kind) is dict and not isinstance(value, dict):
        raise ConfigError(f"{place}: expected `name: value` pairs")
    elif get_origin(kind) is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise ConfigError(f"{place}: expected a list")
        value = tuple(value)
    check(spec, value, place)
    return value


def _number(value: Any, kind: type, place: str) -> float | int:
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")
    except (TypeError, ValueError):
        number = float("nan")
    if number != number or abs(number) == float("inf"):
        raise ConfigError(f"{place}: expected a number")
    if kind is int and number != int(number):
        raise ConfigError(f"{place}: expected a whole number")
    return int(number) if kind is int else number


def check(spec: "Field[Any]", value: Any, place: str) -> None:
    """The range or the choices of a field. Errors: ConfigError."""
    rule = spec.metadata
    if rule.get("choices") and value not in rule["choices"]:
        raise ConfigError(f"{place}: expected one of {', '.join(rule['choices'])}")
    if rule.get("above") is not None and not value > rule["above"]:
        raise ConfigError(f"{place}: expected a number above {rule['above']:g}")
    if rule.get("least") is not None and not value >= rule["least"]:
        raise ConfigError(f"{place}: expected a number of at least {rule['least']:g}")
    if rule.get("most") is not None and not value <= rule["most"]:
        raise ConfigError(f"{place}: expected a number of at most {rule['most']:g}")


def takes_list(spec: "Field[Any]") -> bool:
    """Whether a list is one value of the field, rather than the points of a grid over it."""
    return get_origin(spec.type) is tuple or list in get_args(spec.type)


PLAIN = (str, int, float, bool, list, tuple, dict, types.NoneType)
IPYTHON = {"In", "Out", "exit", "quit", "get_ipython", "open"}


def from_notebook(namespace: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters in a notebook's ``globals()``: plain values, those left at None not counted.

    papermill only warns of a parameter that the notebook does not have; collecting every plain
    name here lets ``make`` refuse it.
    """
    names = (n for n in namespace if not n.startswith("_") and n not in IPYTHON)
    found = {n: namespace[n] for n in names if isinstance(namespace[n], PLAIN)}
    return {n: v for n, v in found.items() if v is not None}


def digest(values: Mapping[str, Any]) -> str:
    """Ten hexadecimal digits that tell these values from others."""
    text = json.dumps(values, sort_keys=True, default=str)
    return blake2b(text.encode(), digest_size=5).hexdigest()


def identity(config: Any) -> dict[str, Any]:
    """The values of a stage's dataclass that its rows depend on."""
    values, empty = asdict(config), type(config)()
    kept = {f.name: f.metadata.get("identity", True) for f in fields(config)}
    return {
        name: values[name]
        for name, how in kept.items()
        if (values[name] != getattr(empty, name) if how == "if set" else how)
    }


def part(cls: type[Config], config: Any) -> Config:
    """Return a part of a stage's parameters: a dataclass whose fields are some of the stage's.

    A field that the stage does not have keeps its default.
    """
    names = [f.name for f in fields(cls) if hasattr(config, f.name)]  # type: ignore[arg-type]
    return cls(**{name: getattr(config, name) for name in names})


def describe(cls: type) -> dict[str, str]:
    """Each parameter's meaning, for tables in notebooks and pages."""
    return {f.name: f.metadata.get("doc", "") for f in fields(cls)}
