"""Training images that lie apart from others (Huang et al. 2025, arXiv 2502.01385), by neighbours.

Distances are Euclidean between image ``features``: "raw", as the tower gives them, as published;
"unit", all of the same length. A sample's neighbours are looked for in its ``reference``: "group",
a random group of the set itself, as published; "clean", as many images known to be clean, drawn
anew for each group, so that ``k`` means the same (by the paper's QuickStart, needed where very many
of a group are poisoned).

In a group poisoned images are neighbours of each other, and no longer apart where there are more
than ``k``: ``batch`` has to be small where much is poisoned. Even then chance is not 50 %. With
k = 16, groups of 128 and 2 % poisoned, the k-th neighbour of a poisoned image is about the 13.5th
clean one: among uniform features a tight cluster at a random place has an AUROC of about a third by
k-distance, of next to nothing by LID, of half by SLOF and DAO. Isolation forests need many cuts to
take a cluster apart, and give it next to nothing, too. ``config.defence_facts.DETECTORS`` has these
numbers as ``null``, from the simulation that is this file's test. Against "clean" it is 50 %.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from sklearn.ensemble import IsolationForest
from torch import Tensor

from bdnb.config.options import Count
from bdnb.evaluate.detectors.registry import Detector, Known, Samples, Scored, detector
from bdnb.models import Model
from bdnb.runtime import seeds

TINY = 1e-9
"""Distance of two images that are the same."""

Reference = Literal["group", "clean"]
Features = Literal["unit", "raw"]


class Near(NamedTuple):
    """The k nearest neighbours of N samples, the nearest first.

    distances: (N, k) to each. far: (N, k), of each to its own k-th neighbour in the reference.
    dimension: (N, k), of each its local intrinsic dimension.
    """

    distances: Tensor
    far: Tensor
    dimension: Tensor


def neighbours(
    samples: Samples,
    known: Known,
    *,
    k: int,
    batch: int,
    reference: Reference,
    features: Features = "unit",
) -> Near:
    """Return the nearest neighbours of each image.

    batch: size of the groups; k: fewer where a group, or what is known to be clean, is smaller.
    In the authors' code ``d_k`` is the distance to the neighbour after the k-th.
    """
    image = _long(samples.image, samples.length, features)
    clean = _long(known.reference, known.length, features)
    draws, count = seeds.generator(known.seed, "detector"), len(image)
    order = draws.permutation(count)
    groups, parts = np.array_split(order, -(-count // batch)), []
    k = min(k, len(groups[-1]) - 1, len(clean) - 1 if reference == "clean" else count)
    for group in groups:
        among = own = _take(image, group)
        if reference == "clean":
            among = _take(clean, draws.permutation(len(clean))[: len(group)])
        distances, places = nearest(own, among, k=k)
        theirs, _ = nearest(among, among, k=k)
        parts.append(Near(distances, theirs[:, -1][places], dimension(theirs)[places]))
    back = torch.from_numpy(order.argsort()).to(image.device)
    return Near(*(torch.cat(part)[back] for part in zip(*parts, strict=True)))


def nearest(features: Tensor, among: Tensor, *, k: int) -> tuple[Tensor, Tensor]:
    """Return distances (N, k) float64 to the k nearest of ``among``, and their places there.

    features: (N, D); among: (R, D). Where both are the same tensor nobody is its own neighbour.
    """
    apart = torch.cdist(features.double(), among.double())
    if among is features:
        apart.fill_diagonal_(torch.inf)
    distances, places = apart.topk(k, largest=False)
    return distances.clamp_min(TINY), places


def _take(features: Tensor, places: np.ndarray) -> Tensor:
    return features[torch.from_numpy(places).to(features.device)]


def _long(image: Tensor, length: Tensor | None, features: Features) -> Tensor:
    """Unit features (N, D), or as they were before they were made unit."""
    if features == "unit":
        return image
    assert length is not None
    return image * length[:, None]


def dimension(distances: Tensor) -> Tensor:
    """Return the local intrinsic dimension (N,): -k / sum_i log(d_i / d_k), maximum likelihood."""
    k = distances.shape[1]
    return -k / (distances / distances[:, -1:]).log().sum(dim=1).clamp_max(-TINY)


def by_neighbours(name: str) -> Callable[[Callable[[Near], Tensor]], Detector]:
    """Register a detector that is a function of the nearest neighbours: ``Near`` -> scores (N,)."""

    def register(score: Callable[[Near], Tensor]) -> Detector:
        def scored(
            model: Model,
            samples: Samples,
            known: Known,
            *,
            k: Count = 16,
            batch: Count = 2048,
            reference: Reference = "group",
            features: Features = "unit",
        ) -> Scored:
            how: Any = {"k": k, "batch": batch, "reference": reference, "features": features}
            return Scored(score(neighbours(samples, known, **how)))

        scored.__name__, scored.__doc__ = score.__name__, score.__doc__
        return detector(name, of="pairs")(scored)

    return register


@by_neighbours("k_distance")
def k_distance(near: Near) -> Tensor:
    """Distance to the k-th neighbour."""
    return near.distances[:, -1]


@by_neighbours("lid")
def lid(near: Near) -> Tensor:
    """Local intrinsic dimension."""
    return dimension(near.distances)


@by_neighbours("slof")
def slof(near: Near) -> Tensor:
    """Simplified local outlier factor: mean over neighbours of d_k / their d_k."""
    return (near.distances[:, -1:] / near.far).mean(dim=1)


@by_neighbours("dao")
def dao(near: Near) -> Tensor:
    """Dimensionality-aware outlier detection: mean over neighbours of LID log(d_k / their d_k)."""
    return (near.dimension * (near.distances[:, -1:] / near.far).log()).mean(dim=1)


@detector("isolation_forest", of="pairs")
def isolation_forest(
    model: Model,
    samples: Samples,
    known: Known,
    *,
    trees: Count = 100,
    features: Features = "unit",
) -> Scored:
    """Isolation forest (Liu et al. 2008): few random cuts set an outlier apart; above 0.5.

    One forest for all samples; Huang et al. fit one to each batch.
    """
    image = _long(samples.image, samples.length, features).cpu().numpy()
    forest = IsolationForest(n_estimators=trees, random_state=known.seed % 2**32).fit(image)
    return Scored(torch.from_numpy(-forest.score_samples(image)), 0.5)
