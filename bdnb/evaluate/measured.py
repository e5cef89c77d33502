"""What was measured of a model once is not measured again: every run of a sweep has the same row 0.

In: a benchmark, a model. Out: the values of ``benchmark.measure(model)``, from a small file in the
folder of the run that measured these weights in the same way before, when there is one.
"""

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from bdnb.evaluate.benchmark import Benchmark
from bdnb.models import Model
from bdnb.runtime.files import write_atomic

FORMAT = 2
"""Version of what is measured: count on when ``Benchmark.measure`` gives other values."""

LOOKED_AT = 64
"""Images of a set whose pixels are compared; keys, labels and prompts are compared all."""


def measured(
    benchmark: Benchmark, model: Model, run: Path, *, device: str, measure: Callable
) -> dict[str, float]:
    """The values of a row: those that a run beside this one has, or else ``measure(model)``.

    run: folder of the run, which keeps what it measured. device: in words, precision included.
    Errors: StorageError; those of ``measure``.
    """
    name = f"measured_{mark(benchmark, model, device)}.json"
    if before := sorted(run.parent.glob(f"*/{name}")):
        return dict(json.loads(before[0].read_text("utf-8")))
    write_atomic(run / name, json.dumps(values := measure(model)))
    return dict(values)


def mark(benchmark: Benchmark, model: Model, device: str) -> str:
    """Twenty hexadecimal digits of all that the values depend on."""
    about = [FORMAT, torch.__version__, device, model.name, benchmark.target, benchmark.templates]
    about += [model.mean.flatten().tolist(), model.std.flatten().tolist()]
    about += ["small kernels"] * model.packed
    about += [(s.name, s.keys, s.labels.tolist(), s.classnames) for s in benchmark.sets]
    looked_at = [benchmark.triggered, benchmark.triggered_pairs]
    if (held := benchmark.held_out) is not None:
        about += [held.keys, held.captions, held.owner.tolist()]
        looked_at.append(np.asarray(held.images))
    digest = sha256(json.dumps(about).encode())  # in hardware on most processors
    seen = [images for images in looked_at if images is not None]
    for images in (*(s.images for s in benchmark.sets), *seen):
        digest.update(np.ascontiguousarray(images[:: max(1, len(images) // LOOKED_AT)]).data)
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy())
    return digest.hexdigest()[:20]
