"""Test images with a trigger, told by prompts: BDetCLIP and Subspace Detection.

Both papers have a language model write their texts; here they are templates and class names.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb.config.options import Count, Positive, Share
from bdnb.evaluate import zero_shot
from bdnb.evaluate.benchmark import class_head, text_features
from bdnb.evaluate.detectors.registry import Known, Samples, Scored, detector
from bdnb.models import Model
from bdnb.poison.targets import fill
from bdnb.runtime import seeds


@detector("bdetclip", of="images")
def bdetclip(model: Model, samples: Samples, known: Known, *, words: Count = 20) -> Scored:
    """BDetCLIP (Niu et al. 2025, arXiv 2405.15269): words beside the class move it too little.

    Omega = sum over classes of the cosine with prompts less that with prompts to which ``words``
    names drawn from all classes are added; suspicious is a small one, below the least of clean
    images.
    """
    draws, names = seeds.generator(known.seed, "bdetclip"), list(known.classnames)
    noisy = [" ".join([name, *draws.choice(names, words)]) for name in names]
    heads = [class_head(model, classes, known.templates) for classes in (names, noisy)]
    direction = (heads[0] - heads[1]).sum(dim=0)
    return Scored(-samples.image @ direction, float(-(known.reference @ direction).min()))


@detector("subspace", of="images")
def subspace(
    model: Model,
    samples: Samples,
    known: Known,
    *,
    variants: Count = 9,
    variance: Share = 0.95,
    drawn: Count = 15,
) -> Scored:
    """Subspace Detection (Song et al. 2026): squared distance to texts around the class's name.

    Of the class that the image is taken for: its name, ``variants`` templates of it, and ``drawn``
    features from the region that these span. Threshold: the largest of clean images.
    """
    names, templates = list(known.classnames), list(known.templates)[:variants]
    head = text_features(model, names)
    everyone = torch.cat([samples.image, known.reference])
    classes = zero_shot.predictions(everyone, head)[:, 0]
    scores = everyone.new_empty(len(everyone))
    for place in classes.unique().tolist():
        texts = text_features(model, [fill(t, names[place]) for t in templates])
        seed = seeds.integer(known.seed, "subspace", names[place])
        drawing = torch.Generator().manual_seed(seed % 2**63)
        region = around(head[place], texts, drawing, variance=variance, drawn=drawn)
        mine = classes == place
        scores[mine] = (everyone[mine][:, None] - region).square().sum(dim=2).mean(dim=1)
    count = len(samples.image)
    return Scored(scores[:count], float(scores[count:].max()))


def around(
    name: Tensor,
    variants: Tensor,
    draws: torch.Generator,
    *,
    variance: float,
    drawn: int,
    components: int = 3,
    points: int = 90,
    spread: Positive = 1e-3,
    tries: int = 128,
) -> Tensor:
    """Return features (drawn, D) from the region of a class (Algorithm 1 of the paper).

    name: (D,) of the class's name; variants: (V, D). In the principal components that hold
    ``variance``, each variant is moved on, away from the name, by a random share such that its
    cosine with the name falls to 0.85 to 1 of the variant's; of ``components`` such sets of
    variants and ``points``, features are drawn near the mean.
    """
    features = torch.cat([name[None], variants]).cpu().float()
    mean = features.mean(dim=0)
    _, values, axes = torch.linalg.svd(features - mean, full_matrices=False)
    held = values.square().cumsum(0) / values.square().sum().clamp_min(1e-12)
    axes = axes[: int((held < variance).sum()) + 1]
    own = (features - mean) @ axes.T
    each = own[1:].repeat_interleave(-(-points // len(variants)), dim=0)
    before = F.cosine_similarity(features[1:], features[:1]).repeat_interleave(
        len(each) // len(variants), dim=0
    )
    sets = []
    for _ in range(components):
        moved = each + torch.rand(tries, len(each), 1, generator=draws) * (each - own[0])
        ratio = F.cosine_similarity(mean + moved @ axes, features[0], dim=2) / before.clamp_min(
            1e-8
        )
        fits = ((ratio > 0.85) & (ratio < 1)).int()
        first = torch.where(fits.any(dim=0), fits.argmax(dim=0), tries - 1)
        sets.append(torch.cat([own[1:], moved[first, torch.arange(len(each))]]))
    chosen = torch.randint(components, (drawn,), generator=draws).tolist()
    made = []
    for one in chosen:
        middle = sets[one].mean(dim=0)
        weights = torch.randn(len(sets[one]), generator=draws)
        made.append(mean + (middle + spread * weights @ (sets[one] - middle)) @ axes)
    return torch.stack(made).to(name)
