"""Two gloo processes with half of a batch's pairs each against one process with all of them."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing
from torch.nn import functional as F

from bdnb.data.batches import Batch
from bdnb.training import objectives
from bdnb.training.loop import Features

WORLD, PAIRS, STEPS = 2, 8, 3
SAFE = torch.tensor([True, False, True, True, False, False, True, False])


def steps(name: str, rank: int = 0, world: int = 1) -> tuple[list[float], dict[str, Tensor]]:
    """The losses of a few steps, and what the objective keeps."""
    loss, kept, values = objectives.make(name), {"kinds": SAFE}, []
    for step in range(STEPS):
        draws = torch.Generator().manual_seed(step)
        both = [F.normalize(torch.randn(2, PAIRS, 5, generator=draws), dim=-1) for _ in range(2)]
        image, text = (x.tensor_split(world, dim=1)[rank].reshape(-1, 5) for x in both)
        places = torch.arange(PAIRS).tensor_split(world)[rank]
        given = Features(image, text, torch.tensor(7.0), torch.tensor(0.0), kept, step + 1)
        values.append(loss(given, Batch(image, text, places))["loss_total"].item())
    return values, kept


def work(rank: int, folder: Path, name: str) -> None:
    torch.set_num_threads(1)
    start = f"file://{folder / 'init'}"
    dist.init_process_group("gloo", init_method=start, rank=rank, world_size=WORLD)
    torch.save(steps(name, rank, WORLD), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.parametrize("name", ["roclip", "safeclip", "mmcl_barlow"])
def test_what_an_objective_computes_and_keeps_does_not_depend_on_the_processes(tmp_path, name):
    multiprocessing.start_processes(work, args=(tmp_path, name), nprocs=WORLD, start_method="fork")
    losses, kept = steps(name)
    for rank in range(WORLD):
        found, theirs = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert found == pytest.approx(losses, rel=1e-5)
        assert theirs.keys() == kept.keys()
        assert all(torch.equal(theirs[key], kept[key]) for key in kept)
