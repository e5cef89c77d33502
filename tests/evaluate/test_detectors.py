"""Detectors against a library or a slow loop, what separates, and the order of samples."""

import math
import re
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest
from torch import Tensor
from torch.nn import functional as F

from bdnb import models
from bdnb.evaluate import detectors, zero_shot
from bdnb.evaluate.benchmark import evaluating, text_features
from bdnb.evaluate.detectors import Known, Samples, Scored, agreement, prompts, registry
from bdnb.poison.targets import fill
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError

N, D = 40, 6
PAIRS = [name for name in detectors.DETECTORS if registry.OF[name] == "pairs"]


def unit(seed: int, rows: int = N, width: int = D) -> Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, width, generator=draws), dim=1)


def known(width: int = D, **given) -> Known:
    return Known(seed=3, reference=unit(9, width=width), **given)


def pair_scores(name: str, samples: Samples, **options) -> np.ndarray:
    return detectors.score(name, None, samples, known(), options).scores.numpy()


def test_the_isolation_forest_is_scikit_learn_s_and_flags_above_a_half():
    features, model = unit(0), IsolationForest(random_state=3).fit(unit(0).numpy())
    scored = detectors.score("isolation_forest", None, Samples(features), known(), {})
    assert scored.scores.numpy() == pytest.approx(-model.score_samples(features.numpy()))
    flagged = scored.scores.numpy() > scored.threshold
    assert flagged.tolist() == (model.predict(features.numpy()) == -1).tolist()


def test_clip_score_is_the_cosine_turned_round():
    image, text = unit(0), unit(1)
    expected = [-float(a @ b) for a, b in zip(image, text, strict=True)]
    assert pair_scores("clip_score", Samples(image, text)) == pytest.approx(expected)


def test_the_mixture_tells_pairs_that_agree_with_bayes_rule():
    """Of two normal distributions far apart the parameters are known."""
    draws = np.random.default_rng(0)
    values = np.concatenate([draws.normal(0.2, 0.05, 4000), draws.normal(0.7, 0.1, 4000)])
    probability = agreement.agreeing(torch.from_numpy(values)).numpy()
    low, high = (
        np.exp(-(((values - mean) / std) ** 2) / 2) / std for mean, std in ((0.2, 0.05), (0.7, 0.1))
    )
    assert np.abs(probability - high / (low + high)).max() < 0.05


def separable() -> tuple[Samples, np.ndarray]:
    """Clean pairs agree and lie together; the last eight are alone, and disagree."""
    around = F.normalize(
        torch.eye(D)[:1] + 0.05 * torch.randn(N, D, generator=torch.manual_seed(1))
    )
    away = torch.cat([torch.eye(D)[1:5], -torch.eye(D)[1:5]])
    image = torch.cat([around, away])
    text = F.normalize(torch.cat([around, torch.eye(D)[5:].expand(8, -1)]) + 0.05 * unit(2, N + 8))
    return Samples(image, text), np.arange(N + 8) >= N


@pytest.mark.parametrize("name", [n for n in PAIRS if n != "lid"])
def test_poison_that_is_apart_is_found_whole(name):
    samples, poisoned = separable()
    scored = detectors.score(name, None, samples, known(), {})
    values = dict(detectors.found(scored, poisoned))
    assert (values["auroc"], values["fpr95"]) == (100, 0)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([n for n in PAIRS if n != "isolation_forest"]))
def test_the_order_of_the_pairs_is_the_order_of_the_scores(seed, name):
    image, text = unit(seed), unit(seed + 1)
    order = torch.randperm(N, generator=torch.manual_seed(seed))
    scores = pair_scores(name, Samples(image, text))
    turned = pair_scores(name, Samples(image[order], text[order]))
    assert turned == pytest.approx(scores[order.numpy()], abs=1e-6, rel=1e-6)


@pytest.fixture(scope="module")
def model() -> models.Model:
    return models.build("vit_tiny32", seed=0).eval()


CLASSES = ("banana", "car", "tree", "dog")
TEMPLATES = tuple(f"a {word} of {{}}" for word in ("photo", "drawing", "picture", "print"))


def test_images(model, name: str, image: Tensor, **options) -> Scored:
    told = known(image.shape[1], classnames=CLASSES, templates=TEMPLATES)
    return detectors.score(name, model, Samples(image), told, options)


test_images.__test__ = False


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["bdetclip", "subspace"]))
def test_a_test_image_s_score_does_not_depend_on_its_place(model, seed, name):
    width = model.clip.text_projection.shape[-1]
    image = unit(seed, rows=7, width=width)
    order = torch.randperm(7, generator=torch.manual_seed(seed))
    scores, turned = (test_images(model, name, one) for one in (image, image[order]))
    assert turned.scores.numpy() == pytest.approx(scores.scores[order].numpy(), rel=1e-4, abs=1e-5)
    assert turned.threshold == pytest.approx(scores.threshold, rel=1e-4, abs=1e-5)


