"""Pseudo-labels for deep clustering, and the linear head that learns them (Section 5).

In: a model's image features. Out: a label an image.
"""

from typing import NamedTuple

import faiss
import numpy as np
import torch
from torch import Tensor, nn

from bdnb.losses import REMEDY, NonFiniteLoss
from bdnb.runtime import seeds


class Clusters(NamedTuple):
    """labels: (N,) int64, each image's cluster. centroids: (k, D), of unit length if spherical."""

    labels: Tensor
    centroids: Tensor


def kmeans(
    features: Tensor,
    *,
    k: int,
    seed: int,
    iterations: int = 20,
    spherical: bool = True,
    start: Tensor | None = None,
) -> Clusters:
    """Each image's cluster among k, by FAISS k-means, on GPUs when FAISS sees any.

    features: (N, D), any device. seed: draws the first centroids. spherical: centroids of unit
    length and assignment by cosine (the authors' choice) instead of distance. start: (k, D)
    first centroids. Out: on the CPU.
    Every image is used for training; the authors' 100K images at k=1000 are, too.
    Errors: NonFiniteLoss for features that are not finite.
    """
    points = np.ascontiguousarray(features.detach().float().cpu().numpy())
    count, width = points.shape
    if not np.isfinite(points).all():
        raise NonFiniteLoss(f"image features are not finite: the model has diverged. {REMEDY}")
    made = faiss.Kmeans(
        width,
        k,
        niter=iterations,
        spherical=spherical,
        seed=seeds.integer(seed, "k-means") % 2**31,
        min_points_per_centroid=1,
        max_points_per_centroid=count,
        gpu=faiss.get_num_gpus(),
    )
    first = None if start is None else np.ascontiguousarray(start.float().cpu().numpy())
    made.train(points, init_centroids=first)
    labels = torch.from_numpy(made.assign(points)[1].astype(np.int64))
    return Clusters(labels, torch.from_numpy(np.array(made.centroids)).view(k, width))


class ClusterHead(nn.Linear):
    """The classifier W of Equation 3, features (B, D) -> logits (B, k); no bias, as the paper.

    bias: True as in the authors' code.
    """

    def __init__(self, width: int, k: int, *, seed: int, bias: bool = False) -> None:
        super().__init__(width, k, bias=bias)
        self.renew(seed=seed, epoch=0)

    def renew(self, *, seed: int, epoch: int) -> None:
        """Draw W ~ N(0, 0.01^2) afresh, bias 0: whenever the pseudo-labels are made anew."""
        draws = seeds.generator(seed, "cluster head", epoch).standard_normal(self.weight.shape)
        with torch.no_grad():
            self.weight.copy_(torch.from_numpy(0.01 * draws))
            if self.bias is not None:
                self.bias.zero_()
