"""ImageNet-1K's validation set and its relatives as labelled shards, from what is handed out.

In: the official ``ILSVRC2012_img_val.tar`` with its devkit, or a folder or tar of one folder a
class (``n01440764/x.JPEG``; ImageNet-R, -A, -Sketch; ``0`` to ``999`` in ImageNet-V2). Out: a set
as CLIP_benchmark's ``wds_*``, images byte for byte. ``python -m bdnb.data.imagenet --help``.
"""

import argparse
import io
import os
import re
import sys
import tarfile
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from bdnb.data import labelled
from bdnb.data.decode import EXTENSIONS
from bdnb.data.shards import Sample
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import begin, discard

TRUTH = "ILSVRC2012_validation_ground_truth.txt"
FLAT = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


class File(NamedTuple):
    """An image of a source: its class as the source names it, its name, its bytes."""

    label: str
    name: str
    data: bytes


@cache
def wnids(name: str = "imagenet") -> tuple[str, ...]:
    """The WordNet numbers of a set's classes, sorted, as timm lists them.

    name: "imagenet" (1,000), "imagenet_r" or "imagenet_a" (200 each).
    """
    path = resources.files("timm.data") / "_info" / f"{name}_synsets.txt"
    return tuple(sorted(path.read_text("utf-8").split()))


def names(chosen: Sequence[str]) -> list[str]:
    """Class names by open_clip for WordNet numbers. Errors: ConfigError for one it lacks."""
    from open_clip import IMAGENET_CLASSNAMES

    known = dict(zip(wnids(), IMAGENET_CLASSNAMES, strict=True))
    if strange := [wnid for wnid in chosen if wnid not in known]:
        raise ConfigError(f"{strange[0]!r}: not one of the 1,000 classes of ImageNet")
    return [known[wnid] for wnid in chosen]


PART = "labelled set being made"
"""What the mark of a folder says that a conversion has begun."""


def convert(source: Path, out: Path, *, devkit: Path | None = None) -> int:
    """A labelled set in ``out`` from ``source``. Returns: the number of images.

    source: a tar or a folder. devkit: ``ILSVRC2012_devkit_t12.tar.gz``, for the official tar.
    Classes: all 1,000, or those of ImageNet-R or -A where the folders are just these.
    Errors: ConfigError for a missing file, folders that are no such set's, images without label.
    """
    if not source.exists():
        raise ConfigError(f"{source}: no such tar or folder")
    if out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out}: not empty; name another folder, or remove that one")
    found = sorted({label for label, _ in _listed(source)})
    if not found:
        raise ConfigError(f"{source}: no images ({', '.join(EXTENSIONS)}) in it")
    if found == [""]:
        classes, truth = wnids(), _truth(devkit, source)
        files: Iterator[File] = (
            file._replace(label=truth[file.name]) for file in _files(source, truth)
        )
    else:
        classes = _classes(found, source)
        files = _files(source)
    beside = out.with_name(f".{out.name}.part")
    begin(beside, PART)
    try:
        count = labelled.write_labelled(
            beside / "set",
            _samples(files, {wnid: i for i, wnid in enumerate(classes)}),
            classnames=names(classes),
            templates=labelled.openai_templates(),
        )
        os.replace(beside / "set", out)
    finally:
        discard(beside, PART)
    return count


def _classes(found: Sequence[str], source: Path) -> tuple[str, ...]:
    """The classes that a source's folders stand for, in order. Errors: ConfigError."""
    if sorted(found) == sorted(map(str, range(1000))):
        return wnids()
    for name in ("imagenet", "imagenet_r", "imagenet_a"):
        if tuple(found) == wnids(name):
            return wnids(name)
    strange = sorted(set(found) - set(wnids()))
    which = f"such as {strange[0]!r}" if strange else f"not {sorted(set(wnids()) - set(found))[0]}"
    raise ConfigError(
        f"{source}: {len(found)} folders, {which}; expected one for each of ImageNet's 1,000 "
        "classes (n01440764, ..., or 0 to 999), or of the 200 of ImageNet-R or ImageNet-A"
    )


def _label(name: str) -> str | None:
    """The class that an image's path says, "" for a flat official name, None for no image."""
    path = PurePosixPath(name)
    if path.suffix.lower().lstrip(".") not in EXTENSIONS or path.name.startswith("."):
        return None
    if FLAT.fullmatch(path.name) and not re.fullmatch(r"n\d{8}|\d{1,3}", path.parent.name):
        return ""
    return path.parent.name


