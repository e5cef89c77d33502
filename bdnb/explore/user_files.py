"""Bring your own: a picture, a labelled folder, an open_clip checkpoint.

Paths in; what the package itself works with out: uint8 images, a labelled set, a model.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bdnb import models
from bdnb.data.bad_samples import DAMAGE
from bdnb.data.decode import square
from bdnb.data.labelled import CLASSNAMES, LabelledSet, openai_templates, read_labelled
from bdnb.data.shards import EXTENSIONS
from bdnb.models import Model
from bdnb.runtime.errors import ConfigError

MOST = 2000
"""Images that are read of a folder: enough for a percentage to a point or two."""


def picture(file: Path | bytes, *, side: int, name: str = "the picture") -> np.ndarray:
    """An image file, or its bytes, as (3, side, side) uint8: resized, and its middle cut out.

    Errors: ConfigError for a file that is not there or is no image.
    """
    if isinstance(file, Path):
        name = str(file)
        if not file.is_file():
            raise ConfigError(f"{file}: no such picture; expected an image file ({_kinds()})")
        file = file.read_bytes()
    try:
        with Image.open(io.BytesIO(file)) as image:
            return square(image, side)
    except DAMAGE as error:
        raise ConfigError(f"{name}: not an image that can be read: {error}") from error


def folder(path: Path, *, side: int, most: int = MOST) -> LabelledSet:
    """A labelled folder: one folder of images a class, or a set in CLIP_benchmark's layout.

    side: of the images, in pixels. Of more than ``most`` images, these are spread over all.
    Errors: ConfigError for a folder without classes or without images that can be read.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; expected one folder of images for each class")
    if (path / CLASSNAMES).is_file():
        return read_labelled(path, side=side, cache=path / "prepared")
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(i, f) for i, n in enumerate(names) for f in sorted((path / n).iterdir())]
    files = [(i, f) for i, f in files if f.suffix.lower().lstrip(".") in EXTENSIONS]
    if len(names) < 2 or not files:
        raise ConfigError(
            f"{path}: {len(names)} folders with {len(files)} images ({_kinds()}) in them; expected "
            f"two or more, each named for its class, or {CLASSNAMES} as CLIP_benchmark writes it"
        )
    spread = np.unique(np.linspace(0, len(files) - 1, min(most, len(files))).astype(int))
    return _read([files[i] for i in spread], names, path, side)


def _read(
    files: Sequence[tuple[int, Path]], names: Sequence[str], path: Path, side: int
) -> LabelledSet:
    images, labels, keys, bad = [], [], [], {}
    for label, file in files:
        key = f"{file.parent.name}/{file.name}"
        try:
            images.append(picture(file, side=side))
        except ConfigError as error:
            bad[key] = str(error)
            continue
        labels.append(label)
        keys.append(key)
    if not images:
        raise ConfigError(f"{path}: none of {len(files)} images can be read: {next(iter(bad))}")
    classes = [name.replace("_", " ") for name in names]
    return LabelledSet(
        path.name, np.stack(images), np.array(labels), keys, classes, openai_templates(), bad
    )


def checkpoint(spec: str, name: str = "") -> Model:
    """A model from a checkpoint of anybody's, or from open_clip by ``NAME:TAG``.

    spec: weights that bdnb wrote, ``NAME:TAG`` (``RN50:openai``; fetched unless it was before), or
    any file that open_clip reads, then with name: which of its models that is.
    Errors: ConfigError for what is not there, is of another architecture, or cannot be fetched.
    """
    if name and Path(spec).is_file():
        return models.load(name, Path(spec)).eval()
    try:
        return models.load_any(spec).eval()
    except OSError as error:
        raise ConfigError(
            f"checkpoint={spec!r}: neither on this machine nor to be fetched now: {error}"
        ) from error


def _kinds() -> str:
    return ", ".join(EXTENSIONS)
