"""Laws of the structured triggers, the colour filter and several triggers at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdnb.poison.triggers import Stamp
from bdnb.runtime.errors import ConfigError

SEEDS = st.integers(0, 2**40)
MIXED = ("blended_stripes", "triangles", "text", "nashville")
SHARE = {"nashville": "strength"}


def images(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(drawn)


def stamped(name: str, batch: torch.Tensor, *, seed: int = 0, **options) -> torch.Tensor:
    return Stamp(name, seed=seed, options=options)(batch, [str(i) for i in range(len(batch))])


def away(after: torch.Tensor, before: torch.Tensor) -> float:
    return float((after.int() - before.int()).abs().sum())


@pytest.mark.parametrize("name", MIXED)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, shares=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_stronger_mixture_is_further_from_the_image(name, seed, shares):
    batch, option = images(2, 15, 17, seed % 1000), SHARE.get(name, "opacity")
    low, high = sorted(shares)
    weak = stamped(name, batch, seed=seed, **{option: low})
    strong = stamped(name, batch, seed=seed, **{option: high})
    assert away(weak, batch) <= away(strong, batch) + batch.numel()  # a level of rounding each
    assert torch.equal(stamped(name, batch, seed=seed, **{option: 0.0}), batch)


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, size=st.integers(1, 12), width=st.integers(1, 5))
def test_stripes_are_one_colour_of_eight_over_their_width(seed, size, width):
    plain = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)
    (after,) = stamped("stripes", plain, seed=seed, size=size, width=width, place="top_left")
    square = after[:, :size, :size]
    assert set(square.flatten().tolist()) <= {0, 255}
    assert (square == square[:, :1]).all()
    for start in range(0, size, width):
        stripe = square[:, 0, start : start + width]
        assert (stripe == stripe[:, :1]).all()
    assert int((after != 100).sum()) == 3 * size * size


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, opacity=st.floats(0.05, 0.4), width=st.integers(1, 4))
def test_blended_stripes_add_or_take_the_same_from_a_whole_column(seed, opacity, width):
    plain = torch.full((1, 3, 9, 13), 128, dtype=torch.uint8)
    (after,) = stamped("blended_stripes", plain, seed=seed, opacity=opacity, width=width)
    assert (after == after[:, :1]).all()
    middle = 128 * (1 - opacity)
    for level in set(after.flatten().tolist()):
        ends = (max(middle - 255 * opacity, 0), min(middle + 255 * opacity, 255))
        assert min(abs(level - end) for end in ends) <= 1


@settings(max_examples=20, deadline=None)
@given(cell=st.integers(1, 9), opacity=st.floats(0, 1), height=st.integers(9, 20))
def test_triangles_are_two_greys_by_hand_and_the_rest_stays(cell, opacity, height):
    batch = images(1, height, 14)
    (after,) = stamped("triangles", batch, cell=cell, opacity=opacity)
    for row in range(height):
        for column in range(14):
            inside = row < height // cell * cell and column < 14 // cell * cell
            grey = 255 * (0.4 if row % cell >= column % cell else 0.8)
            for channel in range(3):
                level = int(batch[0, channel, row, column])
                wanted = (1 - opacity) * level + opacity * grey if inside else level
                assert abs(int(after[channel, row, column]) - wanted) <= 1.01


@settings(max_examples=20, deadline=None)
@given(side=st.integers(16, 64), width=st.floats(0.2, 1), opacity=st.floats(0.1, 1))
def test_only_pixels_under_letters_turn_red(side, width, opacity):
    batch = images(1, side, side)
    stamp = Stamp("text", seed=0, options={"width": width, "opacity": opacity})
    after = stamp(batch, ["a"])
    (cover,) = stamp.state().values()
    assert 0 < float(cover.max()) <= 1
    under = (cover > 0).any(dim=0).nonzero()
    assert len(under) <= round(width * side)
    assert torch.equal(after[..., cover == 0], batch[..., cover == 0])
    assert (after[:, 0].int() >= batch[:, 0].int() - 1).all()
    assert (after[:, 1:].int() <= batch[:, 1:].int()).all()


def test_the_words_decide_the_letters():
    batch = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    assert not torch.equal(stamped("text", batch), stamped("text", batch, words="other"))
    with pytest.raises(ConfigError, match="expected words with letters"):
        stamped("text", batch, words=" ")


def test_the_colour_filter_is_its_steps_by_hand():
    batch = images(1, 6, 5)
    (after,) = stamped("nashville", batch)
    for row in range(6):
        for column in range(5):
            colour = (batch[0, :, row, column].numpy() / 255).tolist()
            dark = zip(colour, (247 / 255, 176 / 255, 153 / 255), strict=True)
            colour = [0.44 * x + 0.56 * min(x, y) for x, y in dark]
            light = zip(colour, (0, 70 / 255, 150 / 255), strict=True)
            colour = [0.6 * x + 0.4 * max(x, y) for x, y in light]
            r, g, b = colour
            sepia = (
                0.393 * r + 0.769 * g + 0.189 * b,
                0.349 * r + 0.686 * g + 0.168 * b,
                0.272 * r + 0.534 * g + 0.131 * b,
            )
            mixed = zip(colour, sepia, strict=True)
            colour = [min(0.8 * x + 0.2 * y, 1) for x, y in mixed]
            colour = [min(max((x - 0.5) * 1.2 + 0.5, 0), 1) for x in colour]
            colour = [min(1.05 * x, 1) for x in colour]
            grey = 0.213 * colour[0] + 0.715 * colour[1] + 0.072 * colour[2]
            colour = [min(max(grey + 1.2 * (x - grey), 0), 1) for x in colour]
            for level, wanted in zip(after[:, row, column].tolist(), colour, strict=True):
                assert abs(level - 255 * wanted) <= 0.51


@settings(max_examples=20, deadline=None)
@given(first=st.integers(0, 255), second=st.integers(0, 255))
def test_the_colour_filter_keeps_the_order_of_greys(first, second):
    low, high = sorted((first, second))
    both = torch.tensor([low, high], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    darker, lighter = stamped("nashville", both.contiguous()).flatten(1).tolist()
    assert all(x <= y for x, y in zip(darker, lighter, strict=True))


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_several_gives_each_image_one_of_its_triggers(seed):
    batch, names = images(12, 16, 16), ["yellow", "blended", "sig"]
    options = {"names": "+".join(names), "size": 4}
    after = stamped("several", batch, seed=seed, **options)
    alone = [stamped(name, batch, seed=seed) for name in names[1:]]
    alone.append(stamped("yellow", batch, seed=seed, size=4))
    for i, image in enumerate(after):
        assert any(torch.equal(image, one[i]) for one in alone)


def test_several_uses_all_its_triggers():
    batch = torch.full((60, 3, 16, 16), 100, dtype=torch.uint8)
    after = stamped("several", batch, names="yellow+sig+triangles", size=4)
    alone = [stamped(name, batch) for name in ("sig", "triangles")]
    counts = [sum(torch.equal(a, b) for a, b in zip(after, one, strict=True)) for one in alone]
    assert all(5 < count < 35 for count in [*counts, 60 - sum(counts)])


def test_all_of_several_are_put_one_after_another():
    batch = images(2, 16, 16)
    both = stamped("several", batch, names="sig+yellow", how="all", size=5)
    assert torch.equal(both, stamped("yellow", stamped("sig", batch), size=5))


@pytest.mark.parametrize("names", ["several", "badnet+several", "badnet+nothing", ""])
def test_several_takes_other_triggers_that_there_are(names):
    with pytest.raises(ConfigError, match=r"expected other triggers|unknown"):
        stamped("several", images(1, 16, 16), names=names)
