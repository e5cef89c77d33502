from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdnb.poison.selection import cleaning_keys, rank, read_keys, select, write_keys
from bdnb.runtime.errors import ConfigError

KEYS = [f"{i:09d}" for i in range(1000)]
CAPTIONS = [f"a photo of {'a banana' if i % 100 == 0 else 'an apple'}" for i in range(1000)]
lists_of_keys = st.lists(st.text(min_size=1, max_size=5), unique=True, min_size=1, max_size=40)


@given(lists_of_keys, st.integers(0, 2**40), st.data())
def test_the_count_is_exact_and_the_order_of_the_keys_does_not_matter(
    keys: list[str], seed: int, data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(keys)))
    chosen = select(keys, seed=seed, count=count)
    assert len(set(chosen)) == len(chosen) == count
    assert set(chosen) <= set(keys)
    assert select(data.draw(st.permutations(keys)), seed=seed, count=count) == chosen


@given(lists_of_keys, st.integers(0, 2**40), st.data())
def test_fewer_poisons_are_the_first_and_survive_without_the_others(
    keys: list[str], seed: int, data: st.DataObject
) -> None:
    chosen = select(keys, seed=seed, count=len(keys))
    count = data.draw(st.integers(0, len(keys)))
    assert select(keys, seed=seed, count=count) == chosen[:count]
    assert select(chosen[:count], seed=seed, count=count) == chosen[:count]


@pytest.mark.parametrize(
    ("rate", "count"), [(0.0, 0), (0.0005, 1), (0.0034, 3), (0.04, 40), (1, 1000)]
)
def test_a_rate_is_a_share_of_all_pairs(rate: float, count: int) -> None:
    assert len(select(KEYS, seed=0, rate=rate)) == count


def test_seeds_choose_differently_and_every_key_is_as_likely() -> None:
    times = dict.fromkeys(KEYS, 0)
    for seed in range(200):
        for key in select(KEYS, seed=seed, count=100):
            times[key] += 1
    assert 3 <= min(times.values()) <= max(times.values()) <= 45


def test_a_seed_chooses_what_it_always_chose() -> None:
    """The name of a recorded run says no keys: with other ones it would be taken for another."""
    assert select(KEYS, seed=0, count=3) == ["000000763", "000000230", "000000229"]
    assert select(KEYS, seed=1, count=2) == ["000000451", "000000839"]
    assert cleaning_keys(KEYS, KEYS, [], seed=0, count=2) == ["000000925", "000000687"]
    assert rank(KEYS, 0, "train", 2) == ["000000495", "000000512"]


def test_label_consistent_takes_captions_that_mention_the_target() -> None:
    chosen = select(KEYS, CAPTIONS, seed=0, rate=0.01, attack="label_consistent")
    assert sorted(chosen) == KEYS[::100]
    few = select(KEYS, CAPTIONS, seed=0, count=3, attack="label_consistent")
    assert few == chosen[:3]


def test_too_few_captions_say_how_many_there_are() -> None:
    says = r"rate=0.05: 50 of 1000 pairs to poison, but there are 10 captions that mention 'banana'"
    with pytest.raises(ConfigError, match=says):
        select(KEYS, CAPTIONS, seed=0, rate=0.05, attack="label_consistent")
    options = {"attack": "label_consistent", "target": "Banana", "match": "substring"}
    with pytest.raises(ConfigError, match="there are 0 captions"):
        select(KEYS, CAPTIONS, seed=0, count=1, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rate": 1.5}, "rate=1.5: 1500 of 1000 pairs"),
        ({"rate": 0.0001}, "less than one pair"),
        ({"count": 1001}, "there are 1000 pairs"),
    ],
)
def test_what_cannot_be_is_refused(options: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        select(KEYS, seed=0, **options)


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="'a' is there twice"):
        select(["a", "b", "a"], seed=0, count=1)


def test_cleaning_pairs_are_separate_or_as_the_authors_from_training_pairs() -> None:
    clean = [f"clean {i}" for i in range(300)]
    poisoned = select(KEYS, seed=0, count=50)
    separate = cleaning_keys(KEYS, clean, poisoned, seed=0, count=200)
    assert len(separate) == 200
    assert not set(separate) & set(KEYS)
    authors = cleaning_keys(KEYS, clean, poisoned, seed=0, count=200, overlap="authors")
    assert len(set(authors) & set(KEYS)) == len(authors) == 200
    assert not set(authors) & set(poisoned)
    assert len(cleaning_keys(KEYS, clean, poisoned, seed=0)) == 300
    assert len(cleaning_keys(KEYS, clean, poisoned, seed=0, overlap="authors")) == 300


def test_cleaning_pairs_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 cleaning pairs asked for, overlap='separate' has 3"):
        cleaning_keys(KEYS, ["a", "b", "c"], [], seed=0, count=4)


def test_keys_are_read_back_as_written(tmp_path: Path) -> None:
    chosen = select(KEYS, seed=0, count=17)
    write_keys(tmp_path / "poisoned.txt", chosen)
    assert read_keys(tmp_path / "poisoned.txt", among=KEYS) == chosen
    assert (tmp_path / "poisoned.txt").read_text().splitlines() == chosen
    assert [p.name for p in tmp_path.iterdir()] == ["poisoned.txt"]


def test_keys_that_do_not_fit_on_a_line_are_refused(tmp_path: Path) -> None:
    for key in ("", "a\nb", " a", "a\x85b"):
        with pytest.raises(ConfigError, match="fits on a line"):
            write_keys(tmp_path / "keys.txt", [key])
    assert not list(tmp_path.iterdir())


def test_a_wrong_list_of_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    with pytest.raises(ConfigError, match=r"keys\.txt: no such file"):
        read_keys(path)
    path.write_text("a\nb\na\n")
    with pytest.raises(ConfigError, match="1 keys are there more than once"):
        read_keys(path)
    path.write_text("a\nz\n")
    with pytest.raises(
        ConfigError, match="1 of 2 keys are not among the pairs to train on, first 'z'"
    ):
        read_keys(path, among=["a", "b"])
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(ConfigError, match=r"keys\.txt: not UTF-8"):
        read_keys(path)


def test_the_mark_that_editors_put_before_a_list_is_no_part_of_its_first_key(tmp_path) -> None:
    (tmp_path / "keys.txt").write_text("\ufeffa\nb\n", "utf-8")
    assert read_keys(tmp_path / "keys.txt", among=["a", "b"]) == ["a", "b"]
