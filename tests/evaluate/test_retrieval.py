import numpy as np
import pytest
import torch
from torch.nn import functional as F

from bdnb import models
from bdnb.data.labelled import LabelledSet
from bdnb.data.shards import Pairs
from bdnb.evaluate import retrieval
from bdnb.evaluate.benchmark import Benchmark
from bdnb.evaluate.measured import mark
from bdnb.poison import selection
from bdnb.runtime.errors import ConfigError


def features(count: int, seed: int) -> torch.Tensor:
    draws = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, 6, generator=draws), dim=-1)


def ranked(query: torch.Tensor, others: torch.Tensor) -> list[int]:
    return sorted(range(len(others)), key=lambda j: -float(query @ others[j]))


def test_recall_is_the_slow_count():
    images, texts, owner = features(40, 0), features(24, 1), torch.arange(40) % 24
    found = dict(retrieval.recall(images, texts, owner))
    for k in (1, 5, 10):
        hits = sum(int(owner[i]) in ranked(images[i], texts)[:k] for i in range(40))
        assert found[f"recall_at_{k}"] == pytest.approx(100 * hits / 40)


def test_retrieval_asr_is_the_slow_count_without_images_whose_caption_mentions_the_target():
    images, texts, owner = features(40, 2), features(24, 3), torch.arange(40) % 24
    mentions = torch.arange(24) < 3
    found = dict(retrieval.attack(images, texts, owner, mentions))
    counted = [i for i in range(40) if owner[i] >= 3]
    for k, name in ((1, ""), (5, "_top5"), (10, "_top10")):
        hits = sum(min(ranked(images[i], texts)[:k]) < 3 for i in counted)
        assert found[f"retrieval_asr{name}"] == pytest.approx(100 * hits / len(counted))


def test_perfect_embeddings_are_always_found():
    same = features(12, 0)
    assert {value for _, value in retrieval.recall(same, same, torch.arange(12))} == {100.0}


CAPTIONS = ["a banana", "a dog", "red apple", "two bananas", "a cat"]


def pairs(count: int = 20) -> Pairs:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    captions = [CAPTIONS[i % 5] for i in range(count)]
    return Pairs(images, captions, [f"{i:03d}" for i in range(count)])


def held(count: int = 10, used: int = 10) -> retrieval.HeldOut:
    return retrieval.hold_out(pairs(), pairs(), seed=0, count=count, used=used)


def test_pairs_held_out_are_none_that_clean_the_model_and_equal_captions_are_one():
    cleaned = selection.cleaning_keys([], pairs().keys, [], seed=0, count=10)
    found = held()
    assert set(found.keys) == set(pairs().keys) - set(cleaned)
    assert len(found.captions) == len(set(found.captions)) <= 5
    whole = dict(zip(pairs().keys, pairs().captions, strict=True))
    for key, owner in zip(found.keys, found.owner.tolist(), strict=True):
        assert found.captions[owner] == whole[key]
    with pytest.raises(ConfigError, match="retrieval=11: 20 clean pairs, of which 10 clean"):
        held(11)


def test_captions_of_which_none_mentions_the_target_are_refused():
    with pytest.raises(ConfigError, match=r"0 of \d captions mention 'zebra'"):
        held().mentions("zebra")


def benchmark(held_out: retrieval.HeldOut | None, *, stamp) -> Benchmark:
    images = pairs(6).images
    keys, names = [f"{i:03d}" for i in range(6)], ["banana", "dog", "cat"]
    labelled = LabelledSet("val", images, np.arange(6) % 3, keys, names, ["a {c}"], {})
    return Benchmark(
        [labelled], stamp=stamp, target="banana", templates=["a {c}"], held_out=held_out
    )


def test_a_benchmark_with_pairs_held_out_measures_retrieval_and_is_told_apart():
    model = models.build("rn_test", seed=0)
    plain = benchmark(None, stamp=lambda images, keys: images)
    bench = benchmark(held(), stamp=lambda images, keys: images // 2)
    row = bench.measure(model)
    assert {"recall_at_1", "recall_at_5", "recall_at_10", "retrieval_asr"} <= set(row)
    assert not {"recall_at_1", "retrieval_asr"} & set(plain.measure(model))
    assert mark(bench, model, "cpu") != mark(plain, model, "cpu")
    unknown = benchmark(held(), stamp=None).measure(model)
    assert unknown["recall_at_1"] == row["recall_at_1"]
    assert "retrieval_asr" not in unknown
