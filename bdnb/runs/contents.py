"""What files and data sets hold, in a few digits: a run is another one when they have changed.

Names of files and of data sets in, digests out. Nothing is decoded.
"""

import json
import os
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b, file_digest
from pathlib import Path

from bdnb.config import parameters
from bdnb.config.recipes import SCENES_VERSION
from bdnb.runtime import project

ABOUT_A_FILE = ("scale", "experiment")


def of_files(named: Iterable[str]) -> dict[str, list[str]]:
    """The digests of those names that are files, or folders of runs (their last weights)."""
    found = [path for name in named if name and (path := _file(Path(name)))]
    marks = [_digest(path, path.stat().st_mtime_ns, path.stat().st_size) for path in found]
    return {"file_contents": marks} if marks else {}


def _file(path: Path) -> Path | None:
    weights = sorted((path / "checkpoints").glob("*.safetensors")) if path.is_dir() else []
    return weights[-1] if weights else path if path.is_file() else None


@lru_cache(maxsize=256)
def _digest(path: Path, changed: int, size: int) -> str:
    """Read anew only when the file's time or size is another."""
    with path.open("rb") as file:
        return file_digest(file, lambda: blake2b(digest_size=10)).hexdigest()


def of_data(name: str) -> str:
    """A digest of a data set; "" for one that is neither described nor there.

    Scenes that ``params/<name>/data.yaml`` describes are drawn alike wherever they are drawn, so
    the digest is that of the description, the same before they are there. Of a set from elsewhere
    it is that of its files' names and sizes.
    """
    if (project.root() / "params" / name / "data.yaml").is_file():
        values = parameters.load(name, "data")
        if (elsewhere := values.pop("elsewhere", name)) != name:
            return of_data(elsewhere)
        known = {key: value for key, value in values.items() if key not in ABOUT_A_FILE}
        return parameters.digest(known | {"scenes": SCENES_VERSION})
    folder = project.root() / "data" / name
    changed = tuple(part.stat().st_mtime_ns for part in _parts(folder))
    return _listing(folder, changed) if changed else ""


def _parts(folder: Path) -> list[Path]:
    """The folders of a set that hold its samples, those that are links among them."""
    inside = (Path(path) for path, *_ in os.walk(folder, followlinks=True))
    parts = (path for path in inside if path != folder)
    return sorted(path for path in parts if "prepared" not in path.relative_to(folder).parts)


@lru_cache(maxsize=64)
def _listing(folder: Path, changed: tuple[int, ...]) -> str:
    """Read anew only when a folder's time is another."""
    files = sorted(file for part in _parts(folder) for file in part.iterdir() if file.is_file())
    sizes = [(file.relative_to(folder).as_posix(), file.stat().st_size) for file in files]
    return blake2b(json.dumps(sizes).encode(), digest_size=5).hexdigest()
