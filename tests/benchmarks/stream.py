"""Does memory grow with the data set? ``python -m tests.benchmarks.stream 10000 200000``.

Writes shards of that many small pairs, indexes them and goes through one epoch of them, each size
in a process of its own; prints seconds and the peak of its memory and of its largest worker's.
"""

import argparse
import io
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

SIDE, BATCH, SHARD = 32, 256, 5000


def write(folder: Path, count: int) -> None:
    """``count`` pairs of a noisy JPEG, one of 64, and a caption of its own."""
    from PIL import Image

    from bdnb.runtime.seeds import generator
    from tests.data import shard_files

    pictures = []
    for i in range(64):
        noise = generator(0, "noise", i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(noise).save(buffer := io.BytesIO(), "JPEG", quality=60)
        pictures.append(buffer.getvalue())
    samples = (
        {"__key__": f"{i:09d}", "jpg": pictures[i % 64], "txt": f"a picture of noise, number {i}"}
        for i in range(count)
    )
    shard_files.write_pairs(folder, samples, shard_size=SHARD)


def memory(kind: str) -> float:
    """This process's memory in MB, by the kernel's books: ``VmRSS`` now, ``VmHWM`` its peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{kind}:"))


def measure(folder: Path, workers: int) -> dict[str, Any]:
    """Index the shards in ``folder/train`` and go through an epoch of them, poison and views on."""
    import torch

    from bdnb.data import datasets
    from bdnb.data.augment.eda import TextViews
    from bdnb.data.augment.second_views import ImageViews
    from bdnb.data.batches import Batches
    from bdnb.training import attacks

    def tokens(captions: Sequence[str]) -> torch.Tensor:
        return torch.tensor([len(caption) for caption in captions])

    Path("/proc/self/clear_refs").write_text("5")  # what importing torch took is no peak of ours
    before, begun = memory("VmRSS"), time.perf_counter()
    pairs = datasets.Dataset(folder, stream="yes").training_pairs(SIDE, seed=0)
    indexed = time.perf_counter()
    poison = attacks.poison(attacks.Attack(poison_count=100), pairs, folder=folder)
    batches = Batches(
        pairs,
        workers=workers,
        batch_size=BATCH,
        seed=0,
        tokens=tokens,
        poison=poison,
        image_views=ImageViews(0),
        text_views=TextViews(0),
    )
    seen = np.zeros(len(pairs), dtype=np.uint8)
    for batch in batches.epoch(1):
        seen[batch.places.numpy()] += 1
    seconds = {"index_s": indexed - begun, "epoch_s": time.perf_counter() - indexed}
    once = bool((seen == 1).all())
    worker = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    peaks = {"start_mb": before, "main_mb": memory("VmHWM"), "worker_mb": worker}
    return {"pairs": len(pairs), "once": once} | seconds | peaks


def grown(count: int, *, workers: int) -> dict[str, Any]:
    """What ``measure`` finds for a set of ``count`` pairs, in a fresh process."""
    with tempfile.TemporaryDirectory() as name:
        write(Path(name) / "train", count)
        command = [sys.executable, "-m", "tests.benchmarks.stream", "--folder", name]
        done = subprocess.run(
            [*command, "--workers", str(workers)],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path(__file__).parents[2],
        )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """A line a size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", type=int, nargs="*", default=[10_000, 200_000])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="measure a set that is there, and no other")
    given = parser.parse_args()
    if given.folder:
        print(json.dumps(measure(given.folder, given.workers)))
        return
    for count in given.pairs:
        found = grown(count, workers=given.workers)
        print(", ".join(f"{name} {value:.6g}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
