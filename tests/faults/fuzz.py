"""Damaged and random inputs without end: parameter files, records of runs, shards of pairs.

``python -m tests.faults.fuzz --seconds 180 --out book/results/faults.json``; without ``--seconds``
until Ctrl-C. Every input is used and right, or refused in at most three lines. Anything else is
printed, as what it was, and the command ends with status 1.
"""

import argparse
import io
import json
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import count, product
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import decode, index, shards
from bdnb.runs import experiments
from bdnb.runs.records import Run, read_runs
from bdnb.runtime.errors import BdnbError

LONGEST = 3
"""Lines of an expected error."""
ROUND = 50
"""Inputs between two looks at the clock."""
KINDS = ("tried", "used", "refused", "crashed", "silent")


class Silent(AssertionError):
    """Something was lost or taken for something else, and nothing was said."""


def outcome(try_it: Callable[[], bool]) -> str:
    """What became of an input: "used", "refused", or "crashed: ..." and "silent: ...".

    try_it: whether it was used, else it was left out with a word. Errors of ours are refusals.
    """
    try:
        return "used" if try_it() else "refused"
    except BdnbError as error:
        lines = "\n".join(error._render_traceback_()).splitlines()
        return "refused" if 0 < len(lines) <= LONGEST else f"crashed: {len(lines)} lines: {error}"
    except Silent as error:
        return f"silent: {error}"
    except Exception as error:
        return f"crashed: {type(error).__name__}: {error}"


# Bytes: some are flipped, cut out, put in, repeated or made zero, also whole blocks of a tar.
EDITS = st.tuples(
    st.sampled_from(["flip", "cut", "insert", "repeat", "end", "zero"]),
    st.floats(0, 1, exclude_max=True),
    st.one_of(st.integers(1, 40), st.sampled_from([512, 1024, 1536, 3072])),
    st.booleans(),
    st.binary(min_size=1, max_size=8),
)


def edited(data: bytes, edit: tuple[str, float, int, bool, bytes]) -> tuple[bytes, int, int]:
    """Bytes after an edit, and from where to where the old ones were touched."""
    how, share, length, aligned, new = edit
    at = int(share * len(data))
    at -= at % 512 if aligned else 0
    stop = min(at + length, len(data))
    if how == "flip":
        stop = at + 1
        return data[:at] + bytes([data[at] ^ 1 << new[0] % 8]) + data[stop:], at, stop
    if how == "cut":
        return data[:at] + data[stop:], at, stop
    if how == "insert":
        return data[:at] + new + data[at:], at, at + 1
    if how == "repeat":
        return data[:stop] + data[at:], at, stop
    if how == "zero":
        return data[:at] + bytes(stop - at) + data[stop:], at, stop
    return data[:at], at, len(data)


STAGES = {"clean": CleanConfig, "train_mmcl": TrainConfig}
NAMES = sorted({f.name for stage in STAGES.values() for f in fields(stage)})
OTHERWISE = ("scale", "experiment", "base", "grids", "fidelity")
"""Names whose values are not a run's own."""
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.integers(),
    st.floats(),
    st.sampled_from(["mmcl", "cleanclip", "1e-3", "0.5", "3", "yes", "tiny", "auto", "last"]),
    st.text(max_size=8),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.one_of(st.text(max_size=4), st.integers()), SCALARS, max_size=2),
    st.lists(st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=2), max_size=2),
)
NUMBERS = st.one_of(st.integers(1, 9), st.floats(1e-6, 1), st.sampled_from(["1e-3", "2", True]))
LIKELY = st.one_of(
    st.tuples(st.sampled_from(["lr", "seed", "epochs", "beta1", "weight_decay"]), NUMBERS),
    st.tuples(st.sampled_from(["lr", "seed", "epochs"]), st.lists(NUMBERS, max_size=3)),
)
ANY = st.tuples(st.one_of(st.sampled_from([*NAMES, "base", "grids"]), st.text(max_size=6)), VALUES)


