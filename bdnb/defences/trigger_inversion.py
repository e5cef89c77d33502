"""Which class a backdoor aims at and what its trigger may look like, from clean images alone.

The first two steps of InverTune (Sun et al. 2025, arXiv 2506.12411). Images (N, 3, H, W) of 0 to 1.
"""

from collections.abc import Callable, Iterator
from itertools import cycle

import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb.evaluate import zero_shot
from bdnb.models import Model
from bdnb.runtime import seeds

TEMPERATURE = 0.07


def put_on(images: Tensor, mask: Tensor, trigger: Tensor) -> Tensor:
    """Return ``mask * trigger + (1 - mask) * images``; mask and trigger broadcast to (3, H, W)."""
    return mask * trigger + (1 - mask) * images


def classes(model: Model, images: Tensor, head: Tensor) -> Tensor:
    """Return each image's nearest class, (N,). head: (C, D) unit class embeddings."""
    with torch.no_grad():
        return zero_shot.predictions(model.encode_image(255 * images), head)[:, 0]


def suspected_target(
    model: Model, images: Tensor, head: Tensor, *, area: float, steps: int, lr: float, seed: int
) -> int:
    """Return the class whose share of predictions rises most under a universal patch.

    The patch, of that share of the image's area and near the lower right corner, is trained to move
    embeddings from where they are, with no class in view. The authors' code brings its own ready
    made; how it was trained is not there.
    """
    side = images.shape[-1]
    length = max(1, int(side * area**0.5))
    first = side - round(side / 16) - length
    mask = torch.zeros(1, side, side, device=images.device)
    mask[:, first : first + length, first : first + length] = 1
    patch = torch.rand(3, side, side, generator=_draws(seed, "universal patch")).to(images.device)
    with torch.no_grad():
        clean = model.encode_image(255 * images)

    def cosine(at: Tensor, patched: Tensor) -> Tensor:
        return (model.encode_image(255 * patched) * clean[at]).sum(dim=1).mean()

    def loss(at: Tensor) -> Tensor:
        return cosine(at, put_on(images[at], mask, patch))

    minimise([patch], loss, len(images), steps=steps, lr=lr)
    before = classes(model, images, head).bincount(minlength=len(head))
    after = classes(model, put_on(images, mask, patch), head).bincount(minlength=len(head))
    return int((after - before).argmax())


def inverted(
    model: Model, images: Tensor, head: Tensor, target: int, *, steps: int, lr: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the mask and the trigger (3, H, W) each that take images to the target.

    Minimises ``5 CE(z head / 0.07, target) + 0.5 |z - z_target| + (1 - SSIM) + 0.01 |mask|_1``,
    where z_target is the embedding of the clean image nearest to the target's class. The mask
    starts at 1, as the authors': at first the trigger is all that the model sees. Theirs is in
    normalised pixels, whose range is about four times as wide, so that a step of Adam is smaller.
    """
    side = images.shape[-1]
    mask = torch.ones(3, side, side, device=images.device)
    trigger = torch.rand(3, side, side, generator=_draws(seed, "trigger")).to(images.device)
    with torch.no_grad():
        clean = model.encode_image(255 * images)
        goal = clean[(clean @ head[target]).argmax()]

    def loss(at: Tensor) -> Tensor:
        stamped = put_on(images[at], mask, trigger)
        seen = model.encode_image(255 * stamped)
        wanted = torch.full((len(at),), target, device=images.device)
        return (
            5 * F.cross_entropy(seen @ head.T / TEMPERATURE, wanted)
            + 0.5 * (seen - goal).norm()
            + (1 - ssim(stamped, images[at]))
            + 0.01 * mask.abs().sum()
        )

    minimise([mask, trigger], loss, len(images), steps=steps, lr=lr)
    return mask.detach(), trigger.detach()


def minimise(
    values: list[Tensor], loss: Callable[[Tensor], Tensor], count: int, *, steps: int, lr: float
) -> None:
    """Descend with Adam, in place, values held to 0..1. loss: takes the places of 64 images."""
    adam = torch.optim.Adam([value.requires_grad_() for value in values], lr=lr)
    batches: Iterator[Tensor] = cycle(torch.arange(count).split(64))
    for _, at in zip(range(steps), batches, strict=False):
        gradients = torch.autograd.grad(loss(at), values)
        for value, gradient in zip(values, gradients, strict=True):
            value.grad = gradient
        adam.step()
        with torch.no_grad():
            for value in values:
                value.clamp_(0, 1)
    for value in values:
        value.requires_grad_(False)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Mean structural similarity (Wang et al. 2004) of images (B, 3, H, W) of 0 to 1: a scalar.

    Gaussian window of 11 places, or as many as an image has, of standard deviation 1.5.
    """
    size = min(11, a.shape[-1])
    line = torch.exp(-((torch.arange(size) - (size - 1) / 2) ** 2) / (2 * 1.5**2)).to(a)
    window = (line.outer(line) / line.sum() ** 2).expand(3, 1, size, size)

    def mean(x: Tensor) -> Tensor:
        return F.conv2d(x, window, groups=3)

    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    found = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    return found.mean()


def _draws(seed: int, what: str) -> torch.Generator:
    return torch.Generator().manual_seed(seeds.integer(seed, f"inversion {what}"))
