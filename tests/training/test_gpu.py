"""On a GPU a step is the CPU's, and a run ends as one should."""

import math

import pytest
import torch

from bdnb import losses, models
from bdnb.models.pointwise import PointwiseConv2d
from bdnb.runs import experiments
from bdnb.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def loss_and_gradients(device, *, bf16=False):
    model = models.build("rn_test", seed=0).to(device).train()
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, model.side, model.side), generator=drawn)
    tokens = model.tokens([f"a photo of {'very ' * (i % 5)}big bananas" for i in range(16)])
    with torch.autocast(device, torch.bfloat16, enabled=bf16):
        image, text, scale, _ = model(images.to(torch.uint8).to(device), tokens.to(device))
        loss = losses.mmcl(image, text, scale)
    loss.backward()
    return loss.item(), {name: p.grad.cpu() for name, p in model.named_parameters() if p.ndim > 1}


def test_in_float32_loss_and_gradients_are_the_cpu_s(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    (loss, found), (expected, wanted) = loss_and_gradients("cuda"), loss_and_gradients("cpu")
    assert loss == pytest.approx(expected, rel=1e-4)
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-2 * gradient.norm() + 1e-6, name


def test_in_bf16_the_loss_is_within_a_hundredth():
    assert loss_and_gradients("cuda", bf16=True)[0] == pytest.approx(
        loss_and_gradients("cpu")[0], rel=1e-2
    )


def test_a_run_ends_with_finite_losses_and_says_the_card(fresh):
    run = train(experiments.trained("tiny", "train_mmcl", 0))
    assert torch.cuda.get_device_name() in run.manifest["device"]
    assert all(math.isfinite(row["loss_total"]) for row in run.rows()[1:])


def test_kernels_for_a_cpu_are_not_taken_on_a_gpu():
    model = models.build("rn_test", seed=0).cuda()
    model.lay_out(kernels="small")
    assert not model.packed
    assert not any(isinstance(module, PointwiseConv2d) for module in model.modules())