def lines_of(name: str) -> st.SearchStrategy:
    """Names and values of a file: some that it may have, some defaults, some that are anything."""
    own = [(f.name, f.default) for f in fields(STAGES[name]) if f.name not in OTHERWISE]
    plain = st.sampled_from([(k, v) for k, v in own if isinstance(v, bool | str | int | float)])
    good = plain | LIKELY
    lines = st.one_of(*(st.lists(one, max_size=4) for one in (plain, good, good | ANY, ANY)))
    raw = st.one_of(st.none(), st.none(), st.none(), st.binary(max_size=60))
    edits = st.one_of(st.none(), st.none(), st.none(), EDITS)
    return st.tuples(st.just(name), lines, edits, raw)


PARAMETERS = st.sampled_from(sorted(STAGES)).flatmap(lines_of)


def parameters(home: Path, case: Any) -> str:
    """A parameter file: names and values; perhaps its bytes edited; or any bytes at all."""
    name, lines, edit, raw = case
    text = "".join(yaml.safe_dump({key: value}, allow_unicode=True) for key, value in lines)
    data = text.encode("utf-8", "surrogatepass") if raw is None else raw
    if edit and data:
        data, _, _ = edited(data, edit)
    (home / "params" / "tiny" / f"{name}.yaml").write_bytes(data)

    def try_it() -> bool:
        asked = experiments.of_file("tiny", name)
        if edit or raw is not None:
            lines[:] = list(yaml.safe_load(data).items())
        if len(dict(lines)) < len(lines):
            raise Silent("a name that is there twice")
        if not dict(lines).keys() & {"grids", "base"}:
            _as_given(asked, dict(lines))
        return True

    return outcome(try_it)


def _as_given(asked: list[Any], values: dict[str, Any]) -> None:
    """Each run has the values of one point of the grid. Errors: Silent."""
    points = 1
    for name, value in values.items():
        if name in OTHERWISE or isinstance(value, dict):
            continue
        there = {json.dumps(getattr(one, name), default=str) for one in asked}
        axis = value if isinstance(value, list) else [value]
        points *= len(axis)
        for one, got in product(axis, [sorted(there)]):
            if not any(_same(one, json.loads(text)) for text in got):
                raise Silent(f"{name}={one!r} is taken for {got}")
    if not any(isinstance(v, dict) for v in values.values()) and len(asked) != points:
        raise Silent(f"{len(asked)} runs of {points} points")


def _same(one: Any, got: Any) -> bool:
    if one == got or str(one) == str(got):
        return True
    try:
        return float(one) == float(got)
    except (TypeError, ValueError):
        return False


RECORDS = st.tuples(
    st.sampled_from(["rows.jsonl", "manifest.json"]), st.lists(EDITS, min_size=1, max_size=2)
)


def records(home: Path, case: Any) -> str:
    """A finished run, one of its files edited."""
    name, edits = case
    folder = home / "runs" / "run"
    shutil.rmtree(folder, ignore_errors=True)
    run = Run(folder)
    run.start(stage="train", config={"lr": 0.1, "seed": 3, "data": "tiny"}, device="cpu")
    for epoch in range(3):
        run.append({"epoch": epoch, "accuracy": 10.0 * epoch, "asr": 90.5, "lots": "é"})
    run.finish()
    whole = read_runs([folder])
    path = folder / name
    data = path.read_bytes()
    for edit in edits:
        data = edited(data, edit)[0] if data else data
    path.write_bytes(data)

    def try_it() -> bool:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = read_runs([folder])
        if len(found):
            if not found.equals(whole):
                raise Silent("other rows, and no word")
            return True
        said = [str(one.message) for one in told]
        if not said or not found.attrs["left_out"]:
            raise Silent("a run is left out without a word")
        assert all(len(line.splitlines()) <= LONGEST for line in said), said
        return False

    return outcome(try_it)


SIDE = 8


def shard() -> tuple[bytes, dict[str, tuple[int, int]]]:
    """A shard of six pairs as bytes, and from where to where each lies in it."""
    draws = np.random.default_rng(0)

    def sample(number: int) -> dict[str, Any]:
        file = io.BytesIO()
        pixels = draws.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file, "png")
        return shards.pair(f"{number:06d}", file.getvalue(), f"caption {number}", side=SIDE)

    with tempfile.TemporaryDirectory() as folder:
        shards.write_pair_shard(Path(folder), 0, map(sample, range(6)))
        data = (Path(folder) / "00000.tar").read_bytes()
    starts = [data.index(f"{number:06d}.json".encode()) for number in range(6)]
    stops = [*starts[1:], len(data)]
    return data, {f"{n:06d}": (a, z) for n, (a, z) in enumerate(zip(starts, stops, strict=True))}


