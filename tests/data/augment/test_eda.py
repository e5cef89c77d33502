from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdnb.data.augment import eda as operations
from bdnb.data.augment.eda import (
    STOP_WORDS,
    ShiftedViews,
    TextViews,
    delete,
    eda,
    insert,
    replace,
    swap,
    words_of,
)
from bdnb.data.augment.wordnet import synonyms, wordnet
from bdnb.runtime.errors import ConfigError

TOY = {"cat": ("feline", "big cat"), "dog": ("hound",), "red": ("crimson", "scarlet")}
sentences = st.lists(st.sampled_from(["a", "the", "cat", "dog", "red", "xyzzy", "of"]), min_size=1)
draws = st.integers(0, 2**64 - 1).map(Random)


def toy(word: str) -> tuple[str, ...]:
    return TOY.get(word, ())


@given(sentences, st.integers(0, 5), draws)
def test_swap_keeps_the_bag_of_words(words: list[str], count: int, draw: Random) -> None:
    swapped = swap(words, count, draw)
    assert Counter(swapped) == Counter(words)
    assert sum(a != b for a, b in zip(words, swapped, strict=True)) <= 2 * count


@given(sentences, st.floats(0, 1), draws)
def test_deletion_keeps_some_of_the_words_in_order(
    words: list[str], probability: float, draw: Random
) -> None:
    kept = delete(words, probability, draw)
    assert 1 <= len(kept) <= len(words)
    rest = iter(words)
    assert all(word in rest for word in kept)
    assert probability > 0 or kept == words


def test_deletion_drops_words_at_its_rate_and_keeps_the_last_one() -> None:
    words = [str(i) for i in range(10_000)]
    assert 8800 < len(delete(words, 0.1, Random(0))) < 9200
    assert len(delete(words, 1.0, Random(0))) == 1


@given(sentences, st.integers(0, 5), draws)
def test_insertion_adds_synonyms_and_keeps_the_words_in_order(
    words: list[str], count: int, draw: Random
) -> None:
    longer = insert(words, count, draw, toy)
    rest = iter(longer)
    assert all(word in rest for word in words)
    added = Counter(longer) - Counter(words)
    assert set(added) <= {other for word in words for other in toy(word)}
    assert sum(added.values()) == (count if any(toy(word) for word in words) else 0)


@given(sentences, st.integers(0, 5), draws)
def test_replacement_changes_known_words_alone_and_at_most_as_many(
    words: list[str], count: int, draw: Random
) -> None:
    replaced = replace(words, count, draw, toy)
    assert len(replaced) == len(words)
    changed = {a: b for a, b in zip(words, replaced, strict=True) if a != b}
    assert all(b in toy(a) for a, b in changed.items())
    known = sum(bool(toy(word)) for word in set(words))
    assert len(changed) == min(count, known)
    assert all(changed.get(a, a) == b for a, b in zip(words, replaced, strict=True))


def test_operations_leave_the_words_given_alone() -> None:
    words = ["a", "red", "cat"]
    for done in (replace(words, 1, Random(0), toy), insert(words, 1, Random(0), toy)):
        assert done != words
    swap(words, 3, Random(0))
    assert words == ["a", "red", "cat"]


def test_each_operation_makes_a_quarter_of_the_views(monkeypatch: pytest.MonkeyPatch) -> None:
    called: Counter[str] = Counter()
    for name in ("replace", "insert", "swap", "delete"):
        done = lambda words, *rest, name=name: called.update([name]) or words  # noqa: E731
        monkeypatch.setattr(operations, name, done)
    TextViews(0)(["a red cat"] * 8000, 0, [str(i) for i in range(8000)])
    assert all(abs(called[name] - 2000) < 200 for name in called)
    assert sum(called.values()) == 8000


@given(st.text(), draws)
def test_any_caption_gives_one_that_is_not_empty_unless_it_was(caption: str, draw: Random) -> None:
    view = eda(caption, draw, lookup=toy)
    assert bool(view) == bool(caption)
    if not words_of(caption):
        assert view == caption


@pytest.mark.parametrize("caption", ["", " ", "123", "!?", "香蕉", "banana", "a"])
def test_captions_of_no_or_one_word_have_a_view(caption: str) -> None:
    views = TextViews(0)([caption] * 40, 0, [str(i) for i in range(40)])
    assert len(views) == 40
    assert all(views) == bool(caption)


