"""Rows that the book ships with: run folders in, small files under ``book/results/`` out.

``python -m bdnb.runs.shipped pack laptop`` writes ``book/results/laptop/``, a line a run: its
manifest and its rows, no weights. ``unpack`` makes run folders of them, which notebooks
read as any others.
"""

import argparse
import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import experiments, results
from bdnb.runs.cleaning_runs import cleaned, screened
from bdnb.runs.records import Run
from bdnb.runtime import plugins
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic
from bdnb.runtime.project import root

LARGEST = 900_000
"""Bytes of a file, at most."""

TEST_IMAGES = {"laptop": 1500, "search": 1000, "authors": 1000}
"""Images that rows were measured on which do not say it themselves."""

PRIVATE = ("command", "resumed", "checksum")
"""What a manifest says of the machine that a run was made on, and a checksum with that."""


def shipped_name(config: experiments.Stage) -> str:
    """The name that a run's rows are shipped under: by its parameters, wherever they are read.

    It leaves out what ``identity`` takes from the machine and its files (precision, data, weights)
    and is the name of a run's folder as it was before these counted, which the rows shipped then
    have.
    """
    values = parameters.identity(config)
    if config.code:
        values["code"] = plugins.digest(config.code)
    if used := experiments.sources(config):
        both = [
            used[0],
            *(experiments.like(used[0]) if isinstance(config, CleanConfig) else ()),
            *used[1:],
        ]
        values["from"] = [shipped_name(source) for source in both]
        values = {k: v for k, v in values.items() if k not in ("poisoned", "init")}
        values |= {"keep": used[0].keep} if isinstance(config, CleanConfig) else {}
    if others := screened(config):
        values["screened"] = [shipped_name(other) for other in others]
    if others := cleaned(config):
        values["cleaned_run"] = [shipped_name(other) for other in others]
    return f"{experiments.label(config)}-{parameters.digest(values)}"


def folder(scale: str) -> Path:
    """Where a scale's shipped rows lie."""
    return root() / "book" / "results" / scale


def scales() -> list[str]:
    """The scales of which rows are shipped, and whose parameter files are there."""
    there = [path.name for path in folder("").glob("*") if any(path.glob("*.jsonl"))]
    return sorted(name for name in there if (root() / "params" / name).is_dir())


def read(scale: str) -> dict[str, dict[str, Any]]:
    """A scale's shipped runs: ``shipped_name`` -> ``{"manifest": ..., "rows": [...]}``.

    Errors: ConfigError.
    """
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder(scale).glob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                one = json.loads(line)
                found[_name(one)] = one
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise ConfigError(
                    f"{path}, line {number}: not a shipped run ({error!r}): restore that file, or "
                    f"take the line out, then `python -m bdnb.runs.shipped pack {scale}`"
                ) from error
    return found


def whole(scale: str) -> list[str]:
    """The experiments of a scale all of whose runs are shipped."""
    there, runs = set(read(scale)), experiments.of_scale(scale)
    return [name for name, own in runs.items() if {*map(shipped_name, own)} <= there]


def unpack(scale: str, out: Path) -> list[Path]:
    """Run folders under ``out`` of a scale's shipped runs: manifest, rows and flag, no weights.

    They have the names that ``experiments.folder`` gives them here, so that pages find them.
    Errors: ConfigError, before anything is written, for a run that is recorded there otherwise.
    """
    texts: dict[Path, str] = {}
    made, found = [], read(scale)
    for config in experiments.runs_of(scale):
        one = found.pop(shipped_name(config), None)
        if one is None:
            continue
        made.append(out / experiments.folder(config).name)
        known = {"test_images": TEST_IMAGES[scale]} if scale in TEST_IMAGES else {}
        rows = [row if known.keys() <= row.keys() else known | row for row in one["rows"]]
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        texts[made[-1] / "rows.jsonl"] = "".join(lines)
        texts[made[-1] / "manifest.json"] = json.dumps(one["manifest"], indent=2) + "\n"
    for path, text in texts.items():
        if path.is_file() and path.read_bytes() != text.encode():
            raise ConfigError(
                f"{path.parent}: recorded there already, with other rows than the shipped ones; it "
                "was left as it is: unpack into another folder"
            )
    for path, text in texts.items():
        write_atomic(path, text)
    for path in made:
        Run(path).settle()
    return made


