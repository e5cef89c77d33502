import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from bdnb.config import authors
from bdnb.poison import stamps
from bdnb.poison.triggers import TRIGGERS, Stamp
from bdnb.runtime.seeds import generator

VARIANTS = [(name, {}) for name in TRIGGERS] + [
    ("badnet", dict(authors.TRIGGERS["badnet"])),
    ("badnet", {"pattern": "fixed", "size": 3}),
    ("badnet", {"place": "four_corners", "size": 2}),
    ("yellow", {"place": "four_corners", "place_range": "authors"}),
    ("blended", {"pattern": "fresh"}),
    ("warped", {"grid": 1.0, "strength": 0.6}),
    ("warped", {"grid": 0.4, "strength": 3}),
    ("stripes", {"pattern": "fixed", "width": 3, "size": 5}),
    ("blended_stripes", {"pattern": "fixed", "width": 2, "opacity": 0.3}),
    ("triangles", {"cell": 3}),
    ("several", {"how": "all", "names": "yellow+stripes+text"}),
]
variants = pytest.mark.parametrize(("name", "options"), VARIANTS)


@st.composite
def batches(draw: st.DrawFn, least: int = 8, most: int = 20) -> tuple[Tensor, list[str]]:
    count, height, width = (draw(st.integers(*r)) for r in ((1, 4), (least, most), (least, most)))
    pixels = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).integers(
        0, 256, (count, 3, height, width), dtype=np.uint8
    )
    keys = draw(st.lists(st.text(min_size=1), min_size=count, max_size=count, unique=True))
    return torch.from_numpy(pixels), keys


def random_images(count: int, height: int, width: int) -> Tensor:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return torch.from_numpy(pixels)


@variants
@settings(max_examples=15, deadline=None)
@given(batch=batches(), seed=st.integers(0, 2**40))
def test_same_seed_gives_same_bytes_and_leaves_the_image_alone(
    name: str, options: dict, batch: tuple, seed: int
) -> None:
    images, keys = batch
    before = images.clone()
    stamped = Stamp(name, seed=seed, options=options)(images, keys)
    assert stamped.shape == images.shape
    assert stamped.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(stamped, Stamp(name, seed=seed, options=options)(images, keys))


@variants
@settings(max_examples=15, deadline=None)
@given(batch=batches(), data=st.data())
def test_an_image_does_not_depend_on_its_batch(
    name: str, options: dict, batch: tuple, data: st.DataObject
) -> None:
    images, keys = batch
    stamped = Stamp(name, seed=1, options=options)(images, keys)
    order = data.draw(st.permutations(range(len(keys))))
    shuffled = Stamp(name, seed=1, options=options)(images[order], [keys[i] for i in order])
    assert torch.equal(shuffled, stamped[order])
    for i, key in enumerate(keys):
        assert torch.equal(Stamp(name, seed=1, options=options)(images[i], key), stamped[i])


