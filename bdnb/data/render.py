"""Sprites and scenes drawn by several processes: the slow part of building the emoji scenes.

In: drawings, a seed and the number of scenes. Out: tar shards whose bytes do not depend on the
number of processes, since every scene has its own stream of random numbers.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from bdnb.data import art, shards
from bdnb.data.scenes import Sprites, png, scene
from bdnb.runtime import progress
from bdnb.runtime.seeds import generator

OVERSAMPLE = 2
"""Sprites are drawn at this many times the side, and scaled down in the scene."""

CHUNK = 20
"""Sprites that a process draws at a time."""

GUARD = (
    "A script that builds data does so under `if __name__ == '__main__':`, "
    "or asks for one process (workers=1)"
)

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]
"""``map``, or the same over several processes: results in the items' order."""


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


def cores() -> int:
    """Cores that this process may use; not more than there is work for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(allowed or 1, 8)


@contextmanager
def processes(workers: int | None) -> Iterator[Each]:
    """A ``map`` over processes; over none but this one where ``workers`` is 1.

    Errors: RuntimeError when they cannot start or one dies.
    """
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers or cores(), multiprocessing.get_context("spawn")) as pool:
        try:
            yield pool.map
        except BrokenProcessPool as error:
            raise RuntimeError(f"a process that draws scenes ended. {GUARD}") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def check_main() -> None:
    """Refuse to build while a worker imports the caller's script: it would wait for itself.

    Errors: RuntimeError.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise RuntimeError(f"this script is being imported by a process that it started. {GUARD}")


def draw_sprites(
    each: Each,
    icons: Mapping[str, art.Icons],
    styles: Sequence[str],
    classes: Sequence[str],
    *,
    side: int,
    file: Path,
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
        for sprites in each(_sprites, chunks):
            drawn.append(sprites)
            bar.update(len(sprites))
    pixels[there] = np.concatenate(drawn)
    np.savez(file, pixels=pixels, there=there, styles=np.array(styles), names=np.array(classes))


def _sprites(chunk: tuple[list[str], int]) -> np.ndarray:
    svgs, size = chunk
    return np.stack([art.sprite(svg, size) for svg in svgs])


@lru_cache(maxsize=2)
def read_sprites(file: Path) -> Sprites:
    """The sprites of a split, read once by each process."""
    with np.load(file) as saved:
        styles, names = tuple(map(str, saved["styles"])), tuple(map(str, saved["names"]))
        return Sprites(saved["pixels"], saved["there"], styles, names)


def draw_shards(each: Each, plan: Sequence[Shard]) -> None:
    """Draw and write every shard of a plan."""
    total = sum(shard.stop - shard.start for shard in plan)
    with progress.bar(total=total, desc="drawing: ", unit=" scenes", leave=False) as bar:
        for count in each(write_shard, plan):
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