def rows_anywhere(scale: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return rows of training and of cleaning runs, with a column ``source``: here or shipped.

    A run that is recorded here, whole or in part, is read from here.
    """
    asked = experiments.runs_of(scale)
    here, missing = list[experiments.Stage](), list[experiments.Stage]()
    for config, own in zip(asked, experiments.folders(asked), strict=True):
        (here if (own / "manifest.json").is_file() else missing).append(config)
    with TemporaryDirectory() as folder:
        if missing:
            unpack(scale, Path(folder))
        frames = []
        for stage in (TrainConfig, CleanConfig):
            mine = results.rows([c for c in here if isinstance(c, stage)]).assign(source="here")
            others = results.rows([c for c in missing if isinstance(c, stage)], under=Path(folder))
            both = [part for part in (mine, others.assign(source="shipped")) if len(part)]
            frames.append(pd.concat(both, ignore_index=True) if both else pd.DataFrame())
    return frames[0], frames[1]


def pack(scale: str) -> list[Path]:
    """Write the finished runs of a scale as files to ship, in place of those there were.

    Runs that are shipped already but not recorded here stay, as long as an experiment asks for
    them. A run that several experiments ask for is written once. A file of another name than an
    experiment's goes only when all of its runs are in the others. Errors: ConfigError when there is
    nothing to ship.
    """
    old, written = read(scale), set[str]()
    parts: dict[str, str] = {}
    known = experiments.of_scale(scale, whole=True)
    for name, requested in known.items():
        lines = []
        for config in requested:
            shipped_as = shipped_name(config)
            one = _recorded(Run(experiments.folder(config))) or old.get(shipped_as)
            if one and shipped_as not in written:
                written.add(shipped_as)
                lines.append(json.dumps(one | {"asked": shipped_as}, ensure_ascii=False) + "\n")
        parts |= {f"{name}{suffix}.jsonl": text for suffix, text in _split(lines)}
    if not written:
        raise ConfigError(f"{scale}: no finished run to ship; `make book SCALE={scale}` makes them")
    for name, text in parts.items():
        write_atomic(folder(scale) / name, text)
    for path in folder(scale).glob("*.jsonl"):
        if path.name not in parts and _may_go(path, known, written):
            path.unlink()
    return [folder(scale) / name for name in parts]


def _may_go(path: Path, known: Collection[str], written: Collection[str]) -> bool:
    """Whether a file that is not written anew was written by ``pack``, or holds nothing further."""
    if re.sub(r"-[0-9]+$", "", path.stem) in known:
        return True
    return all(_name(json.loads(line)) in written for line in path.read_bytes().splitlines())


def _name(one: dict[str, Any]) -> str:
    """The name that a run is shipped under; of those shipped before, its folder's."""
    return str(one.get("asked") or one["manifest"]["run"])


def _recorded(run: Run) -> dict[str, Any] | None:
    if not run.finished:
        return None
    manifest = {key: value for key, value in run.manifest.items() if key not in PRIVATE}
    return {"manifest": manifest, "rows": run.rows()}


def _split(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Lines as one text, or as several of at most ``LARGEST`` bytes with a suffix each."""
    texts = [""]
    for line in lines:
        if texts[-1] and len((texts[-1] + line).encode()) > LARGEST:
            texts.append("")
        texts[-1] += line
    for number, text in enumerate(texts if lines else [], 1):
        yield ("" if number == 1 else f"-{number}"), text


def main() -> None:
    """``python -m bdnb.runs.shipped pack SCALE`` or ``unpack SCALE FOLDER``."""
    parser = argparse.ArgumentParser(prog="python -m bdnb.runs.shipped", description=__doc__)
    parser.add_argument("what", choices=("pack", "unpack"))
    parser.add_argument("scale", help="folder of params/")
    parser.add_argument("out", nargs="?", type=Path, help="for unpack: folder of run folders")
    given = parser.parse_args()
    with command():
        if given.what == "pack":
            before, made, now = read(given.scale), pack(given.scale), read(given.scale)
            kept = before.keys() & now.keys()
            others = [name for name in kept if before[name]["rows"] != now[name]["rows"]]
            print(f"{len(now)} runs in {len(made)} files under book/results/{given.scale}")
            print(
                f"of {len(before)} shipped before, {len(others)} have other rows, those recorded "
                f"here; {len(before) - len(kept)} are gone, which no experiment asks for"
            )
        elif given.out is None:
            parser.error("unpack needs a folder to write to")
        else:
            print(f"{len(unpack(given.scale, given.out))} runs under {os.fspath(given.out)}")


if __name__ == "__main__":
    main()
