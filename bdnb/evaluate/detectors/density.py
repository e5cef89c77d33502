"""Training images that lie apart from others (Huang et al. 2025, arXiv 2502.01385), by neighbours.

Distances are Euclidean between unit features, among random groups of the set: the reference of a
sample is its group. A group with more poisoned images than ``k`` makes them neighbours of each
other, and no longer apart: ``batch`` has to be small where much is poisoned.
"""

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from bdnb.config.options import Count
from bdnb.evaluate.detectors.registry import Known, Samples, Scored, detector
from bdnb.models import Model
from bdnb.runtime import seeds

TINY = 1e-9
"""Distance of two images that are the same."""


def neighbours(features: Tensor, *, k: int, batch: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return distances (N, k), the smallest first, and places (N, k) of the k nearest neighbours.

    batch: size of the groups among which they are looked for; k: fewer in a smaller group.
    """
    count = len(features)
    groups = np.array_split(
        seeds.generator(seed, "detector").permutation(count), -(-count // batch)
    )
    k = min(k, *(len(group) - 1 for group in groups))
    distances = features.new_empty((count, k), dtype=torch.float64)
    places = torch.empty((count, k), dtype=torch.int64, device=features.device)
    for group in map(torch.from_numpy, groups):
        own = group.to(features.device)
        apart = torch.cdist(features[own].double(), features[own].double())
        apart.fill_diagonal_(torch.inf)
        distances[own], found = apart.topk(k, largest=False)
        places[own] = own[found]
    return distances.clamp_min(TINY), places


def dimension(distances: Tensor) -> Tensor:
    """Return the local intrinsic dimension (N,): -k / sum_i log(d_i / d_k), maximum likelihood."""
    k = distances.shape[1]
    return -k / (distances / distances[:, -1:]).log().sum(dim=1).clamp_max(-TINY)


@detector("k_distance", of="pairs")
def k_distance(
    model: Model, samples: Samples, known: Known, *, k: Count = 16, batch: Count = 2048
) -> Scored:
    """Distance to the k-th neighbour."""
    distances, _ = neighbours(samples.image, k=k, batch=batch, seed=known.seed)
    return Scored(distances[:, -1])


@detector("lid", of="pairs")
def lid(
    model: Model, samples: Samples, known: Known, *, k: Count = 16, batch: Count = 2048
) -> Scored:
    """Local intrinsic dimension."""
    distances, _ = neighbours(samples.image, k=k, batch=batch, seed=known.seed)
    return Scored(dimension(distances))


@detector("slof", of="pairs")
def slof(
    model: Model, samples: Samples, known: Known, *, k: Count = 16, batch: Count = 2048
) -> Scored:
    """Simplified local outlier factor: mean over neighbours of d_k / their d_k."""
    distances, places = neighbours(samples.image, k=k, batch=batch, seed=known.seed)
    far = distances[:, -1]
    return Scored((far[:, None] / far[places]).mean(dim=1))


@detector("dao", of="pairs")
def dao(
    model: Model, samples: Samples, known: Known, *, k: Count = 16, batch: Count = 2048
) -> Scored:
    """Dimensionality-aware outlier detection: mean over neighbours of LID log(d_k / their d_k)."""
    distances, places = neighbours(samples.image, k=k, batch=batch, seed=known.seed)
    far = distances[:, -1]
    return Scored((dimension(distances)[places] * (far[:, None] / far[places]).log()).mean(dim=1))


@detector("isolation_forest", of="pairs")
def isolation_forest(model: Model, samples: Samples, known: Known, *, trees: Count = 100) -> Scored:
    """Isolation forest (Liu et al. 2008): few random cuts set an outlier apart; above 0.5."""
    features = samples.image.cpu().numpy()
    forest = IsolationForest(n_estimators=trees, random_state=known.seed % 2**32).fit(features)
    return Scored(torch.from_numpy(-forest.score_samples(features)), 0.5)
