from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.v2 import AutoAugment

from bdnb.data.augment import second_views
from bdnb.data.augment.second_views import ImageViews, choose, crop_flip, operate, operations
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import sample_seeds, uniforms


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise, gradients, few levels, one level: what operations treat differently."""
    random = np.random.default_rng(seed)
    noise = random.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    noise[::4] //= 100
    noise[1::4] = random.integers(0, 256, (len(noise[1::4]), 3, 1, 1))
    noise[2::4] = np.linspace(0, 255, width).astype(np.uint8)
    return torch.from_numpy(noise)


def torchvision_view(image: Tensor, draws: list[float]) -> Tensor:
    """torchvision's AutoAugment of one image, made to draw these numbers."""
    transform = AutoAugment()
    policy = transform._policies[int(draws[0] * len(transform._policies))]
    numbers = []
    for (name, probability, _), applied, turned in zip(policy, draws[1:3], draws[3:], strict=True):
        numbers.append(applied)
        if applied <= probability and transform._AUGMENTATION_SPACE[name][1]:
            numbers.append(turned)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randint", lambda high, size: int(draws[0] * high))
        patch.setattr(torch, "rand", lambda size: torch.tensor(numbers.pop(0), dtype=torch.double))
        view = transform(image)
    assert not numbers
    return view


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 2**40),
    st.integers(0, 100),
    st.sampled_from([(48, 48), (16, 16), (33, 20), (7, 64)]),
)
def test_a_view_is_torchvisions_for_the_same_choice(
    seed: int, epoch: int, size: tuple[int, int]
) -> None:
    images, keys = pictures(24, *size, seed=epoch), [f"k{i}" for i in range(24)]
    views = ImageViews(seed)(images, epoch, keys)
    draws = uniforms(seed, "image view", epoch, keys, 5).tolist()
    for image, view, drawn in zip(images, views, draws, strict=True):
        assert torch.equal(view, torchvision_view(image, drawn))


@pytest.mark.parametrize("sub_policy", range(25))
def test_every_sub_policy_is_torchvisions(sub_policy: int) -> None:
    images = pictures(8, 24, 24)
    for applied in (0.01, 0.99):
        for turned in (0.0, 0.99):
            draws = [(sub_policy + 0.5) / 25, applied, 0.01, turned, 0.99 - turned]
            first, second = torch.from_numpy(choose(np.array([draws] * len(images))))
            views = second_views.apply(second, second_views.apply(first, images))
            for image, view in zip(images, views, strict=True):
                assert torch.equal(view, torchvision_view(image, draws))


@pytest.mark.parametrize("name", sorted(AutoAugment._AUGMENTATION_SPACE))
@pytest.mark.parametrize("index", range(0, 10, 3))
@pytest.mark.parametrize("sign", [1, -1])
def test_every_operation_is_torchvisions_at_every_strength(
    name: str, index: int, sign: int
) -> None:
    transform, images = AutoAugment(), pictures(12, 30, 42)
    strengths, signed = transform._AUGMENTATION_SPACE[name]
    found = strengths(10, 30, 42)
    strength = 0.0 if found is None else float(found[index]) * (sign if signed else 1)
    done = operate(name, strength, images)
    for image, view in zip(images, done, strict=True):
        expected = transform._apply_image_or_video_transform(
            image, name, strength, interpolation=transform.interpolation, fill=transform._fill
        )
        assert torch.equal(view, expected)


def test_operations_are_drawn_as_often_as_the_policy_says() -> None:
    count = 50_000
    first, second = choose(uniforms(0, "image view", 0, [str(i) for i in range(count)], 5))
    names = [*operations(48, 48), ("Identity", 0.0)]
    for step, drawn in enumerate((first, second)):
        expected: Counter[str] = Counter()
        for policy in AutoAugment()._policies:
            name, probability, _ = policy[step]
            expected[name] += probability / 25
            expected["Identity"] += (1 - probability) / 25
        found = Counter(names[number][0] for number in drawn)
        for name, share in expected.items():
            assert (
                abs(found[name] / count - share) < 4 * (share * (1 - share) / count) ** 0.5 + 1e-9
            )
    turns = np.array([names[number][1] for number in first if names[number][0] == "Rotate"])
    assert abs((turns < 0).mean() - 0.5) < 4 * 0.5 / len(turns) ** 0.5


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(10)), st.integers(0, 50))
def test_a_view_does_not_depend_on_its_batch(order: list[int], epoch: int) -> None:
    images, keys = pictures(10, 20, 20), [str(i) for i in range(10)]
    views = ImageViews(0)(images, epoch, keys)
    assert torch.equal(ImageViews(0)(images[order], epoch, [keys[i] for i in order]), views[order])
    for i in range(10):
        assert torch.equal(ImageViews(0)(images[i : i + 1], epoch, keys[i : i + 1])[0], views[i])


