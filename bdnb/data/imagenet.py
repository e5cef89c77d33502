"""ImageNet-1K's validation set and its relatives as labelled shards.

In: a folder with the official ``ILSVRC2012_img_val.tar`` and ``ILSVRC2012_devkit_t12.tar.gz``,
which torchvision unpacks there, or with a folder for each class (``n01440764/x.JPEG``: ImageNet-R,
-A, -Sketch; ``0`` to ``999``: ImageNet-V2). Out: a set as CLIP_benchmark's ``wds_*``, images byte
for byte. ``python -m bdnb.data.imagenet --help``.
"""

import argparse
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bdnb.data import labelled
from bdnb.data.shards import EXTENSIONS, Sample
from bdnb.poison import targets
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import building

OFFICIAL = "ILSVRC2012_img_val.tar"


def wnids() -> list[str]:
    """Return the WordNet numbers of ImageNet's 1,000 classes, sorted, as timm lists them."""
    from timm.data import ImageNetInfo

    return sorted(ImageNetInfo("imagenet-1k").label_names())


def convert(source: Path, out: Path) -> int:
    """Write a labelled set to ``out`` from a folder. Returns: the number of images.

    Classes: all 1,000, or the 200 that the folders are named for, as in ImageNet-R and -A. Errors:
    ConfigError for a folder that holds no such set, or ``out`` that is not empty.
    """
    from open_clip import IMAGENET_CLASSNAMES

    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: not empty; name another folder, or remove that one")
    images = _images(source)
    known = dict(zip(wnids(), IMAGENET_CLASSNAMES, strict=True))
    place = _classes({path.parent.name for path in images}, list(known), source)
    chosen = sorted(place.keys() & known.keys()) or known
    with building(out, "labelled set") as made:
        return labelled.write_labelled(
            made,
            _samples(images, place),
            classnames=[known[wnid] for wnid in chosen],
            templates=targets.templates(),
        )


def _images(source: Path) -> list[Path]:
    """The images of a folder, sorted by class and name. Errors: ConfigError."""
    from torchvision.datasets import DatasetFolder, ImageNet
    from torchvision.datasets.imagenet import load_meta_file

    if not source.is_dir():
        raise ConfigError(f"{source}: no such folder; unpack a tar first")
    try:
        if (source / OFFICIAL).is_file():
            found = ImageNet(source, split="val").samples
            if len(found) != len(load_meta_file(source)[1]):
                raise RuntimeError("val/ was not unpacked to its end: remove it and run again")
        else:
            endings = tuple(f".{name}" for name in EXTENSIONS)
            found = DatasetFolder(str(source), Path.read_bytes, extensions=endings).samples
    except (RuntimeError, FileNotFoundError) as error:
        raise ConfigError(f"{source}: {error}") from error
    return [Path(path) for path, _ in found]


def _classes(found: set[str], known: Sequence[str], source: Path) -> dict[str, int]:
    """The label of each folder's name. Errors: ConfigError."""
    if found == {str(number) for number in range(1000)}:
        return {name: int(name) for name in found}
    strange, missing = sorted(found - set(known)), sorted(set(known) - found)
    if strange or len(found) not in (200, len(known)):
        which = f"such as {strange[0]!r}" if strange else f"not {missing[0]}"
        raise ConfigError(
            f"{source}: {len(found)} folders of images, {which}; expected one for each of "
            "ImageNet's 1,000 classes (n01440764, ..., or 0 to 999), or the 200 of ImageNet-R or -A"
        )
    return {wnid: label for label, wnid in enumerate(sorted(found))}


def _samples(images: Sequence[Path], place: dict[str, int]) -> Iterator[Sample]:
    """Samples whose keys say where they come from, each once."""
    for number, path in enumerate(images):
        key = re.sub(r"[^\w-]+", "_", f"{number:05d}_{path.parent.name}_{path.stem}")
        extension = path.suffix.lower().lstrip(".").replace("jpeg", "jpg")
        yield {"__key__": key, extension: path.read_bytes(), "cls": place[path.parent.name]}


def main() -> None:
    """``python -m bdnb.data.imagenet --source FOLDER --out data/cc6m/val``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the labelled set")
    given = parser.parse_args()
    with command():
        print(f"{given.out}: {convert(given.source, given.out)} images")


if __name__ == "__main__":
    main()
