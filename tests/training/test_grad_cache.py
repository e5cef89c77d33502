"""Cached features: the gradient of the whole batch from pieces of it."""

import pytest
import torch
from torch import nn

from bdnb import models
from bdnb.data.batches import Batch
from bdnb.training import device, grad_cache
from bdnb.training.loop import Compute, Loop
from bdnb.training.objectives import make as objective
from bdnb.training.optimiser import Optimiser


def batch(pairs: int, *, views: int = 1) -> Batch:
    draws = torch.Generator().manual_seed(1)
    rows = pairs * views
    images = torch.randint(0, 256, (rows, 3, 32, 32), generator=draws, dtype=torch.uint8)
    words = [f"a photo of {chr(97 + i)}" for i in range(rows)]
    return Batch(images, models.build("vit_tiny32", seed=0).tokens(words), torch.arange(pairs))


def gradients(name: str, given: Batch, *, model: str, micro_batch: int) -> dict[str, torch.Tensor]:
    built = models.build(model, seed=0, bias=name == "siglip").double()
    loop = Loop(
        built,
        device.accelerator(precision="no"),
        optimiser=Optimiser(lr=1e-3),
        compute=Compute(micro_batch=micro_batch),
        epochs=1,
        epoch_steps=10,
    )
    built.train()
    parts = loop._backward(given, objective(name))
    grads = {n: p.grad for n, p in built.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    return grads | {"loss": parts["loss_total"].detach()}


@pytest.mark.parametrize("micro_batch", [2, 5, 64])
@pytest.mark.parametrize("name", ["mmcl", "mmcl_ssl", "siglip"])
def test_gradients_equal_those_of_the_whole_batch(name, micro_batch):
    given = batch(7, views=2 if "ssl" in name else 1)
    whole = gradients(name, given, model="vit_tiny32", micro_batch=0)
    pieces = gradients(name, given, model="vit_tiny32", micro_batch=micro_batch)
    assert whole.keys() == pieces.keys()
    for key, grad in whole.items():
        torch.testing.assert_close(pieces[key], grad, rtol=1e-4, atol=1e-6, msg=key)


def test_plain_accumulation_would_be_another_gradient():
    """What cached features are for: a mean of the pieces' own losses compares fewer pairs."""
    given = batch(8)
    whole = gradients("mmcl", given, model="vit_tiny32", micro_batch=0)
    halves = [
        gradients(
            "mmcl", Batch(*(x[i : i + 4] for x in given[:3])), model="vit_tiny32", micro_batch=0
        )
        for i in (0, 4)
    ]
    key = "clip.visual.conv1.weight"
    mean = (halves[0][key] + halves[1][key]) / 2
    assert (mean - whole[key]).norm() > 0.05 * whole[key].norm()


class Normed(nn.Module):
    """A model of one BatchNorm, as ``backward`` calls one."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, rows, _):
        rows = self.norm(rows)
        return rows, rows, torch.tensor(1.0), torch.tensor(0.0)


def test_batch_norm_sees_a_piece_at_a_time_and_tracks_each_once():
    model, expected = Normed().train(), nn.BatchNorm1d(3).train()
    rows = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    seen = []

    def loss(image, *_):
        seen.append(image.detach())
        return {"loss_total": image.sum()}

    handle = device.accelerator(precision="no")
    grad_cache.backward(model, rows, rows, loss, count=2, accelerator=handle)
    pieces = torch.cat([expected(half) for half in rows.chunk(2)])
    assert torch.equal(seen[0], pieces)
    assert torch.equal(model.norm.running_mean, expected.running_mean)
    assert torch.equal(model.norm.running_var, expected.running_var)


def test_pieces_with_the_same_statistics_give_a_resnet_s_gradient_of_the_whole_batch():
    half = batch(4)
    given = Batch(half.images.repeat(2, 1, 1, 1), half.tokens.repeat(2, 1), torch.arange(8))
    whole = gradients("mmcl", given, model="rn_test", micro_batch=0)
    pieces = gradients("mmcl", given, model="rn_test", micro_batch=4)
    for key in ("loss", "clip.visual.layer1.0.conv1.weight"):
        torch.testing.assert_close(pieces[key], whole[key], rtol=1e-3, atol=1e-6, msg=key)


@pytest.mark.parametrize(
    ("pairs", "views", "sizes", "most", "count"),
    [
        (8, 1, (), 4, 2),
        (8, 2, (), 4, 4),
        (9, 1, (), 4, 3),
        (8, 1, (9, 8), 4, 3),
        (1, 1, (2, 1), 1, 1),
    ],
)
def test_every_process_cuts_its_share_into_as_many_pieces(pairs, views, sizes, most, count):
    images = torch.zeros(pairs * views, 1)
    assert grad_cache.pieces(Batch(images, images, torch.arange(pairs), sizes), most) == count
