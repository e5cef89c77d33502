"""From YAML files and ``-p`` to a stage's dataclass: converted, checked, the unknown refused.

Values come from YAML files in ``params/<scale>/`` and from papermill's ``-p``; they leave as
dataclasses whose every value has been converted and checked, before any work starts.
"""

import json
import os
import re
import types
from collections.abc import Mapping
from dataclasses import Field, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from bdnb.config import options, yaml_files
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.project import root

Config = TypeVar("Config")
IF_SET, NEVER = "if set", "never"


def option(default: Any, doc: str, counts: str = "always", *, authors: Any = None) -> Any:
    """A field of a stage's dataclass; its type says which values are allowed. doc: its meaning.

    counts: whether the value tells one run from another; IF_SET: only another one than the default,
    so that a parameter that is added later leaves what is recorded recorded; NEVER: a run's rows do
    not depend on it. authors: the value that copies the authors' code, taken for
    ``fidelity="authors"`` unless the value itself is given.
    """
    metadata = {"doc": doc, "counts": counts, "authors": authors}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def checked_name(name: object, place: str) -> str:
    """A name of a scale, an experiment or a data set: never a path. Errors: ConfigError."""
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w.+-]*", name):
        raise ConfigError(f"{place}: expected a name, not a path: letters, digits, _ and -")
    return name


def scales() -> list[str]:
    """The folders of params/ that have experiments; one with data.yaml alone is a data set."""
    found = (root() / "params").glob("*/*.yaml")
    return sorted({path.parent.name for path in found if path.stem != "data"})


def scale_folder(scale: str) -> Path:
    """``params/<scale>``. Errors: ConfigError that lists the scales there are."""
    folder = root() / "params" / checked_name(scale, f"scale={scale!r}")
    if not folder.is_dir():
        raise ConfigError(
            f"scale={scale!r}: no such folder in params/; there is {', '.join(scales()) or 'none'}"
            f"{f' ({folder.parent} itself is not there)' * (not folder.parent.is_dir())}"
        )
    return folder


def stamp(scale: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time and size of a scale's parameter files: the same as long as none has changed."""
    with os.scandir(scale_folder(scale)) as found:
        about = [(entry.path, entry.stat()) for entry in found if entry.name.endswith(".yaml")]
    return tuple(sorted((path, one.st_mtime_ns, one.st_size) for path, one in about))


def load(scale: str, experiment: str) -> dict[str, Any]:
    """The values of ``params/<scale>/<experiment>.yaml``, its names filled in.

    ``base: NAME`` takes over the values of another file of the folder, save those given here.
    Errors: ConfigError for a file that cannot be read, or is its own base.
    """
    checked_name(experiment, f"experiment={experiment!r}")
    path = scale_folder(scale) / f"{experiment}.yaml"
    values = {"scale": scale, "experiment": experiment} | yaml_files.read(path)
    if (values["scale"], values["experiment"]) != (scale, experiment):
        raise ConfigError(f"{path}: says scale and experiment of another file")
    if (base := values.pop("base", None)) is None:
        return values
    checked_name(base, f"{path}: base={base!r}")
    if base == experiment or "base" in yaml_files.read(path.with_name(f"{base}.yaml")):
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
    short = [k for k in known if "".join(word[:1] for word in name.split("_")) == k]
    hint = options.nearest(short[0] if short else name, known)
    return f"{hint}. It takes: {', '.join(sorted(known))}"


def convert(spec: "Field[Any]", value: Any, where: str) -> Any:
    """One value as its field's type, within its range. Errors: ConfigError."""
    hint = isinstance(value, str) and value[:1] in ("[", "{")
    more = " (papermill: a list or a mapping by -y, not -p)" * hint
    return options.checked(spec.type, value, f"{where}: {spec.name}={value!r}{more}")


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
    values, empty = {f.name: getattr(config, f.name) for f in fields(config)}, type(config)()
    counts = {f.name: f.metadata.get("counts") for f in fields(config)}
    kept = {k: v for k, v in values.items() if counts[k] != NEVER}
    return {k: v for k, v in kept.items() if counts[k] != IF_SET or v != getattr(empty, k)}


def part(cls: type[Config], config: Any) -> Config:
    """Return a part of a stage's parameters: a dataclass whose fields are some of the stage's.

    A field that the stage does not have keeps its default.
    """
    names = [f.name for f in fields(cls) if hasattr(config, f.name)]  # type: ignore[arg-type]
    return cls(**{name: getattr(config, name) for name in names})


def describe(cls: type) -> dict[str, str]:
    """Each parameter's meaning, for tables in notebooks and pages."""
    return {f.name: f.metadata.get("doc", "") for f in fields(cls)}
