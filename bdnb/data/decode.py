"""Images of tar shards, decoded and resized once into an array that training memory-maps.

In: WebDataset shards of any make. Out: uint8 images (N, 3, S, S), one text and one key a sample.
A sample that cannot be read is left out, counted and named; too many of them are an error.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from bdnb.data import bad_samples
from bdnb.runtime import progress
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, begin, check_ours, discard

FORMAT = 1
"""Version of the decoded files: another one is decoded anew."""

DECODED, PART = "decoded samples", "samples being decoded"
"""What the marks of finished and of half-made files say."""

EXTENSIONS = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Decoded:
    """Samples in the shards' order.

    images: (N, 3, S, S) uint8, read-only memory map. texts, keys: N each. bad: key -> why, of the
    samples left out.
    """

    images: np.ndarray
    texts: list[str]
    keys: list[str]
    bad: dict[str, str]


def samples(tars: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """The samples of tar shards in order: ``__key__`` and the bytes of each extension.

    Errors: ConfigError naming a shard that is missing or damaged.
    """
    import webdataset

    for tar in tars:
        check_end(tar)
        stream = webdataset.WebDataset(
            [str(tar)],
            shardshuffle=False,
            nodesplitter=_all,
            workersplitter=_all,
            empty_check=False,
        )
        try:
            yield from stream
        except (OSError, EOFError, ValueError, tarfile.TarError) as error:
            raise ConfigError(torn(tar, error)) from error


def torn(tar: Path, why: object) -> str:
    """What to say of a shard that is damaged."""
    return f"{tar}: cannot be read to its end ({why}): fetch or build it again, or remove it"


def check_end(tar: Path) -> None:
    """A tar ends in zeros; one cut between two files would otherwise pass for a shorter one."""
    if not tar.is_file():
        raise ConfigError(f"{tar}: no such shard")
    with tar.open("rb") as file:
        file.seek(-min(512, tar.stat().st_size), os.SEEK_END)
        if tar.suffix == ".tar" and file.read() != bytes(512):
            raise ConfigError(torn(tar, "its last block is missing"))


def _all(shards: Iterator[Any]) -> Iterator[Any]:
    """Every shard, whatever the rank and the worker: decoding is not split."""
    return shards


def square(image: Image.Image, side: int, *, fit: str = "crop") -> np.ndarray:
    """The image as RGB, a square.

    fit: "crop", short side resized (bicubic) and the centre cut out, as CLIP does; "squash", both
    sides resized, whatever the aspect ratio, as the authors do before they put a trigger on.
    Returns: (3, side, side) uint8. An image that is side x side already is not resampled.
    """
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    image = image.convert("RGB")
    if fit == "squash" and image.size != (side, side):
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    short = min(image.size)
    if short != side:
        width, height = (side if n == short else int(side * n / short) for n in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (round((n - side) / 2) for n in image.size)
    return np.asarray(image.crop((left, top, left + side, top + side))).transpose(2, 0, 1)


def decode(
    tars: Sequence[Path],
    side: int,
    cache: Path,
    *,
    field: str,
    bad_share: float = bad_samples.BAD_SHARE,
    fit: str = "crop",
) -> Decoded:
    """Decode shards once; later calls read what the first has written.

    side: of the images, in pixels. fit: see ``square``. cache: folder for decoded files; this
    set's are in ``<cache>/<name of the shards' place>-<side>``, those of a squash beside it,
    replaced when the shards' names, sizes or times of change are others. field: extension that
    holds the text (``txt``, ``cls``). Errors: ConfigError for no samples, a damaged shard, a key
    that comes twice, or a share of bad samples above ``bad_share``.
    """
    if side < 1 or fit not in ("crop", "squash"):
        raise ConfigError(f"side={side}, fit={fit!r}: expected at least 1 pixel, crop or squash")
    if not tars:
        raise ConfigError("no tar shards to decode")
    mark = _fingerprint(tars, side, field)
    cache = cache_of(tars, side, cache, fit=fit)
    if (found := _load(cache, mark)) is not None:
        bad_samples.report(found.bad, len(found.keys), bad_share, where=str(tars[0].parent))
        return found
    cache.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(cache.with_name(f".{cache.name}.lock")):
        if (found := _load(cache, mark)) is not None:
            return found
        check_ours(cache, DECODED, known=_older(cache))
        beside = cache.with_name(f".{cache.name}.part")
        begin(beside, PART)
        try:
            made = beside / "samples"
            begin(made, DECODED)
            index = _write(tars, side, made / "images.u8", field, bad_share, fit)
            (made / "samples.json").write_text(json.dumps({"mark": mark} | index), "utf-8")
            discard(cache, DECODED, known=_older(cache))
            os.replace(made, cache)
        finally:
            discard(beside, PART)
    decoded = _load(cache, mark)
    assert decoded is not None
    return decoded


def _older(cache: Path) -> bool:
    """Whether a folder is what a version without marks wrote: these files and no others."""
    path = cache / "samples.json"
    if not path.is_file() or {p.name for p in cache.iterdir()} - {path.name, "images.u8", MARK}:
        return False
    return path.read_bytes()[:9] == b'{"mark": '


def is_decoded(
    tars: Sequence[Path], side: int, cache: Path, *, field: str, fit: str = "crop"
) -> bool:
    """Whether ``decode`` would find its files there."""
    folder = cache_of(tars, side, cache, fit=fit)
    return _load(folder, _fingerprint(tars, side, field)) is not None


def name_of(tars: Sequence[Path]) -> str:
    """Name of a set, from the last two folders: ``quick-train``."""
    folder = tars[0].resolve().parent
    return f"{folder.parent.name}-{folder.name}"


def cache_of(tars: Sequence[Path], side: int, cache: Path, *, fit: str = "crop") -> Path:
    """Folder of a set's decoded files."""
    return cache / (f"{name_of(tars)}-{side}" + ("-squash" if fit == "squash" else ""))


