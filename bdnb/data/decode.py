"""Images of tar shards, decoded and resized once into an array that training memory-maps.

In: WebDataset shards of any make. Out: uint8 images (N, 3, S, S), one text and one key a sample.
A sample that cannot be read is left out, counted and named; too many of them are an error.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bdnb.data import bad_samples
from bdnb.data.shards import Pairs, extension, samples
from bdnb.runtime import progress
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import building, replacing, write_atomic

FORMAT = 1
"""Version of the decoded files: another one is decoded anew."""


def square(image: Image.Image, side: int, *, fit: str = "crop") -> np.ndarray:
    """Return the image as RGB, a square.

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
) -> Pairs:
    """Decode shards once; later calls read what the first has written.

    side: of the images, in pixels. fit: see ``square``. cache: folder for decoded files; this
    set's are in ``<cache>/<name of the shards' place>-<side>``, those of a squash beside it,
    replaced when the shards' names, sizes or times of change are others. field: extension of the
    caption or label (``txt``, ``cls``). Errors: ConfigError for no samples, a damaged shard, a key
    that comes twice, or a share of bad samples above ``bad_share``.
    """
    if (found := decoded(tars, side, cache, field=field, fit=fit)) is not None:
        bad_samples.report(found.bad, len(found.keys), bad_share, where=str(tars[0].parent))
        return found
    mark, cache = mark_of(tars, FORMAT, side, field), cache_of(tars, side, cache, fit=fit)
    with building(cache, "decoded samples") as made:
        if (found := _load(cache, mark)) is None:
            index = _write(tars, side, made / "images.u8", field, bad_share, fit)
            write_atomic(made / "samples.json", json.dumps({"mark": mark} | index))
    found = found or _load(cache, mark)
    assert found is not None
    return found


def decoded(
    tars: Sequence[Path], side: int, cache: Path, *, field: str, fit: str = "crop"
) -> Pairs | None:
    """Return what ``decode`` would find there; None where it has to decode."""
    return _load(cache_of(tars, side, cache, fit=fit), mark_of(tars, FORMAT, side, field))


def name_of(tars: Sequence[Path]) -> str:
    """Return the name of a set, from the last two folders: ``quick-train``.

    Not those that a shard is linked from: one folder may hold the shards of several sets.
    """
    folder = tars[0].absolute().parent
    return f"{folder.parent.name}-{folder.name}"


def cache_of(tars: Sequence[Path], side: int, cache: Path, *, fit: str = "crop") -> Path:
    """Return the folder of a set's decoded files."""
    return cache / (f"{name_of(tars)}-{side}" + ("-squash" if fit == "squash" else ""))


def shape_of(tars: Sequence[Path]) -> list[tuple[str, int, int]]:
    """Return what tells shards from others of that name: size, time of change; or ConfigError."""
    for tar in tars:
        if not tar.is_file():
            raise ConfigError(f"{tar}: no such shard")
    return [(t.name, t.stat().st_size, t.stat().st_mtime_ns) for t in tars]


def mark_of(tars: Sequence[Path], *made: int | str) -> str:
    """Return what tells shards, and what is made of them, from others or from earlier ones."""
    return hashlib.sha256(json.dumps([*made, shape_of(tars)]).encode()).hexdigest()


def _load(cache: Path, mark: str) -> Pairs | None:
    index, pixels = cache / "samples.json", cache / "images.u8"
    if not index.is_file() or not pixels.is_file():
        return None
    about = json.loads(index.read_text("utf-8"))
    shape = (len(about["keys"]), 3, about["side"], about["side"])
    if about["mark"] != mark or pixels.stat().st_size != int(np.prod(shape)):
        return None
    images = np.memmap(pixels, dtype=np.uint8, mode="r", shape=shape)
    return Pairs(images, about["texts"], about["keys"], about["bad"])


def _write(
    tars: Sequence[Path], side: int, pixels: Path, field: str, bad_share: float, fit: str
) -> dict[str, Any]:
    """Decode every sample into one file of pixels; what the index says of them."""
    texts: dict[str, str] = {}
    dropped: dict[str, str] = {}
    options: dict[str, Any] = {"desc": "decoding: ", "unit": " shards", "leave": False}
    # Seen to the disk, and there before the index says so.
    with (
        replacing(pixels) as beside,
        beside.open("wb") as file,
        progress.bar(total=len(tars), **options) as bar,
    ):
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
    """A sample's text and image (3, side, side) uint8. Errors: one of ``bad_samples.DAMAGE``."""
    text = bad_samples.text(sample.get(field), field)
    with bad_samples.open_image(sample[extension(sample)]) as image:
        return text, square(image, side, fit=fit)