@given(st.lists(st.text(max_size=30), max_size=12), st.integers(0, 20))
def test_one_view_out_for_each_caption_in_whatever_the_batch(
    captions: list[str], epoch: int
) -> None:
    keys = [str(i) for i in range(len(captions))]
    views = TextViews(0)(captions, epoch, keys)
    assert len(views) == len(captions)
    backwards = TextViews(0)(captions[::-1], epoch, keys[::-1])
    assert backwards == views[::-1]
    for caption, key, view in zip(captions, keys, views, strict=True):
        assert TextViews(0)([caption], epoch, [key]) == [view]


def test_fresh_views_change_with_the_epoch_and_cached_ones_do_not() -> None:
    captions, keys = ["a red cat on a sofa with a dog"] * 50, [str(i) for i in range(50)]
    fresh, cached = TextViews(0), TextViews(0, mode="cached")
    assert fresh(captions, 1, keys) != fresh(captions, 2, keys)
    assert fresh(captions, 1, keys) == fresh(captions, 1, keys)
    assert cached(captions, 1, keys) == cached(captions, 2, keys)
    assert TextViews(1)(captions, 1, keys) != fresh(captions, 1, keys)


def test_no_alpha_changes_no_word() -> None:
    captions = ["a red cat"] * 50
    assert TextViews(0, alpha=0)(captions, 0, [str(i) for i in range(50)]) == captions


def test_words_are_cleaned_as_eda_does() -> None:
    words = words_of("A dog's T-shirt, 2 sizes\ttoo big!")
    assert " ".join(words) == "a dogs t shirt sizes too big"


def test_wordnet_knows_synonyms_and_regular_forms() -> None:
    assert {"photograph", "picture"} <= set(synonyms("photo"))
    assert synonyms("dogs")
    assert "hot dog" in synonyms("frank") or "hotdog" in synonyms("frank")
    assert synonyms("xyzzy") == ()
    assert wordnet() is wordnet()
    assert wordnet().get_version() == "3.1"


@given(st.sampled_from(["photo", "red", "small", "running", "cat", "o'clock", "banana"]))
def test_synonyms_are_plain_words_without_the_word_itself(word: str) -> None:
    found = synonyms(word)
    assert word not in found
    assert list(found) == sorted(set(found))
    assert all(other.replace(" ", "").isalpha() and other == other.lower() for other in found)


def test_wordnet_reads_from_memory_so_that_forked_processes_do_not_share_positions() -> None:
    synonyms.cache_clear()
    assert synonyms("lemon")
    assert {type(file.buffer).__name__ for file in wordnet()._data_file_map.values()} == {"BytesIO"}


def test_stop_words_are_left_alone() -> None:
    assert {"a", "the", "of", "is"} <= STOP_WORDS
    assert not {"photo", "red", "cat"} & STOP_WORDS
    for seed in range(20):
        assert "the" in replace(["the", "red", "cat"], 3, Random(seed), lambda word: ("other",))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of fresh, cached"):
        TextViews(0, mode="once")
    with pytest.raises(ConfigError, match="alpha=2"):
        TextViews(0, alpha=2)
    with pytest.raises(ConfigError, match="2 captions, but 1 keys"):
        TextViews(0)(["a", "b"], 0, ["k"])


def test_the_authors_slip_gives_each_caption_after_a_failure_the_next_one_s_view() -> None:
    captions = ["a red apple", "123", "two green bananas", "the large house"]
    keys = ["a", "b", "c", "d"]
    own = TextViews(0, mode="cached")(captions, 0, keys)
    shifted = ShiftedViews(0, captions, keys)
    assert shifted(captions, 5, keys) == [own[0], own[2], own[3], captions[3]]
    assert shifted(captions[2:3], 1, ["c"]) == [own[3]]


def test_without_failures_the_authors_views_are_the_cached_ones() -> None:
    captions, keys = ["a red apple", "the large house"], ["a", "b"]
    assert ShiftedViews(3, captions, keys)(captions, 2, keys) == TextViews(3, mode="cached")(
        captions, 2, keys
    )
