"""The gradient of a whole batch from pieces of it, for losses that compare all pairs (GradCache).

Gao et al., 2021. Every piece goes forward without a graph; the loss of all features gives their
gradient; every piece goes forward again, with a graph, weighted by it. So a small GPU reaches the
paper's batch, for one more forward pass.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from bdnb.data.batches import Batch
from bdnb.models.sync_batchnorm import untracked


def pieces(batch: Batch, most: int) -> int:
    """How many pieces of up to ``most`` images a batch is cut into, the same on every process."""
    own = len(batch.places)
    views = len(batch.images) // own
    sizes = batch.sizes or (own,)
    return min(-(-views * max(sizes) // most), views * min(sizes))


def backward(
    forward: nn.Module,
    images: Tensor,
    tokens: Tensor,
    loss: Callable[..., dict[str, Tensor]],
    *,
    count: int,
    accelerator: Accelerator,
) -> dict[str, Tensor]:
    """Accumulate the whole batch's gradients piece by piece; the parts of the loss.

    forward: (images, tokens) -> image and text features, scale, bias. loss: takes these four.
    count: of pieces. Exact for models that treat each sample by itself. BatchNorm's statistics
    are a piece's own, in both passes, and its running ones move once a piece.
    """
    cut = list(zip(images.tensor_split(count), tokens.tensor_split(count), strict=True))
    with torch.no_grad(), untracked(forward):
        found = [forward(*piece) for piece in cut]
    image = torch.cat([f[0] for f in found]).requires_grad_()
    text = torch.cat([f[1] for f in found]).requires_grad_()
    scale, bias = (value.detach().clone().requires_grad_() for value in found[-1][2:])
    parts = loss(image, text, scale, bias)
    accelerator.backward(parts["loss_total"])
    grads = [_grad(feature).tensor_split(count) for feature in (image, text)]
    for number, (piece, *wanted) in enumerate(zip(cut, *grads, strict=True), start=1):
        last = number == count
        with nullcontext() if last else accelerator.no_sync(forward):
            made = forward(*piece)
            # Scale and bias belong to no piece: the last one, which is shared, brings them along.
            made, given = (
                (made, [*wanted, _grad(scale), _grad(bias)]) if last else (made[:2], wanted)
            )
            terms = [(value * grad).sum() for value, grad in zip(made, given, strict=True)]
            accelerator.backward(torch.stack(terms).sum())
    return parts


def _grad(value: Tensor) -> Tensor:
    """The gradient that a backward pass left; zeros where the loss does not use the value."""
    return torch.zeros_like(value) if value.grad is None else value.grad
