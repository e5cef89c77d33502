import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor
from torch.nn import functional as F

from bdnb import losses
from bdnb.runtime.errors import ConfigError

SCALE = torch.tensor(1 / 0.07)


def unit(seed: int, rows: int = 6, width: int = 5, dtype: torch.dtype = torch.float32) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=draws, dtype=dtype), dim=-1)


def slow_info_nce(queries: Tensor, keys: Tensor, tau: float) -> float:
    """-1/|D| sum_j log[exp<q_j, k_j>/tau / sum_k exp<q_j, k_k>/tau], as the paper writes it."""
    total = 0.0
    for j in range(len(queries)):
        scores = [math.exp(float(queries[j] @ keys[k]) / tau) for k in range(len(keys))]
        total += math.log(scores[j] / sum(scores))
    return -total / len(queries)


def test_mmcl_is_equation_1():
    image, text = unit(0), unit(1)
    expected = (slow_info_nce(image, text, 0.07) + slow_info_nce(text, image, 0.07)) / 2
    assert losses.mmcl(image, text, SCALE).item() == pytest.approx(expected, rel=1e-5)


def test_ssl_is_equation_2_original_to_augmented_inside_each_modality():
    image, image_view, text, text_view = (unit(seed) for seed in range(4))
    image_term = slow_info_nce(image, image_view, 0.07)
    expected = (image_term + slow_info_nce(text, text_view, 0.07)) / 2
    found = losses.ssl(image, image_view, text, text_view, SCALE)
    assert found.item() == pytest.approx(expected, rel=1e-5)
    turned = losses.ssl(image_view, image, text_view, text, SCALE)
    assert turned.item() != pytest.approx(expected, rel=1e-3)


def test_mmcl_equals_open_clips_loss_and_gradients():
    ours, theirs = ([unit(s).requires_grad_() for s in (0, 1)] for _ in range(2))
    loss = losses.mmcl(*ours, SCALE)
    expected = ClipLoss()(*theirs, SCALE)
    torch.testing.assert_close(loss, expected)
    for a, b in zip(
        torch.autograd.grad(loss, ours), torch.autograd.grad(expected, theirs), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_siglip_equals_open_clips_loss_and_a_loop():
    image, text, bias = unit(0), unit(1), torch.tensor(-10.0)
    found = losses.siglip(image, text, SCALE, bias)
    torch.testing.assert_close(found, SigLipLoss()(image, text, SCALE, bias))
    total = 0.0
    for i in range(6):
        for j in range(6):
            logit = float(SCALE * (image[i] @ text[j]) + bias)
            total += math.log1p(math.exp(-logit if i == j else logit))
    assert found.item() == pytest.approx(total / 6, rel=1e-5)


def test_barlow_twins_is_the_paper_s_equation_1_a_dimension():
    a, b, width = unit(0), unit(1), 5
    total = 0.0
    for i in range(width):
        for j in range(width):
            x, y = (v[:, k].double() - v[:, k].double().mean() for v, k in ((a, i), (b, j)))
            c = float((x * y).sum() / (x.square().sum().sqrt() * y.square().sum().sqrt()))
            total += (1 - c) ** 2 if i == j else 5e-3 * c**2
    assert losses.barlow_twins(a, b).item() == pytest.approx(total / width, rel=1e-3)


def test_barlow_twins_of_equal_views_asks_dimensions_apart_and_nothing_else():
    apart = torch.linalg.qr(torch.randn(8, 4, generator=torch.manual_seed(0)))[0]
    apart = torch.linalg.qr(apart - apart.mean(dim=0))[0]
    assert losses.barlow_twins(apart, apart).item() == pytest.approx(0, abs=1e-6)
    same = apart[:, :1].expand(-1, 4)
    assert losses.barlow_twins(same, same).item() == pytest.approx(5e-3 * 3, rel=1e-3)


def test_deep_cluster_is_equation_3():
    logits, labels = torch.randn(4, 3, generator=torch.manual_seed(0)), torch.tensor([0, 2, 1, 2])
    expected = 0.0
    for row, label in zip(logits, labels, strict=True):
        expected -= math.log(math.exp(row[label]) / sum(math.exp(value) for value in row))
    assert losses.deep_cluster(logits, labels).item() == pytest.approx(expected / 4, rel=1e-5)


def test_l2_penalty_is_the_sum_of_squares_of_every_weight():
    weights = [torch.tensor([1.0, -2.0]), torch.tensor([[3.0]], requires_grad=True)]
    penalty = losses.l2_penalty(iter(weights))
    assert penalty.item() == 14.0
    assert torch.autograd.grad(penalty, weights[1])[0].item() == 6.0


@pytest.mark.parametrize(
    ("loss", "inputs"),
    [(losses.mmcl, 2), (losses.ssl, 4), (losses.siglip, 2)],
    ids=["mmcl", "ssl", "siglip"],
)
def test_gradients_are_those_of_finite_differences(loss, inputs):
    features = [unit(s, rows=4, dtype=torch.float64).requires_grad_() for s in range(inputs)]
    scalars = [torch.tensor(3.0, dtype=torch.float64, requires_grad=True)]
    if loss is losses.siglip:
        scalars.append(torch.tensor(-1.0, dtype=torch.float64, requires_grad=True))
    assert torch.autograd.gradcheck(loss, (*features, *scalars))


def test_deep_cluster_and_l2_gradients_are_those_of_finite_differences():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 1])
    assert torch.autograd.gradcheck(lambda x: losses.deep_cluster(x, labels), (logits,))
    assert torch.autograd.gradcheck(lambda x: losses.l2_penalty([x]), (logits,))


