import pytest
import torch
from clip_benchmark.metrics import zeroshot_retrieval
from torch.nn import functional as F

from bdnb.evaluate import retrieval
from bdnb.runtime.errors import ConfigError


def features(count: int, seed: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=draws), dim=-1)


def slow_recall(queries: torch.Tensor, others: torch.Tensor, own: list[set[int]], k: int) -> float:
    hits = 0
    for query, mine in zip(queries, own, strict=True):
        ranked = sorted(range(len(others)), key=lambda j: -float(query @ others[j]))
        hits += bool(mine & set(ranked[:k]))
    return 100 * hits / len(queries)


def test_recall_with_several_captions_an_image_is_the_slow_count():
    images, texts = features(8, 0), features(24, 1)
    owner = torch.arange(24) % 8
    found = dict(retrieval.recall(images, texts, positives=owner))
    captions = [{j for j in range(24) if j % 8 == i} for i in range(8)]
    for k in (1, 5):
        assert found[f"image_to_text_r{k}"] == pytest.approx(
            slow_recall(images, texts, captions, k)
        )
        own = [{j % 8} for j in range(24)]
        assert found[f"text_to_image_r{k}"] == pytest.approx(slow_recall(texts, images, own, k))
    assert found["text_to_image_r10"] == 100.0


def test_recall_is_that_of_clip_benchmark():
    images, texts = features(8, 2), features(24, 3)
    owner = torch.arange(24) % 8
    found = dict(retrieval.recall(images, texts, positives=owner, ks=(5,)))
    positive = torch.zeros(24, 8, dtype=torch.bool)
    positive[torch.arange(24), owner] = True
    scores = texts @ images.T
    theirs = zeroshot_retrieval.recall_at_k(scores, positive, 5) > 0
    assert found["text_to_image_r5"] == pytest.approx(100 * theirs.float().mean().item())
    theirs = zeroshot_retrieval.recall_at_k(scores.T, positive.T, 5) > 0
    assert found["image_to_text_r5"] == pytest.approx(100 * theirs.float().mean().item())


def test_a_mapping_says_the_same_as_an_index_vector():
    images, texts = features(4, 0), features(8, 1)
    owner = torch.arange(8) // 2
    mapping = {i: [2 * i, 2 * i + 1] for i in range(4)}
    by_index = list(retrieval.recall(images, texts, positives=owner))
    assert list(retrieval.recall(images, texts, positives=mapping)) == by_index


def test_pairs_in_order_are_the_default_and_perfect_embeddings_are_always_found():
    same = features(7, 0)
    assert {value for _, value in retrieval.recall(same, same)} == {100.0}


def test_recall_does_not_depend_on_the_chunk(monkeypatch):
    images, texts = features(9, 0), features(27, 1)
    owner = torch.arange(27) // 3
    whole = list(retrieval.recall(images, texts, positives=owner))
    monkeypatch.setattr(retrieval, "ROWS", 4)
    assert list(retrieval.recall(images, texts, positives=owner)) == whole


@pytest.mark.parametrize(
    ("positives", "message"),
    [
        (None, "4 images, 8 captions"),
        (torch.arange(7), r"\(7,\) indices for 8 captions"),
        (torch.arange(8), r"image indices outside 0\.\.3"),
        (torch.tensor([0, 0, 1, 1, 2, 2, 2, 2]), "1 of 4 images belong to no pair"),
        ({0: range(8)}, "3 of 4 images belong to no pair"),
        ({0: [0], 1: [1], 2: [2], 3: [3, 4, 5, 6, 8]}, r"caption indices outside 0\.\.7"),
        ({}, "4 of 4 images"),
    ],
)
def test_positives_that_do_not_fit_are_refused(positives, message):
    with pytest.raises(ConfigError, match=message):
        list(retrieval.recall(features(4, 0), features(8, 1), positives=positives))


def test_retrieval_asr_is_the_hand_counted_share_of_images_with_a_target_caption_in_front():
    """Captions 1 and 3 of four mention the target; images rank captions as written."""
    images = torch.tensor([[4.0, 3, 2, 1], [1, 4, 2, 3], [4, 1, 3, 2]])
    mentions = torch.tensor([False, True, False, True])
    found = dict(retrieval.attack(images, torch.eye(4), mentions, ks=(1, 2, 3)))
    assert found["retrieval_asr"] == pytest.approx(100 / 3)
    assert found["retrieval_asr_top2"] == pytest.approx(200 / 3)
    assert found["retrieval_asr_top3"] == pytest.approx(100)
    left = torch.tensor([False, True, False])
    rest = dict(retrieval.attack(images, torch.eye(4), mentions, leave_out=left, ks=(1, 2)))
    assert rest == {"retrieval_asr": 0.0, "retrieval_asr_top2": 50.0}


def test_an_attack_without_target_captions_or_images_is_refused():
    images, texts = features(3, 0), features(4, 1)
    with pytest.raises(ConfigError, match="0 of 4 captions mention"):
        list(retrieval.attack(images, texts, torch.zeros(4, dtype=torch.bool)))
    mentions, everyone = torch.ones(4, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    with pytest.raises(ConfigError, match="3 of 3 images"):
        list(retrieval.attack(images, texts, mentions, leave_out=everyone))
