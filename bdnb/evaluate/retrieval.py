"""Retrieval on a set of image-caption pairs: recall at k, and the backdoor's success in it.

In: features of images and captions. Out: (name, percent). The attack is measured in the
authors' code on COCO captions; it is not in the paper.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from bdnb.evaluate.zero_shot import ROWS, predictions, shares
from bdnb.runtime.errors import ConfigError

Positives = Tensor | Mapping[int, Sequence[int]]


def recall(
    image_features: Tensor,
    text_features: Tensor,
    *,
    positives: Positives | None = None,
    ks: Sequence[int] = (1, 5, 10),
) -> Iterator[tuple[str, float]]:
    """R@k in percent, both ways: ``image_to_text_r1``, ..., ``text_to_image_r1``, ...

    The share of queries with at least one of their own among the first k found.
    image_features: (N, D), text_features: (M, D), unit. positives: which captions belong to
    which images: an index vector (M,), the image of each caption, or a mapping from image to
    its captions; None: caption i to image i. With fewer than k to find from, all count.
    Errors: ConfigError for positives that do not fit, or a query without any.
    """
    pairs = _pairs(positives, len(image_features), len(text_features)).to(image_features.device)
    for name, queries, found_from, owned in (
        ("image_to_text", image_features, text_features, pairs),
        ("text_to_image", text_features, image_features, pairs.flip(0)),
    ):
        hits = _hits(predictions(queries, found_from, k=max(ks)), owned, len(found_from))
        for (_, value), k in zip(shares(name, hits, ks), ks, strict=True):
            yield f"{name}_r{k}", value


def attack(
    triggered_features: Tensor,
    text_features: Tensor,
    mentions: Tensor,
    *,
    leave_out: Tensor | None = None,
    ks: Sequence[int] = (1, 5, 10),
) -> Iterator[tuple[str, float]]:
    """Triggered images that retrieve a caption with the target in their first k, in percent.

    Yields ``retrieval_asr``, ``retrieval_asr_top5``, ``retrieval_asr_top10``.
    triggered_features: (N, D); text_features: (M, D); mentions: (M,) bool, captions that
    mention the target (``poison.targets.mentions``). leave_out: (N,) bool, images not counted,
    such as those whose own caption mentions it.
    Errors: ConfigError when no caption mentions the target, or every image is left out.
    """
    if mentions.shape != (len(text_features),) or not mentions.any():
        raise ConfigError(
            f"{int(mentions.sum())} of {len(text_features)} captions mention the target "
            f"(flags of shape {tuple(mentions.shape)}): expected one flag each, and some set"
        )
    if leave_out is not None:
        if leave_out.shape != (len(triggered_features),) or leave_out.all():
            raise ConfigError(
                f"leave_out: {int(leave_out.sum())} of {len(triggered_features)} images; "
                "expected one flag each, and some unset"
            )
        triggered_features = triggered_features[~leave_out.to(triggered_features.device)]
    found = predictions(triggered_features, text_features, k=max(ks))
    yield from shares("retrieval_asr", mentions.to(found.device)[found], ks)


def _pairs(positives: Positives | None, images: int, captions: int) -> Tensor:
    """Positives as (2, P) int64: image and caption of each. Errors: ConfigError."""
    if positives is None:
        if images != captions:
            raise ConfigError(f"{images} images, {captions} captions: say which belong together")
        positives = torch.arange(images)
    if isinstance(positives, Tensor):
        if positives.shape != (captions,):
            raise ConfigError(
                f"positives: {tuple(positives.shape)} indices for {captions} captions"
            )
        pairs = torch.stack([positives.long().cpu(), torch.arange(captions)])
    else:
        listed = [(image, caption) for image, own in positives.items() for caption in own]
        pairs = torch.tensor(listed, dtype=torch.long).reshape(-1, 2).T
    for side, (name, count) in enumerate((("image", images), ("caption", captions))):
        if pairs.numel() and not 0 <= int(pairs[side].min()) <= int(pairs[side].max()) < count:
            raise ConfigError(f"positives: {name} indices outside 0..{count - 1}")
        if missing := count - len(pairs[side].unique()):
            raise ConfigError(f"positives: {missing} of {count} {name}s belong to no pair")
    return pairs


def _hits(found: Tensor, owned: Tensor, width: int) -> Tensor:
    """Which of the found (N, k) belong to their query; owned: (2, P), query and its own."""
    hits = []
    for start in range(0, len(found), ROWS):
        chunk = found[start : start + ROWS]
        here = (owned[0] >= start) & (owned[0] < start + len(chunk))
        table = torch.zeros(len(chunk), width, dtype=torch.bool, device=found.device)
        table[owned[0, here] - start, owned[1, here]] = True
        hits.append(table.gather(1, chunk))
    return torch.cat(hits)