WHOLE, PLACES = shard()
STATS = json.dumps({"successes": 6}).encode()


def a_shard(home: Path, edit: Any) -> str:
    """A shard, its bytes edited once; decoded, and read for its index."""
    folder = home / "data" / "fuzz"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data, start, stop = edited(WHOLE, edit)
    tar = folder / "00000.tar"
    tar.write_bytes(data)
    (folder / "00000_stats.json").write_bytes(STATS)
    clean = {key for key, (a, z) in PLACES.items() if stop <= a or start >= z}

    def try_it() -> bool:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = decode.decode([tar], SIDE, folder / "c", field="txt", bad_share=1)
            indexed, left_out = index.scan(tar)
        for keys, bad in (
            (set(found.keys), found.bad),
            ({key.decode() for key in indexed["key"].tolist()}, left_out),
        ):
            lost = PLACES.keys() - keys - bad.keys()
            if lost and not any("00000_stats.json" in str(one.message) for one in told):
                raise Silent(f"{sorted(lost)} are gone")
            if keys - PLACES.keys():
                raise Silent(f"{sorted(keys - PLACES.keys())} were never written")
        for place, key in enumerate(found.keys):
            if key in clean:
                same = np.array_equal(found.images[place], IMAGES[key])
                if not same or found.captions[place] != f"caption {int(key)}":
                    raise Silent(f"{key} is another pair")
        return not lost and not found.bad

    return outcome(try_it)


def _images() -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0.tar").write_bytes(WHOLE)
        made = decode.decode([Path(folder) / "0.tar"], SIDE, Path(folder), field="txt")
        return dict(zip(made.keys, np.array(made.images), strict=True))


IMAGES = _images()

TARGETS: dict[str, tuple[st.SearchStrategy, Callable[[Path, Any], str]]] = {
    "parameter files": (PARAMETERS, parameters),
    "records": (RECORDS, records),
    "shards": (EDITS, a_shard),
}


@contextmanager
def project() -> Iterator[Path]:
    """A project of its own, which the package works in."""
    before = os.environ.get("BDNB_HOME")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copytree(Path(__file__).parents[1] / "params", home / "params")
        os.environ["BDNB_HOME"] = folder
        try:
            yield home
        finally:
            os.environ.pop("BDNB_HOME")
            os.environ |= {} if before is None else {"BDNB_HOME": before}


def fuzz(
    seconds: float, *, first: int = 0, tell: Callable[[str], None] = print
) -> dict[str, Counter[str]]:
    """How many inputs of each kind met which end. first: seed of the first round of inputs."""
    counts = {name: Counter(dict.fromkeys(KINDS, 0)) for name in TARGETS}
    until = time.monotonic() + seconds
    with project() as home:
        for number in count(first):
            for name, (strategy, target) in TARGETS.items():
                _round(number, strategy, target, home, counts[name], tell)
            if time.monotonic() > until:
                break
    return counts


def _round(
    number: int,
    strategy: st.SearchStrategy,
    target: Callable[[Path, Any], str],
    home: Path,
    counts: Counter[str],
    tell: Callable[[str], None],
) -> None:
    @seed(number)
    @settings(
        max_examples=ROUND,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def inputs(case: Any) -> None:
        found = target(home, case)
        kind = found.partition(":")[0]
        counts.update(["tried", kind])
        if kind not in ("used", "refused"):
            tell(f"{found}\n  {target.__name__}: {case!r}")

    inputs()


def main() -> int:
    """Return 1 where an input crashed or was passed over in silence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--first", type=int, default=0, help="seed of the first inputs")
    parser.add_argument("--out", type=Path, help="where to write the counts")
    given = parser.parse_args()
    counts = fuzz(given.seconds, first=given.first)
    text = json.dumps(counts, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", "utf-8")
    return int(any(own["crashed"] or own["silent"] for own in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
