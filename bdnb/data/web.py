"""CC3M and CC12M from their lists: a subset by seed, downloaded by img2dataset into shards.

In: a list (.tsv of url and caption). Out: ``train/`` and, of other URLs, ``clean/``, as shards,
and a report of what was dead or broken. ``python -m bdnb.data.web --help``.
"""

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le
from PIL import Image

from bdnb.config import parameters
from bdnb.config.options import Count, Number
from bdnb.config.parameters import option
from bdnb.data import lists
from bdnb.data.bad_samples import LONGEST
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import replacing, write_atomic

REQUIREMENT = "img2dataset==1.47.*"
"""It wants pandas below 3 and webdataset below 0.3, so it lives in a venv of its own."""

DIGITS = {"train": 5, "clean": 6}
"""Digits of a shard's number. Keys begin with it: no key of one split is one of the other."""


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """What is fetched of a list, and how; ``parameters.make`` checks the values."""

    pairs: Number = option(0, "to train on; 0: all that are left")
    clean: Number = option(200_000, "to clean with, of other URLs")
    spare: Annotated[float, Ge(0), Le(10)] = option(0.0, "share of further rows, for dead ones")
    seed: Number = option(0, "that chooses the rows")
    size: Count = option(256, "short side in pixels; larger images are made smaller")
    processes: Count = option(16, "that fetch")
    threads: Count = option(64, "of each process")
    timeout: Count = option(10, "seconds that an image may take")
    retries: Number = option(0, "of an image that did not come")
    shard_size: Count = option(10_000, "rows of the list a shard")


def home() -> Path:
    """Return the venv that img2dataset lives in, inside this Python's own."""
    return Path(sys.prefix) / "img2dataset"


def tool() -> Path:
    """Return the command ``img2dataset``, installed when it is not there.

    Errors: ConfigError when it cannot be installed.
    """
    found = home() / "bin" / "img2dataset"
    if found.is_file():
        return found
    print(f"installing {REQUIREMENT} into {home()} (once, about 1 GB)", flush=True)
    steps = [
        [sys.executable, "-m", "venv", str(home())],
        [str(home() / "bin" / "python"), "-m", "pip", "install", "-q", REQUIREMENT],
    ]
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise ConfigError(f"{REQUIREMENT} could not be installed: {' '.join(said)}")
    return found


def download(source: Path, folder: Path, fetch: Fetch, *, digits: int = 5) -> dict[str, Any]:
    """Fetch a list of pairs (.jsonl) into shards; shards that are whole already are kept.

    Returns: ``counts`` of the folder. Errors: ConfigError for a shard that was not made.
    """
    command = tool()
    options = {
        "url_list": source,
        "input_format": "jsonl",
        "url_col": "url",
        "caption_col": "caption",
        "output_format": "webdataset",
        "output_folder": folder,
        "image_size": fetch.size,
        "resize_mode": "keep_ratio",
        "resize_only_if_bigger": True,
        "max_image_area": Image.MAX_IMAGE_PIXELS,
        "max_aspect_ratio": LONGEST,
        "extract_exif": False,
        "timeout": fetch.timeout,
        "retries": fetch.retries,
        "processes_count": fetch.processes,
        "thread_count": fetch.threads,
        "number_sample_per_shard": fetch.shard_size,
        "oom_shard_count": digits,
        "incremental_mode": "incremental",
    }
    log = folder.with_name(f".{folder.name}.log")
    folder.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        done = subprocess.run(
            [str(command), *(f"--{name}={value}" for name, value in options.items())],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"},
            check=False,
        )
    rows = sum(1 for _ in source.open("rb"))
    wanted = -(-rows // fetch.shard_size)
    made = len(list(folder.glob("*_stats.json")))
    if done.returncode or made < wanted:
        raise ConfigError(
            f"{folder}: img2dataset made {made} of {wanted} shards (exit status "
            f"{done.returncode}; what it said is in {log}); the same command goes on"
        )
    return counts(folder)


def counts(folder: Path) -> dict[str, Any]:
    """Return what img2dataset's ``_stats.json`` say of a folder of shards, all together.

    Returns: ``requested``, ``good``, ``not_downloaded``, ``not_decoded``, and ``status``:
    message -> number, the commonest first.
    """
    total: Counter[str] = Counter()
    status: Counter[str] = Counter()
    for path in sorted(folder.glob("*_stats.json")):
        names = ("count", "successes", "failed_to_download", "failed_to_resize")
        try:
            found = json.loads(path.read_bytes())
            total.update({name: found[name] for name in names})
            status.update(found["status_dict"])
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path}: damaged: remove it, and the shard is made again") from error
    return {
        "requested": total["count"],
        "good": total["successes"],
        "not_downloaded": total["failed_to_download"],
        "not_decoded": total["failed_to_resize"],
        "status": dict(status.most_common()),
    }


