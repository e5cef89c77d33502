"""Neighbour detectors against a slow loop, and what they find of a cluster, by their reference."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import NearestNeighbors
from torch import Tensor
from torch.nn import functional as F

from bdnb.config.defence_facts import DETECTORS
from bdnb.evaluate import detectors
from bdnb.evaluate.detectors import Known, Samples, density
from bdnb.runtime.errors import ConfigError

N, D, K = 40, 6, 5
DENSITY = ("k_distance", "lid", "slof", "dao")
REFERENCES = ("group", "clean")


def unit(seed: int, rows: int = N, width: int = D, *, around: Tensor | None = None) -> Tensor:
    """Unit features (rows, width): uniform, or a tight cluster around one."""
    drawn = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return F.normalize(drawn if around is None else around + 1e-3 * drawn, dim=1)


def scored(name: str, features: Tensor, clean: Tensor, **options) -> detectors.Scored:
    known = Known(seed=3, reference=clean)
    return detectors.score(name, None, Samples(features), known, options)


def auroc(name: str, clean: Tensor, poison: Tensor, known: Tensor, **options) -> float:
    found = scored(name, torch.cat([clean, poison]), known, **options)
    poisoned = np.arange(len(clean) + len(poison)) >= len(clean)
    return dict(detectors.found(found, poisoned))["auroc"]


def nearest(features: np.ndarray, among: np.ndarray, *, own: bool) -> tuple[np.ndarray, np.ndarray]:
    """Distances and places of K neighbours by scikit-learn. own: each finds itself first."""
    fitted = NearestNeighbors(n_neighbors=K + own, algorithm="brute").fit(among)
    distances, places = fitted.kneighbors(features)
    return distances[:, int(own) :], places[:, int(own) :]


def by_hand(name: str, features: np.ndarray, clean: np.ndarray | None) -> list[float]:
    """The equations of Huang et al., a sample at a time. clean: the reference, or None."""
    among = features if clean is None else clean
    distances, places = nearest(features, among, own=clean is None)
    their, _ = nearest(among, among, own=True)
    lids, their_lids = (
        [-K / sum(math.log(d / row[-1]) for d in row) for row in rows]
        for rows in (distances, their)
    )
    made = []
    for x in range(len(features)):
        far = [distances[x][-1] / their[nb][-1] for nb in places[x]]
        logs = [their_lids[nb] * math.log(one) for nb, one in zip(places[x], far, strict=True)]
        values = {"k_distance": distances[x][-1], "lid": lids[x]}
        values |= {"slof": sum(far) / K, "dao": sum(logs) / K}
        made.append(values[name])
    return made


@pytest.mark.parametrize("name", DENSITY)
@pytest.mark.parametrize("reference", REFERENCES)
def test_a_density_detector_is_its_equation(name, reference):
    features, clean = unit(0), unit(1, rows=25)
    found = scored(name, features, clean, k=K, reference=reference).scores
    given = clean.double().numpy() if reference == "clean" else None
    assert found.numpy() == pytest.approx(by_hand(name, features.double().numpy(), given), rel=1e-5)


def test_neighbours_are_looked_for_inside_random_groups_of_the_set():
    known, features = Known(seed=0, reference=unit(1)), unit(0)
    found = density.neighbours(Samples(features), known, k=99, batch=15, reference="group")
    assert found.distances.shape == (N, 12)  # groups of 14, 13 and 13
    assert (found.distances.diff(dim=1) >= 0).all()
    apart = torch.cdist(features.double(), features.double())
    links = torch.isclose(apart[:, :, None], found.distances[:, None], rtol=1e-9).any(dim=2)
    reached = torch.matrix_exp((links | links.T).double()) > 0
    assert {int(row.sum()) for row in reached} == {13, 14}
    assert not links.diagonal().any()


def test_each_group_is_held_against_as_many_clean_images_drawn_anew_and_against_no_sample():
    known, features = Known(seed=0, reference=unit(1, rows=1000)), unit(0)
    found = density.neighbours(Samples(features), known, k=99, batch=20, reference="clean")
    assert found.distances.shape == (N, 19)
    apart = torch.cdist(features.double(), known.reference.double())
    links = torch.isclose(apart[:, :, None], found.distances[:, None], rtol=1e-9).any(dim=2)
    assert (links.sum(dim=1) == 19).all()
    assert 30 < links.any(dim=0).sum() <= 40  # two draws of 20


@pytest.mark.parametrize("name", [*DENSITY, "isolation_forest"])
@pytest.mark.parametrize("reference", REFERENCES)
def test_raw_features_have_the_lengths_that_they_had_before_they_were_unit(name, reference):
    lengths = torch.rand(N, generator=torch.Generator().manual_seed(4)) + 0.5
    known = Known(seed=3, reference=unit(1), length=lengths.flip(0))
    long = Known(seed=3, reference=unit(1) * lengths.flip(0)[:, None])
    options = {} if name == "isolation_forest" else {"k": K, "reference": reference}
    samples = Samples(unit(0), length=lengths)
    raw = detectors.score(name, None, samples, known, options | {"features": "raw"}).scores
    made = Samples(unit(0) * lengths[:, None])
    assert torch.equal(raw, detectors.score(name, None, made, long, options).scores)
    assert not torch.equal(raw, detectors.score(name, None, samples, known, options).scores)


@pytest.mark.parametrize("reference", REFERENCES)
def test_images_that_are_the_same_have_scores(reference):
    same = unit(0, rows=1).expand(N, -1)
    for name in DENSITY:
        assert scored(name, same, same, reference=reference).scores.isfinite().all()


def test_poison_of_a_higher_local_dimension_is_found_by_lid():
    draws = torch.Generator().manual_seed(0)
    line = torch.rand(400, 1, generator=draws) * torch.eye(D)[:1]
    cloud = 5 + 0.1 * torch.randn(40, D, generator=draws)
    assert auroc("lid", line, cloud, unit(0)) > 99
    of_line = scored("lid", torch.cat([line, cloud]), unit(0)).scores[:400]
    assert float(of_line.median()) == pytest.approx(1, abs=0.2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(DENSITY), st.integers(1, 400))
def test_against_clean_images_a_tight_cluster_far_away_is_found_whatever_its_share(
    seed, name, count
):
    middle = torch.eye(16)[:1]
    clean, known = (
        F.normalize(middle + 0.1 * unit(seed + i, rows=200, width=16), dim=1) for i in (0, 1)
    )
    poison = unit(seed + 2, rows=count, width=16, around=-middle)
    assert auroc(name, clean, poison, known, reference="clean") == 100


@pytest.mark.parametrize("name", DENSITY)
def test_in_groups_a_tight_cluster_far_away_is_hidden_where_its_share_is_large(name):
    middle = torch.eye(16)[:1]
    clean = F.normalize(middle + 0.1 * unit(0, rows=200, width=16), dim=1)
    poison = unit(1, rows=100, width=16, around=-middle)
    assert auroc(name, clean, poison, clean) < 75


@pytest.mark.parametrize("name", [*DENSITY, "isolation_forest"])
def test_chance_is_the_null_of_its_facts_in_groups_and_half_against_clean_images(name):
    """2 % of uniform features lie together at a random place, which no clean one shuns."""

    def simulated(seed: int, **options) -> float:
        clean, known = unit(seed, 4900, 16), unit(seed + 100, 2000, 16)
        poison = unit(seed + 300, 100, 16, around=unit(seed + 200, 1, 16))
        return auroc(name, clean, poison, known, **options)

    grouped = {"batch": 128} if name in DENSITY else {}
    assert np.mean([simulated(seed, **grouped) for seed in range(8)]) == pytest.approx(
        DETECTORS[name].null, abs=5
    )
    if name in DENSITY:
        clean = [simulated(seed, batch=128, reference="clean") for seed in range(8)]
        assert np.mean(clean) == pytest.approx(50, abs=8)


def test_another_reference_and_other_features_are_refused():
    with pytest.raises(ConfigError, match=r"reference='clear': expected one of group, clean"):
        detectors.check("dao", {"reference": "clear"})
    with pytest.raises(ConfigError, match=r"features='unitt': expected one of unit, raw"):
        detectors.check("dao", {"features": "unitt"})
