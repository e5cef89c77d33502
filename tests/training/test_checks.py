"""What captions alone show to be too few, found before an image is decoded."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bdnb.data import datasets, decode, index, shards
from bdnb.poison import selection
from bdnb.runtime.errors import ConfigError
from bdnb.training import checks
from tests.data import shard_files, web_pairs

CAPTIONS = ("two bananas", "a tree")


def wanted(pairs: int = 0, seed: int = 0, split: str = "train", bad_share: float = 0.05):
    """The pairs that a run of the data set ``mine`` uses."""
    return checks.Used("mine", split, "rn_test", pairs, seed, bad_share)


def write(home: Path, split: str, mention: list[bool], bad: int = 0) -> None:
    """A split whose captions mention the target or not, its last images broken."""
    samples = [web_pairs.good(i) | {"txt": CAPTIONS[not own]} for i, own in enumerate(mention)]
    for sample in samples[len(samples) - bad :]:
        sample[shards.extension(sample)] = b"broken"
    shard_files.write_pairs(home / "data" / "mine" / split, samples)


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A project where nothing can be decoded or indexed."""
    monkeypatch.setenv("BDNB_HOME", str(tmp_path))
    monkeypatch.setattr(decode, "square", None)
    monkeypatch.setattr(index, "scan", None)
    return tmp_path


def test_too_few_captions_that_mention_the_target_are_found_before_images_are_decoded(home):
    write(home, "train", [True] * 5 + [False] * 15)
    says = "poison_count=6: 6 pairs to poison, but of mine's 20 captions 5 mention 'banana'"
    with pytest.raises(ConfigError, match=says):
        checks.check_mentions(wanted(), {"poison_count": 6}, target="banana", match="word")
    checks.check_mentions(wanted(), {"poison_count": 5}, target="banana", match="word")
    with pytest.raises(ConfigError, match=r"poison_rate=0\.5: 10 pairs to poison"):
        checks.check_mentions(
            wanted(bad_share=0), {"poison_rate": 0.5}, target="banana", match="word"
        )
    checks.check_mentions(wanted(), {"poison_rate": 0.25}, target="banana", match="word")
    with pytest.raises(ConfigError, match="of mine's 20 captions 0 mention"):
        checks.check_mentions(wanted(), {"poison_count": 1}, target="Banana", match="substring")


def test_too_few_captions_of_the_victims_are_found_before_images_are_decoded(home):
    write(home, "train", [True] * 5 + [False] * 15)
    about = {"target": "banana", "match": "word", "victims": ("tree", "cat")}
    with pytest.raises(ConfigError, match=r"of mine's 20 captions 15 mention 'tree\+cat'"):
        checks.check_mentions(wanted(), {"poison_count": 16}, **about)
    checks.check_mentions(wanted(), {"poison_count": 15}, **about)


def test_natural_captions_that_no_pair_has_are_found_before_images_are_decoded(home):
    write(home, "train", [False] * 4)
    with pytest.raises(ConfigError, match="none of mine's 4 captions mentions 'banana'"):
        checks.check_natural(wanted(), target="banana", match="word")
    checks.check_natural(wanted(), target="tree", match="word")


@pytest.mark.parametrize("names", [b"caf\xe9\n", b"cat\n\n"])
def test_class_names_that_cannot_be_read_are_named_before_images_are_decoded(home, names):
    write(home, "train", [True] * 4)
    path = home / "data" / "mine" / "imagenet" / "classnames.txt"
    path.parent.mkdir()
    path.write_bytes(names)
    with pytest.raises(ConfigError, match=r"mine/imagenet/classnames\.txt: "):
        checks.check_numbers(wanted(), counts={}, target="banana")


@pytest.mark.parametrize("own", [True, False])
def test_held_out_captions_that_all_or_none_mention_the_target_are_refused(home, own):
    write(home, "train", [True] * 4)
    write(home, "clean", [own] * 9)
    with pytest.raises(ConfigError, match=rf"retrieval=3: {3 * own} of 3 captions mention"):
        checks.check_held_out(wanted(), count=3, cleaned=0, target="banana")
    checks.check_held_out(wanted(), count=3, cleaned=0, target="")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_shortage_is_found_where_selecting_would_find_it_and_only_there(
    tmp_path_factory, monkeypatch, data
):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("BDNB_HOME", str(home))
    mention = data.draw(st.lists(st.booleans(), min_size=1, max_size=12))
    bad = data.draw(st.integers(0, len(mention) - 1))
    pairs = data.draw(st.integers(0, len(mention) - bad))
    seed = data.draw(st.integers(0, 3))
    rate = data.draw(st.floats(0.05, 1))
    count = data.draw(st.integers(0, pairs or len(mention)))
    asked = {"poison_count": count} if count else {"poison_rate": rate}
    write(home, "train", mention, bad)
    used = wanted(pairs, seed, bad_share=0.999)
    found = datasets.Dataset(home / "data" / "mine", "no", 0.999)

    def refused() -> bool:
        try:
            checks.check_mentions(used, asked, target="banana", match="word")
        except ConfigError:
            return True
        return False

    before = refused()
    chosen = found.training_pairs(32, seed=seed, count=pairs)
    given = {"rate": rate, "count": count or None, "attack": "label_consistent"}
    try:
        selection.select(chosen.keys, chosen.captions, seed=seed, **given)
        too_few = False
    except ConfigError as error:
        too_few = "but there are" in str(error)
    assert too_few or not before
    checks._counted.cache_clear()
    assert refused() == too_few  # now that they are decoded, it is known which are usable
