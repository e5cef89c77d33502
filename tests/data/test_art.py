"""The art: licences as the packages state them, and which emoji are plain nouns."""

import json

import numpy as np

from bdnb.data import art
from bdnb.runtime import npm
from tests.data.tiny_scenes import NPM_CACHE

SQUARE = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 {}"><path fill="#f00" d="{}"/></svg>'
)


def toy(*names: str, category: str = "Objects") -> art.Icons:
    return art.Icons(dict.fromkeys(names, ""), dict.fromkeys(names, category))


def test_every_package_states_the_licence_and_author_of_the_table(
    icons: dict[str, art.Icons],
) -> None:
    assert set(icons) == set(art.STYLES) == {*art.TRAINING_STYLES, *art.UNSEEN_STYLES}
    assert not set(art.TRAINING_STYLES) & set(art.UNSEEN_STYLES)
    assert {style.package for style in art.STYLES.values()} <= set(npm.PINNED)
    for style in art.STYLES.values():
        info = json.loads((npm.fetch(style.package, NPM_CACHE) / "info.json").read_text("utf-8"))
        assert (info["license"]["spdx"], info["author"]["name"]) == (style.licence, style.author)


def test_nouns_are_things_of_two_words_that_every_training_style_draws() -> None:
    names = ("banana", "red-apple", "cup-with-straw", "two-oclock", "cat-face", "club-suit")
    icons = {style: toy(*names, "oncoming-taxi", "taxi") for style in art.TRAINING_STYLES}
    assert art.nouns(icons) == ["banana", "red-apple", "taxi"]
    icons["openmoji"] = toy("banana", "red-apple")
    assert art.nouns(icons) == ["banana", "red-apple"]
    icons["noto"] = toy("banana", "red-apple", category="Symbols")
    assert art.nouns(icons) == []


def test_the_art_has_hundreds_of_nouns_and_banana_in_every_style(
    icons: dict[str, art.Icons],
) -> None:
    nouns = art.nouns(icons)
    assert len(nouns) == 495
    assert "banana" in nouns
    assert all("banana" in style.svg for style in icons.values())
    assert not any(char.isupper() for name in nouns for char in name)


def test_a_sprite_keeps_colour_and_shape_and_has_a_clear_margin() -> None:
    pixels = art.sprite(SQUARE.format(8, "M0 0h8v8h-8z"), 24)
    assert pixels.shape == (24, 24, 4)
    assert pixels.dtype == np.uint8
    inner = pixels[art.MARGIN : -art.MARGIN, art.MARGIN : -art.MARGIN]
    assert (inner == (255, 0, 0, 255)).all()
    assert pixels[..., 3].sum() == inner[..., 3].sum()


def test_a_drawing_that_is_not_square_is_centred() -> None:
    alpha = art.sprite(SQUARE.format(4, "M0 0h8v4h-8z"), 24)[..., 3]
    rows = np.flatnonzero(alpha.any(axis=1))
    assert rows[0] + rows[-1] == 23
    assert len(rows) == 10


def test_every_drawing_of_the_banana_is_seen(icons: dict[str, art.Icons]) -> None:
    for style in icons.values():
        assert (art.sprite(style.svg["banana"], 48)[..., 3] > 128).mean() > 0.1
