import numpy as np
import pytest
import torch

from bdnb.data.batches import Batches, Poison
from bdnb.data.shards import Pairs
from bdnb.runtime.errors import ConfigError


def tokens(captions):
    return torch.tensor([[len(c)] for c in captions])


def made(count=10, **options):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 2), np.uint8)
    pairs = Pairs(images, ["x" * i for i in range(count)], [f"k{i}" for i in range(count)])
    return Batches(pairs, **({"batch_size": 4, "seed": 0, "tokens": tokens} | options))


def test_every_sample_comes_once_an_epoch_in_another_order_each():
    batches = made()
    orders = [torch.cat([b.places for b in batches.epoch(e)]).tolist() for e in (1, 2, 1)]
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[2] != orders[1]
    assert len(batches) == 3


def test_image_caption_and_index_stay_together():
    for batch in made().epoch(3):
        assert torch.equal(batch.images[:, 0, 0, 0].long(), batch.places)
        assert torch.equal(batch.tokens[:, 0], batch.places)


def test_a_rest_too_small_to_contrast_is_left_out():
    assert [len(b.places) for b in made(9).epoch(1)] == [4, 4]


@pytest.mark.parametrize(("count", "steps"), [(8, [4, 4]), (10, [4, 4]), (11, [4, 4])])
def test_the_authors_leave_out_a_last_batch_that_is_smaller(count, steps):
    batches = made(count, last_batch="drop")
    assert [len(b.places) for b in batches.epoch(1)] == steps
    assert len(batches) == len(steps)
    with pytest.raises(ConfigError, match="3 pairs, batch_size=4: no whole batch"):
        made(3, last_batch="drop")


def test_processes_share_each_batch_in_order():
    whole = [b.places for b in made(12).epoch(1)]
    parts = [[b.places for b in made(12, rank=r, world=2).epoch(1)] for r in (0, 1)]
    for together, *shares in zip(whole, *parts, strict=True):
        assert torch.equal(together, torch.cat(shares))


def test_poisoned_samples_carry_the_trigger_and_the_attacker_s_caption():
    poison = Poison({3: torch.full((3, 2, 2), 99, dtype=torch.uint8)}, {3: "y" * 77})
    for batch in made(poison=poison).epoch(1):
        for image, token, index in zip(*batch[:3], strict=True):
            assert (image == (99 if index == 3 else index)).all()
            assert token.item() == (77 if index == 3 else index)


def test_second_views_come_behind_and_are_made_of_the_triggered_images():
    poison = Poison({3: torch.full((3, 2, 2), 99, dtype=torch.uint8)}, {3: "y" * 77})

    def image_views(images, epoch, keys):
        return images + epoch

    def text_views(captions, epoch, keys):
        return [caption + "z" * epoch for caption in captions]

    batches = made(poison=poison, image_views=image_views, text_views=text_views)
    for batch in batches.epoch(2):
        first, second = batch.images.chunk(2)
        assert torch.equal(first + 2, second)
        first, second = batch.tokens.chunk(2)
        assert torch.equal(first + 2, second)


def test_an_epoch_can_be_taken_up_at_any_batch():
    batches = made(12, rank=1, world=2)
    whole = list(batches.epoch(2))
    for first in range(len(batches) + 1):
        rest = list(batches.epoch(2, first=first))
        assert [b.places.tolist() for b in rest] == [b.places.tolist() for b in whole[first:]]
        assert all(
            torch.equal(a.images, b.images) for a, b in zip(rest, whole[first:], strict=True)
        )


@pytest.mark.parametrize("last_batch", ["keep", "drop"])
def test_batches_of_one_kind_hold_every_sample_once_and_are_taken_up_as_they_were(last_batch):
    kinds = np.arange(42) % 5 == 0  # 9 of one, 33 of the other
    batches = made(42, last_batch=last_batch)
    whole = [b.places.tolist() for b in batches.epoch(2, kinds=kinds)]
    assert [len(one) for one in whole] == [4] * 10 + [2] * (last_batch == "keep")
    places = sorted(place for one in whole for place in one)
    assert places == list(range(42)) or (last_batch == "drop" and len(set(places)) == 40)
    mixed = [sum(kinds[one]) for one in whole if 0 < sum(kinds[one]) < len(one)]
    assert len(mixed) == 1
    alike = [bool(kinds[one].all()) for one in whole]
    assert alike != sorted(alike)  # kinds come in turns, not one after the other
    assert whole != [b.places.tolist() for b in batches.epoch(3, kinds=kinds)]
    rest = [b.places.tolist() for b in batches.epoch(2, first=5, kinds=kinds)]
    assert rest == whole[5:]
    with pytest.raises(ConfigError, match=r"kinds of shape \(3,\): expected one of \(42,\)"):
        next(batches.epoch(1, kinds=np.zeros(3)))


def test_too_few_pairs_are_refused():
    with pytest.raises(ConfigError, match="1 pairs"):
        made(1)