def _listed(source: Path) -> Iterator[tuple[str, str]]:
    """The class and path of each image of a source."""
    if source.is_dir():
        paths = sorted(path.relative_to(source).as_posix() for path in source.rglob("*"))
    else:
        with _open(source) as archive:
            paths = [member.name for member in archive if member.isfile()]
    for path in paths:
        if (label := _label(path)) is not None:
            yield label, path


def _open(source: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(source, "r:*")
    except (OSError, tarfile.TarError) as error:
        raise ConfigError(f"{source}: expected a tar or a folder ({error})") from error


def _files(source: Path, wanted: dict[str, str] | None = None) -> Iterator[File]:
    """The images of a source, in the order in which they lie there.

    wanted: the names there should be. Errors: ConfigError for another number of them, or a tar
    that cannot be read to its end.
    """
    seen = 0
    for label, path, data in _contents(source):
        name = PurePosixPath(path).name
        if wanted is not None and name not in wanted:
            raise ConfigError(f"{source}: {name} has no line in {TRUTH}")
        seen += 1
        yield File(label, name, data)
    if wanted is not None and seen != len(wanted):
        raise ConfigError(f"{source}: {seen} images, but {len(wanted)} lines in {TRUTH}")


def _contents(source: Path) -> Iterator[tuple[str, str, bytes]]:
    if source.is_dir():
        for label, path in _listed(source):
            yield label, path, (source / path).read_bytes()
        return
    found: str | None
    with _open(source) as archive:
        try:
            for member in archive:
                if member.isfile() and (found := _label(member.name)) is not None:
                    file = archive.extractfile(member)
                    assert file is not None
                    yield found, member.name, file.read()
        except (OSError, EOFError, tarfile.TarError) as error:
            raise ConfigError(f"{source}: cannot be read to its end ({error})") from error


def _samples(files: Iterator[File], place: dict[str, int]) -> Iterator[Sample]:
    """Samples with keys that say where they come from, each once.

    place: class -> label; where the class is a number, as in ImageNet-V2, it is the label.
    """
    seen: dict[str, int] = {}
    for file in files:
        stem = re.sub(r"[^\w-]+", "_", PurePosixPath(file.name).stem)
        key = stem if FLAT.fullmatch(file.name) else f"{file.label}_{stem}"
        seen[key] = again = seen.get(key, 0) + 1
        label = place[file.label] if file.label in place else int(file.label)
        extension = PurePosixPath(file.name).suffix.lower().lstrip(".").replace("jpeg", "jpg")
        yield {
            "__key__": f"{key}-{again}" if again > 1 else key,
            extension: file.data,
            "cls": label,
        }


def _truth(devkit: Path | None, source: Path) -> dict[str, str]:
    """File name -> WordNet number of the official images, from the devkit. Errors: ConfigError."""
    from scipy.io import loadmat

    if devkit is None or not devkit.is_file():
        raise ConfigError(
            f"{source}: flat images need their labels: name ILSVRC2012_devkit_t12.tar.gz "
            f"({devkit or 'no devkit'} is not there)"
        )
    with _open(devkit) as archive:
        parts = {PurePosixPath(m.name).name: archive.extractfile(m) for m in archive if m.isfile()}
        numbers, meta = parts.get(TRUTH), parts.get("meta.mat")
        if numbers is None or meta is None:
            raise ConfigError(f"{devkit}: expected data/{TRUTH} and data/meta.mat in it")
        lines = numbers.read().decode().split()
        synsets = loadmat(io.BytesIO(meta.read()), squeeze_me=True)["synsets"]
    leaves = synsets[synsets["num_children"] == 0]
    wnid = {int(n): str(w) for n, w in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
    if strange := [line for line in lines if not line.isdecimal() or int(line) not in wnid]:
        raise ConfigError(f"{devkit}: {TRUTH} says {strange[0]!r}, which meta.mat does not have")
    return {f"ILSVRC2012_val_{i:08d}.JPEG": wnid[int(n)] for i, n in enumerate(lines, start=1)}


def main() -> None:
    """``python -m bdnb.data.imagenet --source TAR_OR_FOLDER --out data/cc6m/val``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="tar or folder")
    parser.add_argument("--devkit", type=Path, help="ILSVRC2012_devkit_t12.tar.gz, for flat images")
    parser.add_argument("--out", type=Path, required=True, help="folder of the labelled set")
    given = parser.parse_args()
    try:
        count = convert(given.source, given.out, devkit=given.devkit)
    except ConfigError as error:
        sys.exit(f"error: {error}")
    print(f"{given.out}: {count} images")


if __name__ == "__main__":
    main()
