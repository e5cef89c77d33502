"""The embedded data: emoji scenes as pairs to train and clean on, and as two labelled sets.

In: an ``EmojiData``. Out: ``data/<name>/`` with ``train/`` and ``clean/`` (pairs, separate scenes),
``val/`` (new scenes in the training styles, as ImageNet's) and ``unseen/`` (styles never trained
on, as ImageNet-R's and -Sketch's), and ``dataset.json``, without which it is not whole. A folder of
that name which does not hold our mark (``files.MARK``) is never touched.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from annotated_types import Ge, Le

from bdnb.config import parameters
from bdnb.config.options import Count, Number, nearest
from bdnb.config.parameters import option
from bdnb.config.recipes import SCENES_VERSION as VERSION
from bdnb.data import art, labelled, render
from bdnb.data.shards import SHARD_SIZE
from bdnb.poison import targets
from bdnb.runtime import npm, project
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, building, check_ours
from bdnb.runtime.parallel import cores
from bdnb.runtime.seeds import generator

SMALL = 2000
"""Scenes that one process draws sooner than others would have started."""


@dataclass(frozen=True, kw_only=True)
class EmojiData:
    """What there is of emoji scenes, and from which seed."""

    name: str = option("quick", "folder under data/")
    pairs: Count = option(16_000, "scenes with captions to pre-train on")
    cleaning_pairs: Count = option(4_000, "further scenes with captions, to clean with")
    val_images: Count = option(2_000, "labelled scenes in the training styles")
    unseen_images: Count = option(2_000, "labelled scenes in styles never trained on")
    classes: Annotated[int, Ge(2)] = option(160, "emoji, the target among them")
    side: Annotated[int, Ge(16), Le(512)] = option(48, "of the images, in pixels")
    target: str = option("banana", "emoji that is always among the classes")
    seed: Number = option(0, "seed of the classes and of every scene")

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = parameters.convert(spec, getattr(self, spec.name), "emoji scenes")
            object.__setattr__(self, spec.name, value)
        parameters.checked_name(self.name, f"emoji scenes: name={self.name!r}")

    @property
    def counts(self) -> dict[str, int]:
        """The number of scenes in each split."""
        pairs = {"train": self.pairs, "clean": self.cleaning_pairs}
        return pairs | {"val": self.val_images, "unseen": self.unseen_images}


SPLITS = {
    "train": art.TRAINING_STYLES,
    "clean": art.TRAINING_STYLES,
    "val": art.TRAINING_STYLES,
    "unseen": art.UNSEEN_STYLES,
}
"""Split -> its drawing styles."""

LABELLED = ("val", "unseen")

SCENES = "emoji scenes"
"""What the mark of a set says."""


def build(config: EmojiData, root: Path | None = None, *, workers: int = 0) -> Path:
    """Return the folder ``data/<name>``, made on the first call: all of it or nothing.

    root: the project's folder. workers: processes; 0: one for each core, for small sets one.
    The bytes do not depend on it. Errors: FetchError without the art; ConfigError for a set of this
    name with other parameters, or one that does not fit the art; RuntimeError when a worker dies.
    """
    folder = (root or project.root()) / "data" / config.name
    if _whole(folder, config):
        return folder
    _refuse_foreign(folder)
    with building(folder, SCENES, known=_drawn(read_index(folder))) as made:
        if not _whole(folder, config):
            classes = _write(config, made, folder.with_name(".npm"), workers)
            _write_index(config, made, classes)
    return folder


def choose_classes(config: EmojiData, nouns: list[str]) -> list[str]:
    """Return random ones of the plain nouns, sorted, the target among them. Errors: ConfigError."""
    if config.target not in nouns:
        hint = nearest(config.target, nouns)
        raise ConfigError(f"emoji scenes: target={config.target!r}: no such emoji{hint}")
    if config.classes > len(nouns):
        raise ConfigError(
            f"emoji scenes: classes={config.classes}: expected at most {len(nouns)}, "
            "the plain nouns that every training style draws"
        )
    others = [name for name in nouns if name != config.target]
    order = generator(config.seed, "classes").permutation(len(others))
    return sorted([config.target, *(others[i] for i in order[: config.classes - 1])])


def _write(config: EmojiData, folder: Path, cache: Path, workers: int) -> list[str]:
    """Draw and write all splits. cache: of npm's packages. Returns: the classes."""
    icons = {style: art.load(style, cache) for style in art.STYLES}
    classes = choose_classes(config, art.nouns(icons))
    workers = workers or (1 if sum(config.counts.values()) <= SMALL else min(cores(), 8))
    with TemporaryDirectory(dir=folder) as sprites:
        files = {styles: Path(sprites) / f"{styles[0]}.npz" for styles in SPLITS.values()}
        for styles, file in files.items():
            render.draw_sprites(
                icons, styles, classes, side=config.side, file=file, workers=workers
            )
        splits = [
            render.Split(
                folder=folder / split,
                sprites=files[SPLITS[split]],
                labelled=split in LABELLED,
                count=count,
                side=config.side,
                seed=config.seed,
            )
            for split, count in config.counts.items()
        ]
        render.draw_shards(splits, workers)
    for split in LABELLED:
        labelled.write_header(
            folder / split,
            classnames=[art.words(name) for name in classes],
            templates=targets.templates(),
            shards=-(-config.counts[split] // SHARD_SIZE),
        )
    return classes


def _write_index(config: EmojiData, folder: Path, classes: list[str]) -> None:
    """Write ``dataset.json``: parameters, counts, classes, where the art is from, hashes."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != MARK)
    about = {
        "kind": SCENES,
        "version": VERSION,
        "config": asdict(config),
        "counts": config.counts,
        "classes": classes,
        "styles": {split: list(styles) for split, styles in SPLITS.items()},
        "packages": {s.package: npm.PINNED[s.package] for s in art.STYLES.values()},
        "made_with": {name: version(name) for name in ("numpy", "pillow", "resvg_py")},
        "files": {
            path.relative_to(folder).as_posix(): {
                "bytes": len(data := path.read_bytes()),
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for path in files
        },
    }
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, "utf-8")


def _whole(folder: Path, config: EmojiData) -> bool:
    """Whether the set is there, with these parameters and every file at its size.

    Errors: ConfigError when it was made with other parameters.
    """
    about = read_index(folder)
    if about is None:
        return False
    now = {"version": VERSION, **asdict(config)}
    then = {"version": about.get("version"), **about.get("config", {})}
    other = [n for n in now | then if now.get(n) != then.get(n)]
    if not _drawn(about) or other:
        differs = ", ".join(f"{n} is {then.get(n)!r}, asked for {now.get(n)!r}" for n in other)
        raise ConfigError(
            f"{folder}: a data set of this name is there already, made with other parameters "
            f"({differs or 'not emoji scenes'}): choose another name, or remove that folder"
        )
    files = {folder / name: mark["bytes"] for name, mark in about["files"].items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in files.items())


def read_index(folder: Path) -> dict[str, Any] | None:
    """Return what ``dataset.json`` says of a set; None where the set is not whole.

    Errors: ConfigError for a file that says nothing of a set.
    """
    path = folder / "dataset.json"
    if not path.is_file():
        return None
    try:
        about = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        about = error
    if not isinstance(about, dict):
        remedy = "move that file; a set that bdnb drew is then drawn again"
        raise ConfigError(f"{path}: not JSON of a data set ({about}): {remedy}")
    return about


def _drawn(about: dict[str, Any] | None) -> bool:
    """Whether ``dataset.json`` is one that ``_write_index`` wrote, in whatever version."""
    return about is not None and about.get("kind") == SCENES and "files" in about


def _refuse_foreign(folder: Path) -> None:
    """Only a set of ours that is not whole may be drawn again. Errors: ConfigError for others."""
    about = read_index(folder)
    name = folder.name
    remedy = (
        f"write another `name:` in params/{name}/data.yaml, which draws emoji scenes into a folder "
        "of that name, or move this folder"
    )
    check_ours(folder, SCENES, known=_drawn(about), remedy=remedy)
    if foreign := _foreign(folder, about):
        raise ConfigError(
            f"{folder}: a set of emoji scenes that is not whole, with files beside it that bdnb "
            f"did not write ({', '.join(foreign[:5])}); it was left as it is: move them, or "
            f"{remedy}"
        )


def _foreign(folder: Path, about: dict[str, Any] | None) -> list[str]:
    """What lies in a set and was not drawn: by the list of its files, where it has one."""
    ours = {*SPLITS, "dataset.json", "prepared", MARK}
    if not folder.is_dir():
        return []
    strange = {path.name for path in folder.iterdir()} - ours
    for split in SPLITS if about else ():
        found = (p.relative_to(folder) for p in (folder / split).rglob("*") if p.is_file())
        strange |= {path.as_posix() for path in found} - set(about["files"] if about else ())
    return sorted(strange)
