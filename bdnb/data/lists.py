"""Which rows of a web list are trained on and which clean the model: by seed and URL, no URL twice.

In: a .tsv of CC3M (caption, url) or CC12M (url, caption), with or without a header. Out: a list a
split (.jsonl), in the seed's order.
"""

import json
from array import array
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import replacing

SAMPLE = 100
"""Rows that tell which column is the URL."""


class Row(NamedTuple):
    """A pair of a list, and at which byte its line begins."""

    url: str
    caption: str
    start: int


def columns(path: Path) -> tuple[int, bool]:
    """Which column of a list is the URL, and whether a header says so. Errors: ConfigError."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such list; expected a .tsv of url and caption")
    with path.open("rb") as file:
        rows = [_fields(line) for _, line in zip(range(SAMPLE), file, strict=False)]
    head = [name.strip().lower() for name in rows[0]] if rows else []
    if sorted(head) == ["caption", "url"]:
        return head.index("url"), True
    shares = [sum(_is_url(row[i]) for row in rows if len(row) == 2) for i in (0, 1)]
    if max(shares) == 0 or min(shares) > 0.5 * max(shares):
        raise ConfigError(
            f"{path}: cannot tell which column is the URL: expected two columns with a tab "
            "between, url and caption (CC12M) or caption and url (CC3M)"
        )
    return int(np.argmax(shares)), False


def _fields(line: bytes) -> list[str]:
    return line.decode("utf-8", "replace").rstrip("\r\n").split("\t")


def _is_url(text: str) -> bool:
    return text.strip().startswith(("http://", "https://"))


def rows(path: Path) -> Iterator[Row | None]:
    """The pairs of a list in its order; None for a line that is none. Errors: ConfigError."""
    place, header = columns(path)
    with path.open("rb") as file:
        start = 0
        for number, line in enumerate(file):
            if not (header and number == 0):
                yield _row(line, place, start)
            start += len(line)


def _row(line: bytes, place: int, start: int) -> Row | None:
    found = _fields(line)
    if len(found) != 2 or not _is_url(found[place]) or not found[1 - place].strip():
        return None
    return Row(found[place].strip(), found[1 - place].strip(), start)


def choose(
    path: Path, folder: Path, *, train: int, clean: int, spare: float, seed: int
) -> dict[str, int]:
    """``train.jsonl`` and ``clean.jsonl`` in ``folder``: rows of a list, no URL in both.

    train, clean: pairs; 0 to train on: all the rest. spare: share of further rows of each.
    The seed's first rows are trained on, its last ones clean, so that neither moves when there
    are more of the other. Takes 16 bytes a row. Returns: counts for the report.
    Errors: ConfigError for a list that cannot be read or is too short, or a value out of range.
    """
    if min(train, clean) < 0 or not 0 <= spare <= 10:
        found = f"pairs={train}, clean={clean}, spare={spare}"
        raise ConfigError(f"{found}: expected numbers of pairs, and a share from 0 to 10")
    starts, malformed, twice = _order(path, seed)
    cleaning = int(clean * (1 + spare))
    training = int(train * (1 + spare)) or max(0, len(starts) - cleaning)
    if training + cleaning > len(starts) or not training:
        raise ConfigError(
            f"{path}: {len(starts)} usable rows; asked for {training} to train on and {cleaning} "
            f"to clean with (pairs={train}, clean={clean}, spare={spare:g})"
        )
    folder.mkdir(parents=True, exist_ok=True)
    parts = {"train": starts[:training], "clean": starts[len(starts) - cleaning :][::-1]}
    for name, chosen in parts.items():
        _write(path, folder / f"{name}.jsonl", chosen)
    total = len(starts) + malformed + twice
    return {"rows": total, "malformed": malformed, "twice": twice}


def _order(path: Path, seed: int) -> tuple[np.ndarray, int, int]:
    """Where the list's pairs begin, in the seed's order; malformed lines; URLs that come again."""
    name = f"{seed}\x1fweb\x1f".encode()
    found, marks, malformed = array("q"), bytearray(), 0
    for row in rows(path):
        if row is None:
            malformed += 1
            continue
        found.append(row.start)
        marks += blake2b(name + row.url.encode(), digest_size=8).digest()
    order, first = np.unique(np.frombuffer(bytes(marks), dtype=">u8"), return_index=True)
    return np.frombuffer(found, dtype=np.int64)[first], malformed, len(found) - len(order)


def _write(path: Path, out: Path, starts: np.ndarray) -> None:
    place, _ = columns(path)
    with path.open("rb") as source, replacing(out) as beside, beside.open("w") as file:
        for start in starts.tolist():
            source.seek(start)
            row = _row(source.readline(), place, start)
            assert row is not None
            line = {"url": row.url, "caption": row.caption}
            file.write(json.dumps(line, ensure_ascii=True) + "\n")
