import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn import functional as F

from bdnb.defences import pseudo_labels

K, EACH, WIDTH = 5, 40, 8


def separable() -> tuple[Tensor, Tensor]:
    """Unit vectors around K directions far apart, and the direction of each."""
    draws = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=draws))[0][:K]
    labels = torch.arange(K).repeat(EACH)
    noise = 0.1 * torch.randn(len(labels), WIDTH, generator=draws)
    return F.normalize(directions[labels] + noise, dim=-1), labels


@pytest.mark.parametrize("spherical", [True, False])
def test_the_assignment_is_scikit_learns_from_the_same_start(spherical):
    features, _ = separable()
    start = features[[0, 6, 12, 18, 24]]
    found = pseudo_labels.kmeans(
        features, k=K, seed=0, iterations=30, spherical=spherical, start=start
    ).labels
    expected = KMeans(K, init=start.numpy(), n_init=1, max_iter=30).fit(features.numpy()).labels_
    assert found.dtype == torch.int64
    assert np.array_equal(found.numpy(), expected)


def test_the_same_seed_gives_the_same_labels_and_k_labels_are_used():
    features, _ = separable()
    first, again, other = (pseudo_labels.kmeans(features, k=K, seed=s).labels for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert first.unique().tolist() == list(range(K))
    assert not torch.equal(first, other)


def test_separable_data_are_told_apart_up_to_the_names_of_clusters():
    features, truth = separable()
    found = pseudo_labels.kmeans(features, k=K, seed=3, start=features[:K] + 0.01).labels
    assert len({(int(a), int(b)) for a, b in zip(found, truth, strict=True)}) == K


def test_spherical_assignment_does_not_depend_on_the_length_of_features():
    features, _ = separable()
    lengths = torch.linspace(0.5, 2, len(features))[:, None]
    start = features[:K]
    first, second = (
        pseudo_labels.kmeans(x, k=K, seed=0, start=start).labels
        for x in (features, lengths * features)
    )
    assert torch.equal(first, second)


def test_features_of_a_diverged_model_are_refused():
    features = torch.randn(10, 3)
    features[3, 1] = torch.nan
    with pytest.raises(FloatingPointError, match="diverged"):
        pseudo_labels.kmeans(features, k=2, seed=0)


def test_the_head_is_renewed_from_seed_and_epoch_and_has_the_papers_shape():
    head = pseudo_labels.ClusterHead(64, 100, seed=0)
    first = head.weight.detach().clone()
    assert head(torch.randn(2, 64)).shape == (2, 100)
    assert head.bias is None
    assert first.std().item() == pytest.approx(0.01, rel=0.05)
    head.renew(seed=0, epoch=1)
    assert not torch.equal(head.weight, first)
    head.renew(seed=0, epoch=0)
    assert torch.equal(head.weight, first)


def test_the_authors_head_has_a_bias_that_starts_at_zero():
    head = pseudo_labels.ClusterHead(4, 3, seed=0, bias=True)
    with torch.no_grad():
        head.bias.fill_(1)
    head.renew(seed=0, epoch=1)
    assert head.bias.tolist() == [0, 0, 0]


def test_centroids_are_the_means_of_their_images_in_direction():
    features = torch.nn.functional.normalize(torch.randn(60, 5), dim=1)
    found = pseudo_labels.kmeans(features, k=4, seed=0, iterations=50)
    means = torch.stack([features[found.labels == c].mean(dim=0) for c in range(4)])
    torch.testing.assert_close(
        found.centroids, torch.nn.functional.normalize(means, dim=1), rtol=1e-4, atol=1e-4
    )
