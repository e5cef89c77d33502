"""Files of the user's: an image, a labelled folder, a checkpoint.

Paths in; what the package itself works with out: uint8 images, a labelled set, a model.
"""

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import ImageOps
from torchvision.datasets import ImageFolder

from bdnb import models
from bdnb.data.bad_samples import DAMAGE, open_image, why
from bdnb.data.decode import square
from bdnb.data.labelled import CLASSNAMES, LabelledSet, read_labelled
from bdnb.data.shards import EXTENSIONS
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.runtime.errors import ConfigError

MOST = 2000
"""Images that are read of a folder: enough for a percentage to a point or two."""
KINDS = ", ".join(EXTENSIONS)


def image(file: Path | bytes, *, side: int, name: str = "the image") -> np.ndarray:
    """Return an image file, or its bytes, as (3, side, side) uint8: resized, its middle cut out.

    Errors: ConfigError for a file that is not there, is no image, or is one too large.
    """
    if isinstance(file, Path):
        name = str(file)
        if not file.is_file():
            raise ConfigError(f"{file}: no such image; expected an image file ({KINDS})")
        file = file.read_bytes()
    try:
        with open_image(file) as opened:
            return square(ImageOps.exif_transpose(opened), side)  # upright, as viewers show it
    except DAMAGE as error:
        raise ConfigError(f"{name}: {why(error)}") from error


def folder(path: Path, *, side: int, most: int = MOST) -> LabelledSet:
    """Return a labelled folder: a folder of images a class, or a set in CLIP_benchmark's layout.

    side: of the images, in pixels. Of more than ``most`` images, these are spread over all.
    Errors: ConfigError for a folder without classes or without images that can be read.
    """
    if not path.is_dir():
        raise ConfigError(f"{path}: no such folder; expected one folder of images for each class")
    if (path / CLASSNAMES).is_file():
        return read_labelled(path, side=side, cache=path / "prepared")
    try:
        ends = tuple(f".{end}" for end in EXTENSIONS)
        found = ImageFolder(str(path), is_valid_file=lambda f: f.lower().endswith(ends))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: {error}; expected folders of images ({KINDS})") from error
    if len(found.classes) < 2:
        raise ConfigError(f"{path}: {len(found.classes)} class; expected a folder for each of two")
    places = np.linspace(0, len(found.samples) - 1, min(most, len(found.samples)))
    read: dict[str, tuple[np.ndarray, int]] = {}
    bad: dict[str, str] = {}
    for file, label in (found.samples[i] for i in np.unique(places.astype(int))):
        key = str(Path(file).relative_to(path))
        try:
            read[key] = image(Path(file), side=side), label
        except ConfigError as error:
            bad[key] = str(error)
    if not read:
        raise ConfigError(f"{path}: none of {len(bad)} images can be read: {next(iter(bad))}")
    images, labels = zip(*read.values(), strict=True)
    names = [name.replace("_", " ") for name in found.classes]
    templates = targets.templates()
    stacked = np.stack(images), np.array(labels)
    return LabelledSet(path.name, *stacked, list(read), names, templates, bad)


@lru_cache(maxsize=6)
def checkpoint(spec: str, name: str = "") -> Model:
    """Return a model from a checkpoint of anybody's, the last few kept.

    spec: weights that bdnb wrote, ``NAME:TAG`` of open_clip (``RN50:openai``; fetched unless it was
    before), or any file that open_clip reads, then with name: which of its models that is.
    Errors: ConfigError for what is not there, is of another architecture, cannot be fetched, or
    holds weights that are not finite.
    """
    try:
        model = models.load_any(spec, name)
    except OSError as error:
        raise ConfigError(f"{spec}: neither here nor to be fetched now: {error}") from error
    if not all(weights.isfinite().all() for weights in model.parameters()):
        raise ConfigError(f"{spec}: its weights are not finite: the model has diverged")
    return model.eval()
