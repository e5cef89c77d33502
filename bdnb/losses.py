"""The losses of the paper, as pure functions of unit embeddings and the logit scale.

In: features (B, D) of unit length, already gathered from all ranks, and the logit scale 1/tau
(scalar, exponentiated). Out: a scalar to minimise. Section 3.1 and Equation 3 of the paper.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from bdnb.runtime.errors import BdnbError, ConfigError

MAX_LOGIT_SCALE = math.log(100)
"""CLIP's and the authors' bound: the temperature is never under 0.01."""


class NonFiniteLoss(BdnbError, FloatingPointError):
    """The loss, or what the model makes of an image or a text, is no longer a number."""


REMEDY = "Try a lower lr, more warmup_steps, or precision=no"


def mmcl(image: Tensor, text: Tensor, logit_scale: Tensor) -> Tensor:
    """Multimodal contrastive loss: InfoNCE image -> text and text -> image, their mean.

    image, text: (B, D) unit embeddings of the same pairs in the same order. Equation 1.
    """
    logits = _similarity(image, text, logit_scale)
    return (_nce(logits) + _nce(logits.T)) / 2


def info_nce(queries: Tensor, keys: Tensor, logit_scale: Tensor) -> Tensor:
    """InfoNCE of unit embeddings (B, D): each query's positive is the key of its row."""
    return _nce(_similarity(queries, keys, logit_scale))


def ssl(
    image: Tensor, image_view: Tensor, text: Tensor, text_view: Tensor, logit_scale: Tensor
) -> Tensor:
    """Self-supervised loss: InfoNCE original -> augmented inside each modality, their mean.

    image, image_view, text, text_view: (B, D) unit embeddings of the originals and of their
    augmented views. One direction only, as the paper and the authors' code. Equation 2.
    """
    image_term = info_nce(image, image_view, logit_scale)
    text_term = info_nce(text, text_view, logit_scale)
    return (image_term + text_term) / 2


def barlow_twins(a: Tensor, b: Tensor, *, off_diagonal: float = 5e-3) -> Tensor:
    """Barlow Twins (Zbontar et al., 2021, Equation 1), a dimension: views agree, dimensions do not.

    a, b: (B, D) embeddings of two views. Their cross-correlation over the batch is drawn to the
    identity; off_diagonal: the paper's lambda. Divided by D, so that it is about one at first.
    """
    with torch.autocast(device_type=a.device.type, enabled=False):
        each = [
            (x - x.mean(dim=0)) / (x.std(dim=0, correction=0) + 1e-5) for x in map(_wide, (a, b))
        ]
        squares = (each[0].T @ each[1] / len(a) - torch.eye(a.shape[1], device=a.device)).square()
        own = squares.diagonal().sum()
        return (own + off_diagonal * (squares.sum() - own)) / a.shape[1]


def siglip(image: Tensor, text: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """Pairwise sigmoid loss (Zhai et al., 2023, Algorithm 1): summed over pairs, mean over images.

    image, text: (B, D) unit embeddings; logit_bias: scalar, negative when training starts.
    """
    logits = _similarity(image, text, logit_scale) + logit_bias
    signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def deep_cluster(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of the cluster head against pseudo-labels, mean over images. Equation 3.

    logits: (B, k) of the linear head; labels: (B,) int64. A mean over samples: no gathering.
    """
    return F.cross_entropy(_wide(logits), labels)


def l2_penalty(parameters: Iterable[Tensor]) -> Tensor:
    """Sum of the squares of all weights: heavy regularisation as the paper words it.

    Its gradient is 2 theta, through Adam's moments; AdamW's weight decay (the authors' code)
    goes around them.
    """
    return torch.stack([_wide(parameter).square().sum() for parameter in parameters]).sum()


def clamp_logit_scale_(parameter: Tensor) -> Tensor:
    """Keep the logarithm of the logit scale in [0, ln 100], in place; call after each step."""
    with torch.no_grad():
        return parameter.clamp_(0, MAX_LOGIT_SCALE)


def check_finite(loss: float, *, step: int, parts: Mapping[str, float], lr: float) -> None:
    """Stop when the loss is not a number.

    Takes Python floats, which cost a wait for the device: call it on a value that is read
    anyway, such as the sum over an epoch, not on every step's tensor.
    step: of the first bad value, or the last of the span that ``loss`` sums up.
    parts: the loss's terms by name. lr: the learning rate there.
    Errors: NonFiniteLoss that names the step and the terms and says what to try.
    """
    values = {"loss": loss, **parts}
    if all(math.isfinite(value) for value in values.values()):
        return
    listed = ", ".join(f"{name}={value:g}" for name, value in values.items())
    raise NonFiniteLoss(
        f"the loss is not finite by step {step} at learning rate {lr:g}: {listed}. {REMEDY}; "
        "the last checkpoint is from before"
    )


def gather(features: Tensor, *, mode: str = "exact", sizes: Sequence[int] = ()) -> Tensor:
    """The features of all ranks, in rank order; the same tensor when there is one process.

    features: (B, D), the same B on every rank, or that of ``sizes``. Out: (sum of B, D).
    mode: "exact", gradients flow back to every rank, so that gradients averaged over ranks are
    those of one process with the whole batch; "authors", only the own rows carry a gradient,
    so that the encoders' is 1/world of it. Several features in one message: concatenate them
    along D, gather, ``chunk``. Errors: ConfigError for another mode.
    """
    if mode not in ("exact", "authors"):
        raise ConfigError(f"gather={mode!r}: expected exact or authors")
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return features
    pieces = _all_gather(features, sizes)
    pieces[dist.get_rank()] = features
    gathered = torch.cat(pieces)
    if mode == "exact" and gathered.requires_grad:
        gathered.register_hook(_sum_over_ranks)
    return gathered


def _sum_over_ranks(gradient: Tensor) -> Tensor:
    """The gradient that all ranks give what was gathered; of it the own rows' share goes on.

    torch.distributed.nn.functional.all_gather, which open_clip uses, is deprecated, and what
    replaces it is private and in the newest torch only.
    """
    total = gradient.contiguous().clone()
    dist.all_reduce(total)
    return total


def _all_gather(features: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """Each rank's features; uneven ones are padded on the way, as not every backend takes them."""
    own = features.detach().contiguous()
    sizes = sizes or [len(own)] * dist.get_world_size()
    padded = F.pad(own, (0, 0, 0, max(sizes) - len(own)))
    pieces = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(pieces, padded)
    return [piece[:size] for piece, size in zip(pieces, sizes, strict=True)]


def _similarity(a: Tensor, b: Tensor, logit_scale: Tensor) -> Tensor:
    """Scaled cosines, (B, B). Outside autocast: at a scale of 100, bf16 is off by half a nat."""
    with torch.autocast(device_type=a.device.type, enabled=False):
        return logit_scale * (_wide(a) @ _wide(b).T)


def _nce(logits: Tensor) -> Tensor:
    """InfoNCE of a square matrix: each row's positive is on the diagonal."""
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def _wide(x: Tensor) -> Tensor:
    """At least float32; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