def test_bdetclip_is_the_sum_over_classes_of_what_added_words_change(model, monkeypatch):
    class Draws:
        def choice(self, names, count):
            return ["zebra"] * count

    monkeypatch.setattr(prompts.seeds, "generator", lambda *about: Draws())
    image = unit(0, rows=3, width=model.clip.text_projection.shape[-1])
    found = test_images(model, "bdetclip", image, words=2)
    with evaluating(model):
        heads = [
            zero_shot.head(lambda t: text_features(model, t), names, TEMPLATES)
            for names in (CLASSES, [f"{name} zebra zebra" for name in CLASSES])
        ]
    for x, value in zip(image, found.scores, strict=True):
        omega = sum(float(x @ a - x @ b) for a, b in zip(*heads, strict=True))
        assert -omega == pytest.approx(float(value), abs=1e-5)
    told = known(image.shape[1]).reference
    least = min(sum(float(x @ a - x @ b) for a, b in zip(*heads, strict=True)) for x in told)
    assert found.threshold == pytest.approx(-least, abs=1e-5)


def test_subspace_is_the_squared_distance_to_texts_around_the_nearest_class(model):
    with evaluating(model):
        names = text_features(model, list(CLASSES))
        texts = [text_features(model, [fill(t, c) for t in TEMPLATES]) for c in CLASSES]
    found = test_images(model, "subspace", names)
    for place in range(len(CLASSES)):
        middle = texts[place].mean(dim=0)
        distance = float((names[place] - middle).square().sum())
        spread = float((texts[place] - middle).square().sum(dim=1).max())
        assert abs(float(found.scores[place]) - distance) < distance + spread
    far = test_images(model, "subspace", -names).scores
    assert (far > found.scores).all()
    told = known(names.shape[1]).reference
    assert found.threshold == pytest.approx(
        float(test_images(model, "subspace", told).scores.max()), rel=1e-5
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_class_s_region_lies_in_what_its_texts_span_and_beyond_them_from_the_name(seed, variance):
    name, variants = unit(seed, 1)[0], unit(seed + 1, 3)
    draws = torch.Generator().manual_seed(0)
    made = prompts.around(name, variants, draws, variance=variance, drawn=8)
    assert made.shape == (8, D)
    every = torch.cat([name[None], variants])
    middle = every.mean(dim=0)
    basis = torch.linalg.svd(every - middle, full_matrices=False)[2][:3]
    rest = made - middle
    torch.testing.assert_close(rest @ basis.T @ basis, rest, atol=1e-4, rtol=0)


def test_what_is_found_is_counted_in_percent():
    scored = Scored(torch.tensor([0.1, 0.4, 0.35, 0.8]), 0.3)
    values = dict(detectors.found(scored, np.array([False, False, True, True])))
    assert values["auroc"] == pytest.approx(75)
    assert values["fpr95"] == pytest.approx(50)
    assert values["f1"] == pytest.approx(80)


def test_without_a_threshold_there_is_no_f1_and_without_poison_nothing():
    scores = torch.arange(4.0)
    assert math.isnan(dict(detectors.found(Scored(scores), np.arange(4) > 1))["f1"])
    none = dict(detectors.found(Scored(scores, 2.0), np.zeros(4, dtype=bool)))
    assert all(math.isnan(value) for value in none.values())


MINE = """
import math, torch
from bdnb.evaluate.detectors import Scored, detector

@detector("mine", of="pairs")
def mine(model, samples, known, *, made: str = "torch.zeros(40)"):
    return eval("Scored(" + made + ")") if made else None

@detector("centred", of="pairs")
def centred(model, samples, known):
    samples.image.sub_(known.reference.mul_(0).sum(dim=0) + 1)
    return Scored(samples.image[:, 0])
"""


@pytest.fixture
def mine(fresh) -> Iterator[None]:
    """The user's file is loaded, and what it registers is gone afterwards."""
    plugins.place("mine.py").write_text(MINE)
    plugins.load("plugins/mine.py")
    yield
    for name in ("mine", "centred"):
        detectors.DETECTORS.pop(name)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        ("", "returned NoneType: expected Scored(scores, threshold) of 40 numbers, one a sample"),
        ("torch.zeros(41)", "returned scores of shape (41,)"),
        ("torch.zeros(40, 2)", "returned scores of shape (40, 2)"),
        ("torch.zeros(40).log()", "returned scores of which 40 are not finite"),
        ("torch.zeros(40) * math.nan", "returned scores of which 40 are not finite"),
        ("[0.0] * 40", "returned scores [0.0, 0.0,"),
        ("torch.zeros(40), torch.tensor(0.5)", "returned threshold tensor(0.5000)"),
        ("torch.zeros(40), math.nan", "returned threshold nan"),
    ],
)
def test_a_user_s_file_adds_a_detector_and_is_told_of_a_wrong_score(mine, made, told):
    assert pair_scores("mine", Samples(unit(0))).tolist() == [0] * N
    with pytest.raises(ConfigError, match=r"mine\.py:5: detector 'mine' " + re.escape(told)):
        pair_scores("mine", Samples(unit(0)), made=made)


def test_what_a_user_s_detector_changes_in_place_the_others_are_given_as_it_was(mine):
    samples, given = Samples(unit(0)), known()
    scored = detectors.score("centred", None, samples, given, {})
    assert torch.equal(scored.scores, (unit(0)[:, 0] - 1).double())
    assert torch.equal(samples.image, unit(0))
    assert torch.equal(given.reference, unit(9))


def test_an_unknown_detector_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"detector='doa': expected one of .*did you mean 'dao'"):
        detectors.check("doa", {})


def test_a_detector_says_which_of_the_two_it_judges():
    with pytest.raises(ConfigError, match=r"detector 'mine': of='pair': expected one of pairs"):
        detectors.detector("mine", of="pair")(lambda model, samples, known: None)
    assert "mine" not in detectors.DETECTORS
