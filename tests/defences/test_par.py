"""PAR against its formula in plain loops, and the laws it is built on."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch.nn import functional as F

from bdnb import models
from bdnb.data.batches import Batch
from bdnb.defences import par as module
from bdnb.runtime import seeds
from bdnb.training.loop import Features
from bdnb.training.objectives import make as objective

N, D = 6, 5


@pytest.fixture
def captured(monkeypatch):
    """The loss that ``par`` descends, and the model that it began with."""
    found = {}
    monkeypatch.setattr(module, "start", lambda *given, **named: SimpleNamespace())
    monkeypatch.setattr(
        module, "run_fit", lambda _, pairs, __, loss: found.update(pairs=pairs, loss=loss) or []
    )
    model = models.build("rn_test", seed=0).eval()
    loss = objective("mmcl", mmcl_weight=1.0, ssl_weight=1.0, gather="exact")
    AcceleratorState._reset_state()  # the precision of a run that another test made
    plain = Accelerator(cpu=True, mixed_precision="no")
    setting = SimpleNamespace(accelerator=plain, loss=loss, seed=0)

    def of(**options):
        model.train()  # as it comes; the copy is in evaluation mode all the same
        list(module.par(model, [], setting, **options))
        of.pairs = found["pairs"]
        return found["loss"], model.eval()

    return of


def batch(model) -> Batch:
    images = torch.randint(
        0, 256, (N, 3, 32, 32), dtype=torch.uint8, generator=torch.manual_seed(1)
    )
    return Batch(images, model.tokens([f"a photo of {i} cats" for i in range(N)]), torch.arange(N))


def unit(seed: int, width: int) -> torch.Tensor:
    drawn = torch.randn(N, width, generator=torch.manual_seed(seed))
    return F.normalize(drawn, dim=1).requires_grad_()


def by_hand(image, text, frozen_image, frozen_text, scale, tau, weight) -> float:
    """PAR's loss from the paper's formula, one pair at a time in double precision."""
    logits = [[scale * float(np.dot(a, b)) for b in text] for a in image]
    rows = [math.log(sum(math.exp(x) for x in row)) - row[i] for i, row in enumerate(logits)]
    columns = list(zip(*logits, strict=True))
    cols = [math.log(sum(math.exp(x) for x in col)) - col[i] for i, col in enumerate(columns)]
    mmcl = (sum(rows) + sum(cols)) / (2 * N)
    away = [
        sum(float(np.sum((a - b) ** 2)) for a, b in zip(new, old, strict=True)) / N
        for new, old in ((image, frozen_image), (text, frozen_text))
    ]
    return mmcl - weight * sum(one for one in away if one <= tau)


@pytest.mark.parametrize("tau", [0.5, 1.9, 2.15, 4.0])
def test_the_loss_is_the_paper_s_formula(captured, tau):
    loss, model = captured(tau=tau)
    given = batch(model)._replace(sizes=(N, 2))  # another process has fewer: these count for more
    with torch.no_grad():
        frozen_image, frozen_text, *_ = model(given.images, given.tokens)
    image, text = unit(2, frozen_image.shape[1]), unit(3, frozen_image.shape[1])
    scale = torch.tensor(7.0, requires_grad=True)
    parts = loss(Features(image, text, scale, torch.tensor(0.0)), given)
    arrays = [x.detach().double().numpy() for x in (image, text, frozen_image, frozen_text)]
    expected = by_hand(*arrays, 7.0, tau, 0.5 * 2 * N / (N + 2))
    assert parts["loss_total"].item() == pytest.approx(expected, rel=1e-5)
    parts["loss_total"].backward()
    assert scale.grad == 0


def test_beyond_tau_nothing_is_pushed(captured):
    loss, model = captured(tau=0.0)
    given = batch(model)
    width = model(given.images, given.tokens)[0].shape[1]
    image, text = unit(2, width), unit(3, width)
    parts = loss(Features(image, text, torch.tensor(7.0), torch.tensor(0.0)), given)
    assert torch.equal(parts["loss_total"], parts["loss_mmcl"])


def test_the_copy_stays_as_it_was_when_the_model_moves_on(captured):
    loss, model = captured()
    given = batch(model)
    with torch.no_grad():
        image, text, scale, bias = model(given.images, given.tokens)
        for parameter in model.parameters():
            parameter.add_(1.0)
    parts = loss(Features(image, text, scale, bias), given)
    assert parts["loss_away_image"].item() == pytest.approx(0, abs=1e-6)
    assert parts["loss_away_text"].item() == pytest.approx(0, abs=1e-6)


def test_what_is_not_asked_for_is_as_in_the_paper_and_squares_have_the_mean_colour(captured):
    assert module.par.__kwdefaults__ == {"tau": 2.15, "weight": 0.5, "noise": 0.0, "erase": 0.0}
    _, model = captured()
    assert captured.pairs == []
    captured(erase=0.5)
    assert captured.pairs.colour.tolist() == model.mean.flatten().round().tolist()


def augmented(**changes) -> module.Augmented:
    keys = [f"{i:09}" for i in range(400)]
    pairs = SimpleNamespace(pairs=SimpleNamespace(keys=keys))
    given = {"noise": 0.0, "erase": 0.0, "colour": torch.tensor([1, 2, 3], dtype=torch.uint8)}
    return module.Augmented(pairs, **(given | {"seed": 0} | changes))


GREY = torch.full((3, 32, 32), 100, dtype=torch.uint8)


def test_noise_only_brightens_and_falls_on_half_of_the_images():
    made = [augmented(noise=0.2).one(GREY, 1, str(key)) for key in range(400)]
    changed = [x for x in made if not torch.equal(x, GREY)]
    assert all((x >= GREY).all() for x in made)
    assert len(changed) / len(made) == pytest.approx(0.5, abs=0.1)
    brighter = torch.stack(changed).float() - 100
    # Normal noise of 51 grey levels cut at 0: its mean is 51 / sqrt(2 pi), and half of it is 0.
    assert brighter.mean().item() == pytest.approx(51 / math.sqrt(2 * math.pi), rel=0.02)
    assert (brighter == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)


def test_an_erased_square_has_the_colour_and_about_the_area_asked_for():
    made = [augmented(erase=0.3).one(GREY, 1, str(key)) for key in range(400)]
    changed = [x for x in made if not torch.equal(x, GREY)]
    assert len(changed) / len(made) == pytest.approx(0.3, abs=0.1)
    anywhere = torch.stack([(x != GREY).any(dim=0) for x in changed]).any(dim=0)
    assert anywhere[[0, -1]].any(dim=1).all()
    assert anywhere[:, [0, -1]].any(dim=0).all()
    for image in changed:
        where = (image != GREY).any(dim=0).nonzero()
        (top, left), (bottom, right) = where.amin(dim=0), where.amax(dim=0)
        side = int(bottom - top) + 1
        assert side == int(right - left) + 1
        assert side in (2, 3)
        assert len(where) == side**2
        assert image[:, top, left].tolist() == [1, 2, 3]


def test_an_epoch_goes_on_where_it_is_asked_to_and_second_views_stay():
    asked = []

    def epoch(number, first, kinds):
        asked.append((number, first, kinds))
        yield Batch(torch.stack([GREY] * 4), torch.zeros(4, 1), torch.tensor([7, 3]))

    many = augmented(noise=0.2, erase=1.0)
    many.batches.epoch = epoch
    (made,) = many.epoch(2, first=5, kinds="k")
    assert asked == [(2, 5, "k")]
    own = [many.one(GREY, 2, many.batches.pairs.keys[place]) for place in (7, 3)]
    assert torch.equal(made.images, torch.stack([*own, GREY, GREY]))


def test_what_an_image_gets_depends_on_seed_epoch_and_key_alone():
    both = {"noise": 0.2, "erase": 1.0}
    first = augmented(**both).one(GREY, 1, "a")
    assert torch.equal(first, augmented(**both).one(GREY, 1, "a"))
    others = [augmented(**both).one(GREY, 2, "a"), augmented(**both).one(GREY, 1, "b")]
    others.append(augmented(**both, seed=1).one(GREY, 1, "a"))
    assert not any(torch.equal(first, x) for x in others)
    _, _, area, *corner = seeds.generator(0, "par", 1, "a").random(5)
    side = round(32 * (0.005 + 0.005 * area) ** 0.5)
    left, top = (int(at * (32 - side + 1)) for at in corner)
    assert first[:, top : top + side, left : left + side].flatten(1).unique(dim=1).T.tolist() == [
        [1, 2, 3]
    ]