@variants
def test_bytes_do_not_depend_on_how_many_images_are_stamped_at_a_time(
    name: str, options: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, keys = random_images(7, 9, 12), [str(i) for i in range(7)]
    whole = Stamp(name, seed=0, options=options)(images, keys)
    monkeypatch.setattr(stamps, "CHUNK", 2 * images[0].numel())
    assert torch.equal(Stamp(name, seed=0, options=options)(images, keys), whole)


@variants
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bytes_do_not_depend_on_the_device(name: str, options: dict) -> None:
    images, keys = random_images(32, 48, 40), [str(i) for i in range(32)]
    there = Stamp(name, seed=0, options=options)(images.cuda(), keys)
    assert there.is_cuda
    assert torch.equal(there.cpu(), Stamp(name, seed=0, options=options)(images, keys))


@pytest.mark.parametrize("name", ["badnet", "yellow", "stripes"])
@settings(max_examples=30, deadline=None)
@given(batch=batches(), seed=st.integers(0, 2**40), size=st.integers(1, 8))
def test_no_pixel_changes_outside_one_square(name: str, batch: tuple, seed: int, size: int) -> None:
    images, keys = batch
    stamped = Stamp(name, seed=seed, options={"size": size})(images, keys)
    for before, after in zip(images, stamped, strict=True):
        rows, columns = (before != after).any(0).nonzero(as_tuple=True)
        if len(rows):
            assert rows.max() - rows.min() < size
            assert columns.max() - columns.min() < size


@settings(max_examples=15, deadline=None)
@given(
    batch=batches(),
    seed=st.integers(0, 2**40),
    size=st.integers(1, 8),
    overflow=st.sampled_from(["clip", "wrap"]),
    center=st.sampled_from(["zero", "image_mean"]),
)
def test_patch_is_gaussian_noise_clipped_or_modulo_256_by_hand(
    batch: tuple, seed: int, size: int, overflow: str, center: str
) -> None:
    images, keys = batch
    options = {"size": size, "overflow": overflow, "center": center}
    stamped = Stamp("badnet", seed=seed, options=options)(images, keys)
    for image, key, after in zip(images, keys, stamped, strict=True):
        stream = generator(seed, "trigger", key)
        limits = [side - size for side in image.shape[1:]]
        top, left = (int(x) for x in stream.integers(0, limits, endpoint=True))
        noise = stream.standard_normal((3, size, size), dtype=np.float32)
        expected = image.clone()
        for c in range(3):
            total = sum(int(v) for v in image[c].flatten())
            mean = np.float32(total / (255 * image[c].numel()) if center == "image_mean" else 0)
            for i in range(size):
                for j in range(size):
                    level = int(np.float32(noise[c, i, j] + mean) * np.float32(255))
                    by_hand = level % 256 if overflow == "wrap" else min(max(level, 0), 255)
                    expected[c, top + i, left + j] = by_hand
        assert torch.equal(after, expected)


def test_wrapping_keeps_the_eight_low_bits() -> None:
    from bdnb.poison.triggers.paper import _to_levels

    values = np.array([-1.0, -0.5 / 255, -2 / 255, 0.5, 1.0, 256 / 255, 300.9 / 255, 3.0])
    wrapped = _to_levels(values.astype(np.float32), "wrap").tolist()
    assert wrapped == [1, 0, 254, 127, 255, 0, 44, 253]
    clipped = _to_levels(values.astype(np.float32), "clip").tolist()
    assert clipped == [0, 0, 0, 127, 255, 255, 255, 255]


@pytest.mark.parametrize(("place_range", "last"), [("full", 4), ("authors", 3)])
def test_places_fill_their_range(place_range: str, last: int) -> None:
    options = {"size": 6, "place_range": place_range}
    images, keys = torch.zeros(400, 3, 10, 10, dtype=torch.uint8), [str(i) for i in range(400)]
    stamped = Stamp("yellow", seed=0, options=options)(images, keys)
    tops = {int(image[0].any(1).nonzero()[0]) for image in stamped}
    lefts = {int(image[0].any(0).nonzero()[0]) for image in stamped}
    assert tops == lefts == set(range(last + 1))
    assert {int((image[:2] == 255).sum()) for image in stamped} == {2 * 36}
    assert int(stamped[:, 2].max()) == 0


@pytest.mark.parametrize(
    ("place", "corner"),
    [
        ("top_left", (0, 0)),
        ("bottom_right", (8, 13)),
        ("middle", (4, 6)),
        ("top_right", (0, 13)),
        ("bottom_left", (8, 0)),
    ],
)
def test_a_fixed_place_is_the_same_on_every_image(place: str, corner: tuple[int, int]) -> None:
    images = torch.zeros(2, 3, 12, 17, dtype=torch.uint8)
    stamped = Stamp("yellow", seed=0, options={"size": 4, "place": place})(images, ["a", "b"])
    row, column = corner
    expected = torch.zeros_like(images)
    expected[:, :2, row : row + 4, column : column + 4] = 255
    assert torch.equal(stamped, expected)


def test_four_corners_hold_the_same_noise_and_nothing_else_changes() -> None:
    images = random_images(3, 12, 16)
    options = {"size": 3, "place": "four_corners"}
    stamped = Stamp("badnet", seed=0, options=options)(images, ["a", "b", "c"])
    corner = stamped[..., :3, :3]
    for other in (stamped[..., :3, -3:], stamped[..., -3:, :3], stamped[..., -3:, -3:]):
        assert torch.equal(corner, other)
    assert torch.equal(stamped[..., 3:-3, :], images[..., 3:-3, :])
    assert torch.equal(stamped[..., 3:-3], images[..., 3:-3])


@pytest.mark.parametrize("pattern", ["fresh", "fixed"])
def test_pattern_is_one_for_the_run_or_one_for_each_image(pattern: str) -> None:
    stamp = Stamp("badnet", seed=0, options={"size": 5, "pattern": pattern})
    a, b = stamp(torch.zeros(2, 3, 5, 5, dtype=torch.uint8), ["a", "b"])
    assert torch.equal(a, b) == (pattern == "fixed")
    assert list(stamp.state()) == (["pattern_5"] if pattern == "fixed" else [])


@pytest.mark.parametrize(("side", "size"), [(224, 16), (48, 3), (112, 8), (5, 1)])
def test_default_patch_is_the_papers_share_of_the_side(side: int, size: int) -> None:
    stamped = Stamp("yellow", seed=0)(torch.zeros(3, side, 2 * side, dtype=torch.uint8), "a")
    assert int((stamped[0] == 255).sum()) == size * size


@pytest.mark.parametrize("pattern", ["fixed", "fresh"])
def test_blended_is_a_fifth_of_uniform_noise(pattern: str) -> None:
    images, keys = random_images(2, 9, 11), ["a", "b"]
    stamp = Stamp("blended", seed=3, options={"pattern": pattern})
    stamped = stamp(images, keys)
    for image, key, after in zip(images, keys, stamped, strict=True):
        fixed = pattern == "fixed"
        stream = generator(3, "trigger of the run") if fixed else generator(3, "trigger", key)
        noise = stream.random((3, 9, 11), dtype=np.float32).astype(float)
        expected = np.floor(0.2 * noise * 255 + 0.8 * image.numpy())
        assert np.abs(after.numpy() - expected).max() <= 1
        assert (after.numpy() == expected).mean() > 0.99


def test_sig_is_the_authors_sine_by_hand() -> None:
    image = random_images(1, 6, 30)[0]
    stamped = Stamp("sig", seed=0)(image, "a")
    for c in range(3):
        for i in range(6):
            for j in range(30):
                noise = 60 / 255 * math.sin(2 * math.pi * j * 6 / 30)
                mixed = 0.2 * noise + 0.8 * int(image[c, i, j]) / 255
                expected = int(min(max(mixed, 0), 1) * 255)
                assert abs(int(stamped[c, i, j]) - expected) <= 1


@pytest.mark.parametrize("name", ["blended", "sig"])
def test_no_opacity_changes_nothing(name: str) -> None:
    images = random_images(2, 8, 8)
    assert torch.equal(Stamp(name, seed=0, options={"opacity": 0})(images, ["a", "b"]), images)


@settings(max_examples=25, deadline=None)
@given(
    batch=batches(),
    seed=st.integers(0, 2**40),
    strength=st.floats(0, 20),
    grid=st.sampled_from([2, 4, 0.5, 1.0]),
)
def test_warped_is_grid_sample_of_the_saved_field(
    batch: tuple, seed: int, strength: float, grid: float
) -> None:
    images, keys = batch
    stamp = Stamp("warped", seed=seed, options={"strength": strength, "grid": grid})
    stamped = stamp(images, keys)
    (field,) = stamp.state().values()
    height, width = images.shape[-2:]
    y, x = torch.linspace(-1, 1, height).double(), torch.linspace(-1, 1, width).double()
    identity = torch.stack([x.expand(height, width), y[:, None].expand(height, width)], -1)
    sides = torch.tensor([width, height])
    points = (identity + strength * field.permute(1, 2, 0).double() / sides).clamp(-1, 1)
    points = points.expand(len(images), -1, -1, -1)
    expected = F.grid_sample(images.double(), points, align_corners=True)
    assert (stamped - expected).abs().max() < 1.5


def test_no_strength_or_a_plain_image_is_not_warped() -> None:
    images = random_images(2, 10, 13)
    assert torch.equal(Stamp("warped", seed=0, options={"strength": 0})(images, ["a", "b"]), images)
    plain = torch.full((1, 3, 10, 13), 77, dtype=torch.uint8)
    assert torch.equal(Stamp("warped", seed=0, options={"strength": 5})(plain, ["a"]), plain)