def test_views_do_not_depend_on_how_many_are_made_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images, keys = pictures(50, 16, 16), [str(i) for i in range(50)]
    views = ImageViews(0)(images, 3, keys)
    monkeypatch.setattr(second_views, "CHUNK", 7 * images[0].numel())
    assert torch.equal(ImageViews(0)(images, 3, keys), views)


def test_views_change_with_epoch_and_seed_and_leave_the_images_alone() -> None:
    images, keys = pictures(64, 16, 16), [str(i) for i in range(64)]
    before = images.clone()
    views = ImageViews(0)(images, 0, keys)
    assert torch.equal(images, before)
    assert torch.equal(views, ImageViews(0)(images, 0, keys))
    assert not torch.equal(views, ImageViews(0)(images, 1, keys))
    assert not torch.equal(views, ImageViews(1)(images, 0, keys))


def test_no_policy_gives_the_image_itself_in_new_memory() -> None:
    images = pictures(4, 8, 8)
    views = ImageViews(0, policy="none")(images, 0, list("abcd"))
    assert torch.equal(views, images)
    assert views.data_ptr() != images.data_ptr()


def test_no_images_give_no_views() -> None:
    assert ImageViews(0)(pictures(0, 8, 8), 0, []).shape == (0, 3, 8, 8)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of autoaugment, crop_flip, none"):
        ImageViews(0, policy="randaugment")
    with pytest.raises(ConfigError, match="and 3 keys"):
        ImageViews(0)(pictures(4, 8, 8), 0, list("abc"))
    with pytest.raises(ConfigError, match="expected uint8"):
        ImageViews(0)(pictures(4, 8, 8).float(), 0, list("abcd"))


@given(st.lists(st.text(), min_size=1, max_size=8), st.integers(0, 2**40), st.integers(0, 99))
def test_draws_of_a_sample_depend_on_its_own_key_alone(
    keys: list[str], seed: int, epoch: int
) -> None:
    drawn = uniforms(seed, "purpose", epoch, keys, 4)
    assert drawn.shape == (len(keys), 4)
    assert ((drawn >= 0) & (drawn < 1)).all()
    for key, row in zip(keys, drawn, strict=True):
        assert (uniforms(seed, "purpose", epoch, [key], 4) == row).all()
        assert (uniforms(seed, "purpose", epoch, [key], 2) == row[:2]).all()
        assert sample_seeds(seed, "purpose", epoch, [key]) != sample_seeds(
            seed, "other", epoch, [key]
        )


def test_draws_are_uniform_and_unrelated() -> None:
    keys = [f"{i:09d}" for i in range(20_000)]
    drawn = np.hstack([uniforms(0, "image view", epoch, keys, 5) for epoch in (0, 1)])
    counts = np.stack([np.histogram(column, 20, (0, 1))[0] for column in drawn.T])
    assert (np.abs(counts - 1000) < 5 * 1000**0.5).all()
    related = np.corrcoef(drawn.T) - np.eye(10)
    assert np.abs(related).max() < 5 / len(keys) ** 0.5


@settings(max_examples=25, deadline=None)
@given(draws=st.lists(st.floats(0, 0.999), min_size=4, max_size=4), level=st.integers(0, 255))
def test_a_crop_of_a_plain_image_is_plain_and_levels_stay_within_the_images(draws, level):
    plain = torch.full((1, 3, 11, 14), level, dtype=torch.uint8)
    drawn = np.array([draws], dtype=np.float32)
    assert torch.equal(crop_flip(plain, drawn), plain)
    bands = torch.arange(14, dtype=torch.uint8).expand(1, 3, 11, 14) * 10
    (view,) = crop_flip(bands, drawn)
    assert view.min() >= bands.min()
    assert view.max() <= bands.max()
    steps = view[0, 0].int().diff()
    assert (steps <= 0).all() if draws[3] < 0.5 else (steps >= 0).all()


def test_the_whole_image_is_the_largest_crop_and_its_mirror_image():
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8)
    )
    drawn = np.array([[1.0, 0.3, 0.9, 0.9], [1.0, 0.3, 0.9, 0.1]], dtype=np.float32)
    whole, mirrored = crop_flip(images, drawn)
    assert (whole.int() - images[0].int()).abs().max() <= 1
    assert (mirrored.int() - images[1].flip(-1).int()).abs().max() <= 1


def test_a_crop_depends_on_seed_epoch_and_key_alone():
    images = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (6, 3, 9, 9), dtype=np.uint8)
    )
    keys = [str(i) for i in range(6)]
    views = ImageViews(3, policy="crop_flip")
    made = views(images, 2, keys)
    assert torch.equal(views(images.flip(0), 2, keys[::-1]), made.flip(0))
    assert not torch.equal(views(images, 3, keys), made)
    assert not torch.equal(ImageViews(4, policy="crop_flip")(images, 2, keys), made)
