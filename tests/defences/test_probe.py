"""The gradient probe: against torch's own backward pass, and that it leaves the model alone."""

from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from bdnb import models
from bdnb.data.batches import Batch
from bdnb.defences.probe import by_tower, probe
from bdnb.training.loop import Features
from bdnb.training.objectives import make as objective

N = 6


class Pairs:
    """Batches with second views , each of them drawn."""

    def __init__(self, model, *, count: int) -> None:
        draws = torch.Generator().manual_seed(1)
        self.made = []
        for number in range(count):
            images = torch.randint(0, 256, (2 * N, 3, 32, 32), dtype=torch.uint8, generator=draws)
            words = [f"a photo of {number} {i} cats" for i in range(2 * N)]
            self.made.append(Batch(images, model.tokens(words), torch.arange(N)))

    def epoch(self, number):
        return iter(self.made)


@pytest.fixture
def setting():
    AcceleratorState._reset_state()
    plain = Accelerator(cpu=True, mixed_precision="no")
    return SimpleNamespace(accelerator=plain, loss=objective("mmcl_ssl"))


def test_norms_are_those_of_a_backward_pass(setting):
    model = models.build("rn_test", seed=0)
    pairs = Pairs(model, count=1)
    (epoch,) = probe(model, pairs, setting, batches=1)
    model.train()
    parts = setting.loss(
        Features(*model(pairs.made[0].images, pairs.made[0].tokens)), pairs.made[0]
    )
    parts["loss_total"].backward()
    for tower, weights in by_tower(model).items():
        norm = sum(w.grad.square().sum().item() for w in weights) ** 0.5
        assert epoch.stats[f"grad_total_{tower}"] == pytest.approx(norm, rel=1e-4)
        assert epoch.stats[f"pull_total_{tower}"] == pytest.approx(norm, rel=1e-4)
    assert epoch.stats["loss_ssl"] == pytest.approx(parts["loss_ssl"].item(), rel=1e-5)


def test_the_model_is_left_as_it_came(setting):
    model = models.build("rn_test", seed=0).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (epoch,) = probe(model, Pairs(model, count=3), setting, batches=2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.training
    assert epoch.model is model
    assert all(weight.grad is None for weight in model.parameters())


def test_the_mean_gradient_is_at_most_the_mean_norm(setting):
    model = models.build("rn_test", seed=0)
    (epoch,) = probe(model, Pairs(model, count=4), setting, batches=4)
    for name, norm in epoch.stats.items():
        if name.startswith("grad_"):
            assert 0 < epoch.stats[name.replace("grad", "pull")] <= norm * (1 + 1e-5)
    assert -1 <= epoch.stats["pull_cosine_image"] <= 1


def test_every_trained_weight_belongs_to_one_tower():
    model = models.build("rn_test", seed=0)
    towers = by_tower(model)
    rest = {n for n, _ in model.clip.named_parameters() if n.startswith("logit_")}
    assert len(towers["image"]) + len(towers["text"]) + len(rest) == len(
        list(model.clip.named_parameters())
    )
    assert any(w is model.clip.token_embedding.weight for w in towers["text"])
