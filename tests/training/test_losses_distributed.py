"""Two gloo processes with half the batch each against one process with the whole of it."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, multiprocessing, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from bdnb import losses

WORLD, PAIRS = 2, 8


class Towers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.image, self.text = nn.Linear(5, 4), nn.Linear(6, 4)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        towers = (self.image, self.image, self.text, self.text)
        features = [F.normalize(t(x), dim=-1) for t, x in zip(towers, inputs, strict=True)]
        return *features, self.logit_scale.exp()


def batch() -> list[Tensor]:
    draws = torch.Generator().manual_seed(1)
    return [torch.randn(PAIRS, width, generator=draws) for width in (5, 5, 6, 6)]


def total(features: tuple[Tensor, ...]) -> Tensor:
    image, image_view, text, text_view, scale = features
    contrast = losses.mmcl(image, text, scale)
    pairwise = losses.siglip(image, text, scale, torch.tensor(-1.0))
    return contrast + losses.ssl(image, image_view, text, text_view, scale) + pairwise


def whole() -> tuple[Tensor, dict[str, Tensor]]:
    towers = Towers()
    loss = total(towers(*batch()))
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in towers.named_parameters()}


def work(rank: int, folder: Path, mode: str) -> None:
    torch.set_num_threads(1)
    start = f"file://{folder / 'init'}"
    dist.init_process_group("gloo", init_method=start, rank=rank, world_size=WORLD)
    towers = DistributedDataParallel(Towers())
    own = [x.chunk(WORLD)[rank] for x in batch()]
    *features, scale = towers(*own)
    gathered = tuple(losses.gather(f, mode=mode) for f in features)
    loss = total((*gathered, scale))
    loss.backward()
    grads = {name: p.grad for name, p in towers.module.named_parameters()}
    torch.save(
        {"loss": loss.detach(), "grads": grads, "rows": gathered[0].detach()}, folder / f"{rank}.pt"
    )
    dist.destroy_process_group()


def run(folder: Path, mode: str) -> list[dict]:
    multiprocessing.spawn(work, args=(folder, mode), nprocs=WORLD)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_exact_gathering_gives_loss_and_gradients_of_one_process_with_the_whole_batch(tmp_path):
    loss, grads = whole()
    with torch.no_grad():
        image = Towers()(*batch())[0]
    for rank in run(tmp_path, "exact"):
        torch.testing.assert_close(rank["loss"], loss, rtol=0, atol=1e-6)
        torch.testing.assert_close(rank["rows"], image, rtol=0, atol=1e-6)
        for name, grad in grads.items():
            torch.testing.assert_close(rank["grads"][name], grad, rtol=0, atol=1e-6)


def test_the_authors_gathering_gives_the_same_loss_but_an_encoder_gradient_of_one_nth(tmp_path):
    loss, grads = whole()
    for rank in run(tmp_path, "authors"):
        torch.testing.assert_close(rank["loss"], loss, rtol=0, atol=1e-6)
        for name, grad in grads.items():
            expected = grad if name == "logit_scale" else grad / WORLD
            torch.testing.assert_close(rank["grads"][name], expected, rtol=0, atol=1e-6)
            if name != "logit_scale":
                assert not torch.allclose(rank["grads"][name], grad, atol=1e-4)