@given(order=st.permutations(range(6)), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_order_of_pairs_and_of_modalities_does_not_matter_to_mmcl(order, seed):
    image, text = unit(seed), unit(seed + 1)
    loss = losses.mmcl(image, text, SCALE)
    torch.testing.assert_close(losses.mmcl(image[order], text[order], SCALE), loss)
    torch.testing.assert_close(losses.mmcl(text, image, SCALE), loss)


def test_equal_embeddings_give_the_logarithm_of_the_batch_size():
    same = unit(0)[:1].expand(6, -1)
    assert losses.mmcl(same, same, SCALE).item() == pytest.approx(math.log(6), rel=1e-6)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_losses_of_narrow_numbers_are_computed_in_float32(narrow):
    image, text = unit(0).to(narrow), unit(1).to(narrow)
    expected = losses.mmcl(image.float(), text.float(), torch.tensor(100.0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.mmcl(image, text, torch.tensor(100.0))
        barlow = losses.barlow_twins(image, text)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(barlow, losses.barlow_twins(image.float(), text.float()))
    labels = torch.zeros(6, dtype=torch.int64)
    cluster = losses.deep_cluster(image, labels)
    torch.testing.assert_close(cluster, losses.deep_cluster(image.float(), labels))
    torch.testing.assert_close(losses.l2_penalty([text]), losses.l2_penalty([text.float()]))


@pytest.mark.parametrize(("value", "expected"), [(9.0, math.log(100)), (-1.0, 0.0), (2.0, 2.0)])
def test_logit_scale_stays_between_1_and_100(value, expected):
    parameter = torch.nn.Parameter(torch.tensor(value))
    losses.clamp_logit_scale_(parameter)
    assert parameter.item() == pytest.approx(expected)
    assert parameter.requires_grad


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_and_says_where_and_what_to_try(bad):
    with pytest.raises(losses.NonFiniteLoss, match=r"step 17.*0\.001.*ssl=.*lower lr"):
        losses.check_finite(1.0, step=17, parts={"mmcl": 1.0, "ssl": bad}, lr=1e-3)
    with pytest.raises(FloatingPointError, match="step 3"):
        losses.check_finite(bad, step=3, parts={}, lr=1e-3)


def test_a_finite_loss_passes():
    losses.check_finite(1.0, step=1, parts={"mmcl": 1.0}, lr=1e-3)


def test_gather_is_the_identity_in_one_process():
    features = unit(0)
    assert losses.gather(features) is features
    assert losses.gather(features, mode="authors") is features
    with pytest.raises(ConfigError, match=r"'local'.*exact or authors"):
        losses.gather(features, mode="local")
