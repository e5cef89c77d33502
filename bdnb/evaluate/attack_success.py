"""Attack success rate: how often a triggered image is taken for the target class (Section 4).

In: features of triggered images, their true labels, class embeddings. Out: (name, percent).
"""

from collections.abc import Iterator, Sequence

from torch import Tensor

from bdnb.evaluate.zero_shot import check_labels, predictions, shares
from bdnb.runtime.errors import ConfigError


def asr(
    triggered_features: Tensor,
    labels: Tensor,
    head: Tensor,
    target: int,
    *,
    topk: Sequence[int] = (1, 5, 10),
) -> Iterator[tuple[str, float]]:
    """Attack success in percent, both ways of counting it, and accuracy in spite of the trigger.

    triggered_features: (N, D) unit; labels: (N,) int64, the true classes; head: (C, D) unit;
    target: class index.
    Yields ``asr``, ``asr_top5``, ``asr_top10`` with images of the target class left out (the
    authors' figures); ``asr_all``, top-1 over all images (the paper's words);
    ``triggered_accuracy``, top-1 against the true label over all images. With fewer than k
    classes, top-k counts them all. Errors: as ``zero_shot.accuracy``; ConfigError for a target
    that is no class, or when every image is of the target class.
    """
    if not 0 <= target < len(head):
        raise ConfigError(f"target={target}: expected 0..{len(head) - 1}, the classes there are")
    labels = check_labels(labels, len(triggered_features), len(head)).to(triggered_features.device)
    found = predictions(triggered_features, head, k=max(topk))
    others = labels != target
    if not others.any():
        raise ConfigError(f"every image is of the target class {target}: no ASR without them")
    yield from shares("asr", found[others] == target, topk)
    yield from shares("asr_all", found == target, (1,))
    yield from shares("triggered_accuracy", found == labels[:, None], (1,))
