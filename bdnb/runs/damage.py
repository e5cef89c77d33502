"""A run's two files as they are read: what is damaged in them is named, with its file and line."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from bdnb.runtime.errors import ConfigError


class RecordError(ConfigError):
    """A run's record that is damaged: says which file and line, and how to make it again."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(
            f"{path}{what}: restore that file, or remove {path.parent.name}/ and give the "
            "command that made it again"
        )


def manifest(path: Path) -> dict[str, Any]:
    """Return what a manifest says; ``{}`` where there is none. Errors: RecordError."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError as error:
        raise RecordError(path, f": damaged ({error})") from error
    if not isinstance(found, dict) or not {"run", "stage", "config"} <= set(found):
        raise RecordError(path, ": damaged (it says no run, stage and config)")
    if found.get("checksum") not in (None, checksum(found)):
        raise RecordError(path, ": damaged or edited (its checksum is that of other values)")
    return found


def checksum(manifest: Mapping[str, Any]) -> str:
    """Return a digest of all that a manifest says but the checksum in it; an older one has none."""
    said = {name: value for name, value in manifest.items() if name != "checksum"}
    text = json.dumps(json.loads(json.dumps(said)), sort_keys=True)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows in order; a torn last line is left out. Errors: RecordError."""
    found = []
    for number, line in enumerate(whole_lines(path).splitlines(), 1):
        try:
            found.append(json.loads(line))
            if not isinstance(found[-1], dict):
                raise ValueError("it is no row")
        except ValueError as error:
            raise RecordError(path, f", line {number}: damaged ({error})") from error
    return found


def whole_lines(path: Path) -> bytes:
    """Return the lines that were written to their end."""
    whole, newline, _ = (path.read_bytes() if path.is_file() else b"").rpartition(b"\n")
    return whole + newline


def about(lines: bytes) -> dict[str, Any]:
    """Return what a finished run's manifest says of its rows: how many, and their checksum."""
    return {"count": lines.count(b"\n"), "blake2b": blake2b(lines, digest_size=16).hexdigest()}


def check(path: Path, manifest: Mapping[str, Any]) -> None:
    """Hold rows against what a finished run's manifest says; another, or an older one says nothing.

    Errors: RecordError.
    """
    said, found = manifest.get("rows"), about(whole_lines(path))
    if said and said != found:
        what = f"{found['count']} rows, where {said['count']} were recorded"
        if said["count"] == found["count"]:
            what = "other rows than were recorded"
        raise RecordError(path, f": {what}")