def build(source: Path, out: Path, fetch: Fetch) -> dict[str, Any]:
    """Fetch both splits of a data set into ``out`` and return the report, kept in ``report.json``.

    Called again with the same values, it goes on where it was cut off. Errors: ConfigError, as
    ``lists.choose`` and ``download``.
    """
    kept = ("pairs", "clean", "spare", "seed", "size", "shard_size")
    requested = {"list": source.name} | {name: getattr(fetch, name) for name in kept}
    lists.columns(source)
    _check_same(out / "web.json", requested)
    chosen, counted = lists.choose(
        source, train=fetch.pairs, clean=fetch.clean, spare=fetch.spare, seed=fetch.seed
    )
    write_atomic(out / "web.json", json.dumps(requested, indent=2))
    report: dict[str, Any] = {"requested": requested, "list": counted}
    for split, wanted in (("clean", fetch.clean), ("train", fetch.pairs)):
        if len(chosen[split]):
            path = out / ".lists" / f"{split}.jsonl"
            with replacing(path) as beside:
                chosen[split].to_json(beside, orient="records", lines=True)
            report[split] = download(path, out / split, fetch, digits=DIGITS[split])
            report[split]["wanted"] = wanted
            write_atomic(out / "report.json", json.dumps(report, indent=2, ensure_ascii=False))
    return report


def _check_same(path: Path, requested: Mapping[str, Any]) -> None:
    """Refuse a folder begun with other values, or with pairs that img2dataset would write over.

    path: ``web.json``, the mark of a folder that we fill, written before anything is fetched.
    Errors: ConfigError.
    """
    there = [n for n in ("train", "clean", ".lists", "report.json") if (path.parent / n).exists()]
    if there and not path.is_file():
        raise ConfigError(
            f"{path.parent}: holds {', '.join(there)}, not fetched by bdnb ({path.name} is "
            "missing); it was left as it is: move them, or name another folder with --out"
        )
    then = json.loads(path.read_text("utf-8")) if path.is_file() else requested
    if other := [name for name in requested if requested[name] != then.get(name)]:
        differs = ", ".join(f"{n} is {then.get(n)!r}, asked for {requested[n]!r}" for n in other)
        raise ConfigError(f"{path.parent}: begun with other values ({differs}): use another folder")


def text(report: Mapping[str, Any]) -> str:
    """Return a report in words: each split's good, dead and broken pairs, with the reasons."""
    found = report["list"]
    lines = [
        f"list: {found['rows']} rows; left out: {found['twice']} URLs that come again, "
        f"{found['malformed']} rows without a URL and a caption"
    ]
    for split in ("train", "clean"):
        if (got := report.get(split)) is None:
            continue
        lines.append(f"{split}: {got['good']} good of {got['requested']} asked for")
        failed = {name: n for name, n in got["status"].items() if name != "success"}
        lines += [f"  {n:>9} {name}" for name, n in failed.items()]
        if got["good"] < got["wanted"]:
            lines.append(f"  fewer than the {got['wanted']} wanted: a larger --spare helps")
    return "\n".join(lines)


def main() -> None:
    """``python -m bdnb.data.web --list cc12m.tsv --out data/cc6m --pairs 6000000 ...``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--list", type=Path, required=True, help="cc12m.tsv, Train_GCC-training.tsv"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set")
    for spec in fields(Fetch):
        name, about = spec.name.replace("_", "-"), spec.metadata["doc"]
        parser.add_argument(f"--{name}", default=spec.default, help=f"{about} ({spec.default})")
    given = vars(parser.parse_args())
    with command():
        source, out = given.pop("list"), given.pop("out")
        print(text(build(source, out, parameters.make(Fetch, given, where="data.web"))))


if __name__ == "__main__":
    main()
