"""Scenes are what the design says: sizes, turns, shares, captions, and nothing but their draws."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from bdnb.data import scenes
from bdnb.data.art import words
from bdnb.poison import targets
from bdnb.runtime.seeds import generator

NAMES = ("banana", "red-apple", "taxi")


def sprites(styles: int = 2, there: np.ndarray | None = None) -> scenes.Sprites:
    """Full squares: one colour a class."""
    pixels = np.zeros((styles, len(NAMES), 64, 64, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    for label in range(len(NAMES)):
        pixels[:, label, ..., label] = 255
    there = np.ones((styles, len(NAMES)), dtype=bool) if there is None else there
    return scenes.Sprites(pixels, there, tuple("abc"[:styles]), NAMES)


def many(count: int, **options: int) -> list[scenes.Scene]:
    return [
        scenes.scene(generator(0, "scene", i), sprites(), side=48, **options) for i in range(count)
    ]


def test_a_scene_is_its_draws_and_nothing_else() -> None:
    first, again, other = (
        scenes.scene(generator(0, "scene", i), sprites(), side=48) for i in (1, 1, 2)
    )
    assert np.array_equal(first.image, again.image)
    assert first.caption == again.caption
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == (48, 48, 3)
    assert first.image.dtype == np.uint8


def test_four_in_ten_scenes_have_a_second_emoji_and_most_captions_then_name_it() -> None:
    drawn = many(600)
    both = [s for s in drawn if s.second is not None]
    named = [s for s in both if s.second and words(s.second) in s.caption]
    assert 0.34 < len(both) / len(drawn) < 0.46
    assert 0.5 < len(named) / len(both) < 0.7
    assert all(s.second != NAMES[s.label] for s in both)
    assert all(words(NAMES[s.label]) in s.caption for s in drawn)
    assert {s.label for s in drawn} == {0, 1, 2}


def test_a_given_label_is_the_large_emoji() -> None:
    assert {s.label for s in many(20, label=2)} == {2}


def test_a_style_that_does_not_draw_a_class_is_left_out() -> None:
    there = np.array([[True, False, True], [False, True, True]])
    for i in range(60):
        drawn = scenes.scene(generator(0, "scene", i), sprites(there=there), side=32)
        assert there["ab".index(drawn.style), drawn.label]
        assert drawn.second is None or there["ab".index(drawn.style), NAMES.index(drawn.second)]


def test_a_style_with_one_class_gives_scenes_of_one_emoji() -> None:
    there = np.array([[True, False, False]])
    drawn = [
        scenes.scene(generator(0, "scene", i), sprites(1, there), side=32, label=0)
        for i in range(40)
    ]
    assert {s.second for s in drawn} == {None}


@given(seed=st.integers(0, 2**32), side=st.integers(16, 96))
@settings(max_examples=40, deadline=None)
def test_an_emoji_covers_its_share_of_the_canvas(seed: int, side: int) -> None:
    for low, high in (scenes.MAIN_SIZE, scenes.SMALL_SIZE):
        canvas = Image.new("RGB", (side, side))
        white = np.full((64, 64, 4), 255, dtype=np.uint8)
        scenes.place(canvas, generator(seed, "place"), white, (low, high))
        covered = (np.asarray(canvas)[..., 0] / 255).sum()
        assert covered < (high * side + 2) ** 2
        assert covered > 0.7 * (low * side - 2) ** 2


def test_half_of_the_emoji_are_mirrored_and_none_is_turned_far() -> None:
    half = np.zeros((64, 64, 4), dtype=np.uint8)
    half[:, :32] = 255
    sides = []
    for i in range(200):
        canvas = Image.new("RGB", (64, 64))
        scenes.place(canvas, generator(1, "place", i), half, (0.9, 0.9))
        row, column = np.nonzero(np.asarray(canvas)[..., 0] > 128)
        slope = np.polyfit(row, column, 1)[0]
        assert abs(np.degrees(np.arctan(slope))) < scenes.TURN + 3
        sides.append(column.mean() < 32)
    assert 0.4 < np.mean(sides) < 0.6


def test_a_background_is_a_gradient_with_noise_around_it() -> None:
    spread = [np.asarray(scenes.background(generator(i, "b"), 48)).std() for i in range(50)]
    assert min(spread) > 1
    assert np.asarray(scenes.background(generator(0, "b"), 48)).shape == (48, 48, 3)


def test_each_template_names_the_emoji_once() -> None:
    assert len(set(scenes.OWN_TEMPLATES)) == 21
    assert all(t.count("{}") == 1 for t in scenes.OWN_TEMPLATES)
    assert all(t.count("{}") == 2 for t in scenes.BOTH)


def test_captions_use_every_template_and_half_are_worded_like_the_attacker_s() -> None:
    captions = [scenes.caption(generator(i, "c"), "X", None) for i in range(2000)]
    own = {template.format("X") for template in scenes.OWN_TEMPLATES}
    prompts = {template.format(c="X") for template in targets.templates()}
    assert set(captions) == own | prompts
    assert 0.4 < np.mean([c in prompts - own for c in captions]) < 0.55


@pytest.mark.parametrize("side", [16, 48])
def test_png_is_lossless_and_the_same_each_time(side: int) -> None:
    image = generator(0, "png").integers(0, 256, (side, side, 3), dtype=np.uint8)
    data = scenes.png(image)
    assert data == scenes.png(image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), image)
