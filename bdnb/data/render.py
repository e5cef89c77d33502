"""Sprites and scenes drawn by several processes: the slow part of building the emoji scenes.

In: drawings, a seed and the number of scenes. Out: tar shards whose bytes do not depend on the
number of processes, since every scene has its own stream of random numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from bdnb.data import art, shards
from bdnb.data.scenes import Sprites, png, scene
from bdnb.data.shards import SHARD_SIZE
from bdnb.runtime import progress
from bdnb.runtime.parallel import parallel
from bdnb.runtime.seeds import generator

OVERSAMPLE = 2
"""Sprites are drawn at this many times the side, and scaled down in the scene."""

CHUNK = 20
"""Sprites that a process draws at a time."""


@dataclass(frozen=True)
class Split:
    """The scenes of a split; its tars hold ``SHARD_SIZE`` of them each.

    folder: its own, named for it. sprites: file of its sprites. labelled: with labels, of equal
    numbers of each class, in place of captions. side: of the images, in pixels.
    """

    folder: Path
    sprites: Path
    labelled: bool
    count: int
    side: int
    seed: int


def draw_sprites(
    icons: Mapping[str, art.Icons],
    styles: Sequence[str],
    classes: Sequence[str],
    *,
    side: int,
    file: Path,
    workers: int,
) -> None:
    """Draw every class in every style and save them as one file, read by ``read_sprites``."""
    size = OVERSAMPLE * side
    there = np.array([[name in icons[style].svg for name in classes] for style in styles])
    wanted = [(style, name) for style in styles for name in classes if name in icons[style].svg]
    svgs = [icons[style].svg[name] for style, name in wanted]
    chunks = [(svgs[start : start + CHUNK], size) for start in range(0, len(svgs), CHUNK)]
    pixels = np.zeros((*there.shape, size, size, 4), dtype=np.uint8)
    with progress.bar(total=len(svgs), desc="drawing: ", unit=" emoji", leave=False) as bar:
        drawn = []
        for sprites in parallel(_sprites, chunks, workers):
            drawn.append(sprites)
            bar.update(len(sprites))
    pixels[there] = np.concatenate(drawn)
    np.savez(file, pixels=pixels, there=there, styles=np.array(styles), names=np.array(classes))


def _sprites(chunk: tuple[list[str], int]) -> np.ndarray:
    svgs, size = chunk
    return np.stack([art.sprite(svg, size) for svg in svgs])


@lru_cache(maxsize=2)
def read_sprites(file: Path) -> Sprites:
    """Return the sprites of a split, read once by each process."""
    with np.load(file) as saved:
        styles, names = tuple(map(str, saved["styles"])), tuple(map(str, saved["names"]))
        return Sprites(saved["pixels"], saved["there"], styles, names)


def draw_shards(splits: Sequence[Split], workers: int) -> None:
    """Draw and write every shard of some splits."""
    plan = [(split, start) for split in splits for start in range(0, split.count, SHARD_SIZE)]
    total = sum(split.count for split in splits)
    with progress.bar(total=total, desc="drawing: ", unit=" scenes", leave=False) as bar:
        for count in parallel(_write_shard, plan, workers):
            bar.update(count)


def _write_shard(shard: tuple[Split, int]) -> int:
    """Draw and write a split's scenes from the one given on. Returns: their number."""
    split, start = shard
    number, stop = start // SHARD_SIZE, min(start + SHARD_SIZE, split.count)
    samples = (_sample(split, index) for index in range(start, stop))
    if split.labelled:
        return shards.write_tar(split.folder / "test" / f"{number}.tar", samples)
    return shards.write_pair_shard(split.folder, number, samples)


def _sample(split: Split, index: int) -> shards.Sample:
    """Scene ``index`` of a split, the same whichever shard and process it is drawn in."""
    sprites, name = read_sprites(split.sprites), split.folder.name
    draws = generator(split.seed, "scene", name, index)
    label = index % len(sprites.names) if split.labelled else None
    drawn = scene(draws, sprites, side=split.side, label=label)
    key, image = f"{name}{index:07d}", png(drawn.image)
    if split.labelled:
        return {"__key__": key, "cls": drawn.label, "png": image}
    about = {"url": f"emoji:{drawn.style}/{sprites.names[drawn.label]}", "label": drawn.label}
    about |= {"style": drawn.style, "second": drawn.second}
    return shards.pair(key, image, drawn.caption, side=split.side, **about)
