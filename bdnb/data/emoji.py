"""The embedded data: emoji scenes as pairs to train and clean on, and as two labelled sets.

In: an ``EmojiData``. Out: ``data/<name>/`` with ``train/`` and ``clean/`` (pairs, separate scenes),
``val/`` (new scenes in the training styles, as ImageNet's) and ``unseen/`` (styles never trained
on, as ImageNet-R's and -Sketch's), and ``dataset.json``, without which it is not whole.
"""

import difflib
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from bdnb.config import parameters
from bdnb.config.parameters import option
from bdnb.data import art, labelled, render
from bdnb.data.shards import SHARD_SIZE
from bdnb.runtime import npm, project
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

VERSION = 2
"""Of the scenes: raised when the same parameters would give other pixels or captions."""

SMALL = 2000
"""Scenes that one process draws sooner than others would have started."""


@dataclass(frozen=True, kw_only=True)
class EmojiData:
    """What there is of emoji scenes, and from which seed."""

    name: str = option("quick", "folder under data/")
    pairs: int = option(16_000, "scenes with captions to pre-train on", least=1)
    cleaning_pairs: int = option(4_000, "further scenes with captions, to clean with", least=1)
    val_images: int = option(2_000, "labelled scenes in the training styles", least=1)
    unseen_images: int = option(2_000, "labelled scenes in styles never trained on", least=1)
    classes: int = option(160, "emoji, the target among them", least=2)
    side: int = option(48, "of the images, in pixels", least=16, most=512)
    target: str = option("banana", "emoji that is always among the classes")
    seed: int = option(0, "seed of the classes and of every scene", least=0)

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


def build(config: EmojiData, root: Path | None = None, *, workers: int | None = None) -> Path:
    """The folder ``data/<name>``, made on the first call: all of it or nothing.

    root: the project's folder. workers: processes; default all cores, for small sets one. The
    bytes do not depend on it. Errors: FetchError when the art cannot be had; ConfigError when a
    set of this name has other parameters, or a parameter does not fit the art; RuntimeError when
    a worker process dies.
    """
    render.check_main()
    data = (root or project.root()) / "data"
    folder = data / config.name
    if _whole(folder, config):
        return folder
    data.mkdir(parents=True, exist_ok=True)
    with FileLock(data / f".{config.name}.lock"):
        if _whole(folder, config):
            return folder
        _refuse_foreign(folder)
        beside = data / f".{config.name}.part"
        shutil.rmtree(beside, ignore_errors=True)
        (beside / "set").mkdir(parents=True)
        try:
            classes = _write(config, beside, data / ".npm", workers)
            _write_index(config, beside / "set", classes)
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(beside / "set", folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def choose_classes(config: EmojiData, nouns: list[str]) -> list[str]:
    """A random subset of the plain nouns, sorted, the target among them. Errors: ConfigError."""
    if config.target not in nouns:
        near = difflib.get_close_matches(config.target, nouns, n=3)
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ConfigError(f"emoji scenes: target={config.target!r}: no such emoji{hint}")
    if config.classes > len(nouns):
        raise ConfigError(
            f"emoji scenes: classes={config.classes}: expected at most {len(nouns)}, "
            "the plain nouns that every training style draws"
        )
    others = [name for name in nouns if name != config.target]
    order = generator(config.seed, "classes").permutation(len(others))
    return sorted([config.target, *(others[i] for i in order[: config.classes - 1])])


def _write(config: EmojiData, beside: Path, cache: Path, workers: int | None) -> list[str]:
    """Draw and write all splits into ``beside/set``. Returns: the classes."""
    icons = {style: art.load(style, cache) for style in art.STYLES}
    classes = choose_classes(config, art.nouns(icons))
    if sum(config.counts.values()) <= SMALL:
        workers = workers or 1
    with render.processes(workers) as each:
        sprites: dict[tuple[str, ...], Path] = {}
        for styles in dict.fromkeys(SPLITS.values()):
            sprites[styles] = beside / f"{styles[0]}.npz"
            render.draw_sprites(
                each, icons, styles, classes, side=config.side, file=sprites[styles]
            )
        plan = _plan(config, beside / "set", sprites)
        render.draw_shards(each, plan)
    for split in LABELLED:
        labelled.write_header(
            beside / "set" / split,
            classnames=[art.words(name) for name in classes],
            templates=labelled.openai_templates(),
            shards=sum(shard.split == split for shard in plan),
        )
    return classes


def _plan(
    config: EmojiData, folder: Path, sprites: dict[tuple[str, ...], Path]
) -> list[render.Shard]:
    """Which scenes go into which shard. sprites: file of the sprites of a split's styles."""
    return [
        render.Shard(
            folder=folder / split,
            sprites=sprites[SPLITS[split]],
            split=split,
            labelled=split in LABELLED,
            number=number,
            start=start,
            stop=min(start + SHARD_SIZE, count),
            side=config.side,
            seed=config.seed,
        )
        for split, count in config.counts.items()
        for number, start in enumerate(range(0, count, SHARD_SIZE))
    ]


def _write_index(config: EmojiData, folder: Path, classes: list[str]) -> None:
    """Write ``dataset.json``: parameters, counts, classes, where the art is from, hashes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    about = {
        "kind": "emoji scenes",
        "version": VERSION,
        "config": asdict(config),
        "counts": config.counts,
        "classes": classes,
        "styles": {split: list(styles) for split, styles in SPLITS.items()},
        "packages": {s.package: npm.PINNED[s.package] for s in art.STYLES.values()},
        "made_with": {name: version(name) for name in ("numpy", "pillow", "resvg_py")},
        "files": {path.relative_to(folder).as_posix(): _mark(path) for path in files},
    }
    text = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
    (folder / "dataset.json").write_text(text, "utf-8")


def _mark(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


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
    if about.get("kind") != "emoji scenes" or other:
        differs = ", ".join(f"{n} is {then.get(n)!r}, asked for {now.get(n)!r}" for n in other)
        raise ConfigError(
            f"{folder}: a data set of this name is there already, made with other parameters "
            f"({differs or 'not emoji scenes'}): choose another name, or remove that folder"
        )
    sizes = {name: mark["bytes"] for name, mark in about["files"].items()}
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in sizes.items()
    )


def read_index(folder: Path) -> dict[str, Any] | None:
    """What ``dataset.json`` says of a set; None where the set is not whole."""
    path = folder / "dataset.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def _refuse_foreign(folder: Path) -> None:
    """Only a half-built set may be replaced. Errors: ConfigError for a folder of other things."""
    ours = {*SPLITS, "dataset.json", "prepared"}
    if folder.is_dir() and (foreign := sorted({p.name for p in folder.iterdir()} - ours)):
        raise ConfigError(
            f"{folder}: not a set of emoji scenes (it has {', '.join(foreign[:5])}); it was left "
            "as it is: choose another name, or remove that folder"
        )