def shape_of(tars: Sequence[Path]) -> list[tuple[str, int, int]]:
    """What tells shards from others of that name: size, time of change. Errors: ConfigError."""
    for tar in tars:
        if not tar.is_file():
            raise ConfigError(f"{tar}: no such shard")
    return [(t.name, t.stat().st_size, t.stat().st_mtime_ns) for t in tars]


def _fingerprint(tars: Sequence[Path], side: int, field: str) -> str:
    text = json.dumps([FORMAT, side, field, shape_of(tars)])
    return hashlib.sha256(text.encode()).hexdigest()


def _load(cache: Path, mark: str) -> Decoded | None:
    index, pixels = cache / "samples.json", cache / "images.u8"
    if not index.is_file() or not pixels.is_file():
        return None
    about = json.loads(index.read_text("utf-8"))
    shape = (len(about["keys"]), 3, about["side"], about["side"])
    if about["mark"] != mark or pixels.stat().st_size != int(np.prod(shape)):
        return None
    images = np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape)
    return Decoded(images, about["texts"], about["keys"], about["bad"])


def _write(
    tars: Sequence[Path], side: int, pixels: Path, field: str, bad_share: float, fit: str
) -> dict[str, Any]:
    """Decode every sample into one file of pixels; what the index says of them."""
    texts: dict[str, str] = {}
    dropped: dict[str, str] = {}
    options: dict[str, Any] = {"desc": "decoding: ", "unit": " shards", "leave": False}
    with pixels.open("wb") as file, progress.bar(total=len(tars), **options) as bar:
        for tar in tars:
            for sample in samples([tar]):
                key = sample["__key__"]
                if key in texts or key in dropped:
                    raise ConfigError(f"{tar}: key {key!r} comes twice; keys tell samples apart")
                try:
                    text, image = _parts(sample, field, side, fit)
                except bad_samples.DAMAGE as error:
                    dropped[key] = bad_samples.why(error)
                    continue
                texts[key] = text
                file.write(image.tobytes())
            bar.update()
    bad_samples.report(dropped, len(texts), bad_share, where=str(tars[0].parent))
    return {"side": side, "keys": list(texts), "texts": list(texts.values()), "bad": dropped}


def _parts(sample: dict[str, Any], field: str, side: int, fit: str) -> tuple[str, np.ndarray]:
    """A sample's text and image (3, side, side) uint8. Errors: one of ``bad.DAMAGE``."""
    text = bad_samples.text(sample, field)
    with bad_samples.open_image(sample[extension(sample)]) as image:
        return text, square(image, side, fit=fit)


def extension(sample: Mapping[str, Any]) -> str:
    """Which part of a sample is its image. Errors: BadSample when there is none."""
    found = next((e for e in EXTENSIONS if e in sample), None)
    if found is None:
        raise bad_samples.BadSample("no image", f"no .{', .'.join(EXTENSIONS)}")
    return found
