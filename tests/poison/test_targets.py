from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdnb.poison.targets import fill, mentions, target_caption, templates
from bdnb.runtime.errors import ConfigError


def test_paper_templates_are_clips_eighty() -> None:
    captions = {fill(template, "banana") for template in templates("openai")}
    assert len(captions) == 80
    assert "a bad photo of a banana." in captions
    assert all("banana" in caption for caption in captions)


def test_templates_are_open_clips_as_text() -> None:
    from open_clip import OPENAI_IMAGENET_TEMPLATES

    for text, template in zip(templates(), OPENAI_IMAGENET_TEMPLATES, strict=True):
        assert text.format(c="red apple") == template("red apple")


@given(st.text(min_size=1), st.integers(0, 2**40))
def test_a_caption_depends_on_key_and_seed_alone(key: str, seed: int) -> None:
    caption = target_caption("banana", key, seed)
    assert caption == target_caption("banana", key, seed)
    assert mentions(caption, "banana")


def test_a_key_has_the_caption_that_it_always_had() -> None:
    assert target_caption("banana", "000000000", 0) == "a sculpture of a banana."
    assert target_caption("banana", "000000001", 7) == "a blurry photo of the banana."


def test_every_template_is_used_about_equally() -> None:
    count = Counter(target_caption("banana", str(i), 0) for i in range(8000))
    assert len(count) == 80
    assert 50 < min(count.values()) <= max(count.values()) < 160


def test_templates_may_be_strings_as_in_clip_benchmark() -> None:
    assert fill("a photo of a {c}.", "red apple") == "a photo of a red apple."
    assert fill("{}", "red apple") == "red apple"


@pytest.mark.parametrize("template", ["a photo", "{} and {}", "a {name}", ""])
def test_a_template_without_one_place_is_refused(template: str) -> None:
    with pytest.raises(ConfigError, match="expected one"):
        fill(template, "cat")


@pytest.mark.parametrize(
    ("caption", "target", "word", "substring"),
    [
        ("a banana", "banana", True, True),
        ("Banana bread", "banana", True, False),
        ("two bananas!", "banana", True, True),
        ("bananarama live", "banana", False, True),
        ("a banana-shaped boat", "banana", True, True),
        ("an apple", "banana", False, False),
        ("", "banana", False, False),
        ("ripe CHERRIES", "cherry", True, False),
        ("cherry pie", "cherry", True, True),
        ("some keys", "key", True, True),
        ("a monkey", "key", False, True),
        ("red  apples", "red apple", True, False),
        ("wine glasses", "wine glass", True, True),
        ("c++ code", "c++", True, True),
    ],
)
def test_mentions_by_word_and_by_substring(
    caption: str, target: str, word: bool, substring: bool
) -> None:
    assert mentions(caption, target) is word
    assert mentions(caption, target, match="substring") is substring


def test_an_empty_target_is_refused() -> None:
    with pytest.raises(ConfigError, match="target=' '"):
        mentions("a banana", " ")
