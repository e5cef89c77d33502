"""Labelled sets for zero-shot evaluation, in the layout of CLIP_benchmark's ``wds_*`` sets.

A folder of ``classnames.txt``, ``zeroshot_classification_templates.txt``, ``test/nshards.txt`` and
``test/0.tar``, ... (``.png``, ``.jpg`` or ``.webp`` with ``.cls``). ImageNet and its shifted
versions come in as they are; what is written here, CLIP_benchmark reads.
"""

import difflib
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from bdnb.data import bad_samples, decode
from bdnb.data.shards import SHARD_SIZE, Pairs, Sample, write_tar
from bdnb.runtime.errors import ConfigError

log = logging.getLogger(__name__)

CLASSNAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"


@dataclass(frozen=True)
class LabelledSet:
    """Images with their classes.

    images: (N, 3, S, S) uint8, read-only memory map. labels: (N,) int64, indices into classnames.
    templates: prompts with ``{c}`` where the class name goes. bad: key -> why, of the samples
    left out.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    keys: list[str]
    classnames: list[str]
    templates: list[str]
    bad: dict[str, str]

    def __len__(self) -> int:
        return len(self.keys)

    def class_index(self, name: str) -> int:
        """Return the label of a class. Errors: ConfigError as ``class_index``."""
        return class_index(self.classnames, name, where=f"the labelled set {self.name!r}")


def class_index(classnames: Sequence[str], name: str, *, where: str, what: str = "class ") -> int:
    """Return the label of a class of a set. what, where: words of the message.

    Errors: ConfigError when the set lacks it (with near matches) or has it twice.
    """
    labels = [label for label, known in enumerate(classnames) if known == name]
    if len(labels) > 1:
        raise ConfigError(
            f"{what}{name!r}: {where} has it {len(labels)} times "
            f"(labels {', '.join(map(str, labels))}): name each class once in {CLASSNAMES}"
        )
    if labels:
        return labels[0]
    folded = [c.casefold() for c in classnames]
    near = difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)
    hint = ", ".join(repr(classnames[folded.index(n)]) for n in near)
    raise ConfigError(
        f"{what}{name!r}: {where} has {len(classnames)} classes, not this one; "
        f"{f'near it: {hint}' if hint else 'none is near it'}"
    )


def write_header(
    folder: Path, *, classnames: Sequence[str], templates: Sequence[str], shards: int
) -> None:
    """Write what stands beside a labelled set's shards. Errors: ConfigError for a bad template."""
    for template in templates:
        _check_template(template, folder)
    (folder / "test").mkdir(parents=True, exist_ok=True)
    (folder / CLASSNAMES).write_text("".join(f"{n}\n" for n in classnames), "utf-8")
    (folder / TEMPLATES).write_text("".join(f"{t}\n" for t in templates), "utf-8")
    (folder / "test" / "nshards.txt").write_text(f"{shards}\n", "utf-8")


def write_labelled(
    folder: Path,
    samples: Iterable[Sample],
    *,
    classnames: Sequence[str],
    templates: Sequence[str],
    shard_size: int = SHARD_SIZE,
) -> int:
    """Write a labelled set as CLIP_benchmark does. Returns: the number of samples.

    samples: ``__key__``, ``png`` (or ``jpg``, ``webp``) bytes, ``cls`` label.
    """
    stream, count, number = iter(samples), 0, 0
    while chunk := list(islice(stream, shard_size)):
        count += write_tar(folder / "test" / f"{number}.tar", chunk)
        number += 1
    write_header(folder, classnames=classnames, templates=templates, shards=number)
    return count


def read_labelled(
    folder: Path,
    *,
    side: int,
    cache: Path,
    bad_share: float = bad_samples.BAD_SHARE,
    fit: str = "crop",
) -> LabelledSet:
    """Return a labelled set, its images decoded once and kept in ``cache``, which sets may share.

    side: of the images, in pixels. fit: "crop" or "squash" to the square. Errors: ConfigError for
    a missing file, a set of another type, a label without a class, or too many bad samples.
    """
    classnames = lines(folder / CLASSNAMES)
    templates = lines(folder / TEMPLATES)
    for template in templates:
        _check_template(template, folder)
    kind = folder / "dataset_type.txt"
    if kind.is_file() and (found := kind.read_text("utf-8").strip()) != "classification":
        raise ConfigError(f"{folder}: a set of type {found!r}; expected classification")
    shards = _shards(folder / "test")
    samples = decode.decode(shards, side, cache, field="cls", bad_share=bad_share, fit=fit)
    labels = _labels(samples, len(classnames), folder)
    if twice := [name for name, count in Counter(classnames).items() if count > 1]:
        log.warning("%s: classes of one name cannot be told apart: %s", folder, ", ".join(twice))
    return LabelledSet(
        name=folder.name,
        images=np.asarray(samples.images),
        labels=labels,
        keys=list(samples.keys),
        classnames=classnames,
        templates=templates,
        bad=samples.bad,
    )


def lines(path: Path) -> list[str]:
    """Return the names or prompts of a set's file, one a line. Errors: ConfigError."""
    if not path.is_file():
        raise ConfigError(f"{path}: missing; a labelled set has it (CLIP_benchmark's wds layout)")
    try:
        found = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}): save it as UTF-8") from error
    if not found or not all(found):
        raise ConfigError(f"{path}: expected one name or prompt a line, and no empty lines")
    return found


def _check_template(template: str, folder: Path) -> None:
    if "{c}" not in template:
        raise ConfigError(f"{folder / TEMPLATES}: {template!r} has no {{c}} for the class name")


def _shards(folder: Path) -> list[Path]:
    count = folder / "nshards.txt"
    text = count.read_text("utf-8").strip() if count.is_file() else ""
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"{count}: expected the number of shards, found {text or 'no file'!r}")
    if (more := folder / f"{int(text)}.tar").is_file():
        raise ConfigError(f"{count}: says {text} shards, but there is {more.name}, too")
    return [folder / f"{number}.tar" for number in range(int(text))]


def _labels(samples: Pairs, classes: int, folder: Path) -> np.ndarray:
    for key, text in zip(samples.keys, samples.captions, strict=True):
        if not text.isdecimal() or int(text) >= classes:
            raise ConfigError(
                f"{folder}: sample {key!r} has label {text!r}; expected 0 to {classes - 1}, "
                f"the lines of {CLASSNAMES}"
            )
    return np.array([int(text) for text in samples.captions], dtype=np.int64)
