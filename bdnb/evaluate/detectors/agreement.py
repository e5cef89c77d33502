"""Training pairs whose image and caption disagree: by their cosine, and by a mixture of cosines."""

import numpy as np
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor

from bdnb.config.options import Share
from bdnb.evaluate.detectors.registry import Known, Samples, Scored, detector
from bdnb.models import Model


def cosines(samples: Samples) -> Tensor:
    """Return the cosine (N,) of each pair's image and caption."""
    assert samples.text is not None
    return (samples.image * samples.text).sum(dim=1)


def agreeing(cosines: Tensor) -> Tensor:
    """Return the probability (N,) float64 to be of those pairs that agree better.

    Of a mixture of two normal distributions the one with the larger mean (SafeCLIP). Fitted to
    sorted cosines, so that the pairs' order does not matter.
    """
    values = cosines.double().cpu().numpy()[:, None]
    mixture = GaussianMixture(2, random_state=0).fit(np.sort(values, axis=0))
    return torch.from_numpy(mixture.predict_proba(values)[:, mixture.means_[:, 0].argmax()])


@detector("clip_score", of="pairs")
def clip_score(model: Model, samples: Samples, known: Known) -> Scored:
    """CLIPScore (Hessel et al. 2021, arXiv 2104.08718): the lower the cosine, the worse."""
    return Scored(-cosines(samples))


@detector("gmm", of="pairs")
def gmm(model: Model, samples: Samples, known: Known, *, sure: Share = 0.9) -> Scored:
    """SafeCLIP's first selection (arXiv 2310.05862): safe are those that surely agree."""
    return Scored(1 - agreeing(cosines(samples)), 1 - sure)
