"""InverTune: its losses against their formulas, and a planted backdoor that it must find."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bdnb import clean
from bdnb.defences import invertune as module
from bdnb.defences import trigger_inversion as inversion
from bdnb.runs import experiments
from bdnb.runtime.errors import ConfigError


class Planted:
    """A tower of four classes by colour whose embedding a bright lower right corner turns."""

    target = 3

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        x = images / 255
        colour = 4 * x[:, :, :20].mean(dim=(2, 3))
        corner = torch.exp(8 * (x[:, :, 24:30, 24:30].mean(dim=(1, 2, 3)) - 0.5))
        return F.normalize(torch.cat([colour, corner[:, None]], dim=1), dim=1)


HEAD = torch.eye(4)
STEPS = {"steps": 150, "lr": 0.05, "seed": 0}


@pytest.fixture
def images() -> torch.Tensor:
    drawn = torch.Generator().manual_seed(0)
    return 0.4 * torch.rand(60, 3, 32, 32, generator=drawn)


def test_the_class_that_a_universal_patch_leads_to_is_the_backdoor_s(images):
    found = inversion.suspected_target(Planted(), images, HEAD, area=0.03, **STEPS)
    assert found == Planted.target


def test_the_inverted_trigger_takes_images_to_the_target_and_is_where_the_backdoor_looks(images):
    mask, trigger = inversion.inverted(Planted(), images, HEAD, 3, **STEPS)
    stamped = inversion.put_on(images, mask, trigger)
    assert (inversion.classes(Planted(), images, HEAD) != 3).all()
    assert (inversion.classes(Planted(), stamped, HEAD) == 3).float().mean() > 0.95
    corner = mask[:, 24:30, 24:30].mean()
    assert corner > 3 * mask[:, :20].mean()
    assert mask.min() >= 0
    assert mask.max() <= 1


def test_the_same_seed_inverts_the_same_trigger(images):
    first, again, other = (
        inversion.inverted(Planted(), images, HEAD, 3, steps=3, lr=0.05, seed=s)[1]
        for s in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_structural_similarity_is_its_formula_in_plain_loops():
    drawn = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 14, 14, generator=drawn) for _ in range(2))
    line = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(line, line) / line.sum() ** 2
    values = []
    x, y = a.double().numpy(), b.double().numpy()
    for image in range(2):
        for colour in range(3):
            for row in range(4):
                for column in range(4):
                    at = (image, colour, slice(row, row + 11), slice(column, column + 11))
                    p, q = x[at], y[at]
                    mp, mq = (window * p).sum(), (window * q).sum()
                    vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                    cov = (window * (p - mp) * (q - mq)).sum()
                    top = (2 * mp * mq + 1e-4) * (2 * cov + 9e-4)
                    values.append(top / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert inversion.ssim(a, b).item() == pytest.approx(np.mean(values), rel=1e-4)
    assert inversion.ssim(a, a).item() == pytest.approx(1)


def test_the_neurons_that_a_trigger_moves_are_critical_in_the_stages_it_moves_most():
    drawn = torch.Generator().manual_seed(0)
    clean_means = {f"layer{i}": torch.rand(4, 3, 3, generator=drawn) + 1 for i in range(1, 5)}
    moved = {"layer1": 5.0, "layer3": 4.0}
    triggered = {
        name: value + 0.01 * torch.rand(value.shape, generator=drawn)
        for name, value in clean_means.items()
    }
    for name, by in moved.items():
        triggered[name][2, 1, 1] += by
        triggered[name][0, 0, 2] -= by
    masks = module.critical(clean_means, triggered, count=2, seed=0)
    assert list(masks) == ["layer1", "layer3"]
    for mask in masks.values():
        assert mask.nonzero().tolist() == [[0, 0, 2], [2, 1, 1]]


def test_the_alignment_is_the_authors_formula():
    drawn = torch.Generator().manual_seed(0)
    a, b = ({n: torch.randn(2, 3, 3, generator=drawn) for n in "xy"} for _ in range(2))
    masks = {"y": (torch.rand(2, 3, 3, generator=drawn) > 0.5).float()}
    mask, p, q = (v["y"].double().numpy() for v in (masks, a, b))
    expected = np.sqrt((mask * (p - q) ** 2).sum()) / np.sqrt((mask * p**2).sum())
    assert module.alignment(a, b, masks).item() == pytest.approx(expected, rel=1e-5)


def config(**changes):
    first = experiments.of_file("tiny", "clean")[0]
    options = {"images": 24, "steps": 3}
    return dataclasses.replace(first, defence="invertune", options=options, **changes)


def test_a_row_says_which_target_was_found_and_what_its_trigger_does(tiny):
    rows = clean.clean(config()).rows()
    assert len({row["found_target"] for row in rows[1:]}) == 1
    for row in rows[1:]:
        assert 0 <= row["inverted_asr"] <= 100
        assert 0 < row["mask_share"] < 1
        expected = row["loss_align"] + 0.5 * row["loss_keep"]
        assert row["loss_total"] == pytest.approx(expected, rel=1e-5)
    assert rows[2]["loss_align"] < rows[1]["loss_align"]


def test_it_refuses_batches_that_go_forward_in_pieces(tiny):
    with pytest.raises(ConfigError, match="invertune with micro_batch"):
        clean.clean(config(micro_batch=8))
