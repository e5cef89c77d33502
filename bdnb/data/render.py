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
from bdnb.runtime import progress
from bdnb.runtime.parallel import parallel
from bdnb.runtime.seeds import generator

OVERSAMPLE = 2
"""Sprites are drawn at this many times the side, and scaled down in the scene."""

CHUNK = 20
"""Sprites that a process draws at a time."""


@dataclass(frozen=True)
class Shard:
    """One tar of scenes ``start`` to ``stop`` of a split.

    folder: the split's. sprites: file of the split's sprites. labelled: with labels, of equal
    numbers of each class, in place of captions. side: of the images, in pixels.
    """

    folder: Path
    sprites: Path
    split: str
    labelled: bool
    number: int
    start: int
    stop: int
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


def draw_shards(plan: Sequence[Shard], workers: int) -> None:
    """Draw and write every shard of a plan."""
    total = sum(shard.stop - shard.start for shard in plan)
    with progress.bar(total=total, desc="drawing: ", unit=" scenes", leave=False) as bar:
        for count in parallel(write_shard, plan, workers):
            bar.update(count)


def write_shard(shard: Shard) -> int:
    """Draw and write one shard. Returns: the number of scenes."""
    samples = (_sample(shard, index) for index in range(shard.start, shard.stop))
    if shard.labelled:
        return shards.write_tar(shard.folder / "test" / f"{shard.number}.tar", samples)
    return shards.write_pair_shard(shard.folder, shard.number, samples)


def _sample(shard: Shard, index: int) -> shards.Sample:
    """Scene ``index`` of a split, the same whichever shard and process it is drawn in."""
    sprites = read_sprites(shard.sprites)
    draws = generator(shard.seed, "scene", shard.split, index)
    label = index % len(sprites.names) if shard.labelled else None
    drawn = scene(draws, sprites, side=shard.side, label=label)
    key, image = f"{shard.split}{index:07d}", png(drawn.image)
    if shard.labelled:
        return {"__key__": key, "cls": drawn.label, "png": image}
    about = {"url": f"emoji:{drawn.style}/{sprites.names[drawn.label]}", "label": drawn.label}
    about |= {"style": drawn.style, "second": drawn.second}
    return shards.pair(key, image, drawn.caption, side=shard.side, **about)
