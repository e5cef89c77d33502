import pytest
import torch
from torch import Tensor

from bdnb.config import authors
from bdnb.poison import stamps
from bdnb.poison.triggers import TRIGGERS, Draws, Stamp, trigger
from bdnb.runtime.errors import ConfigError


def random_images(count: int, height: int, width: int) -> Tensor:
    stream = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, height, width), generator=stream, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("badnet", {"pattern": "fixed"}),
        ("blended", {}),
        ("warped", {}),
        ("stripes", {"pattern": "fixed"}),
        ("blended_stripes", {"pattern": "fixed", "opacity": 0.3}),
        ("text", {}),
    ],
)
def test_what_is_fixed_for_the_run_can_be_given_back(name: str, options: dict) -> None:
    images, keys = random_images(3, 12, 12), ["a", "b", "c"]
    first = Stamp(name, seed=0, options=options)
    stamped = first(images, keys)
    (saved,) = first.state().values()
    changed = {next(iter(first.state())): torch.zeros_like(saved)}
    again = Stamp(name, seed=0, options=options, state=first.state())
    assert torch.equal(again(images, keys), stamped)
    assert not torch.equal(
        Stamp(name, seed=0, options=options, state=changed)(images, keys), stamped
    )


@pytest.mark.parametrize("name", TRIGGERS)
def test_authors_options_are_options(name: str) -> None:
    images = random_images(2, 32, 32)
    stamped = Stamp(name, seed=0, options=authors.TRIGGERS.get(name))(images, ["a", "b"])
    assert not torch.equal(stamped, images)


def test_a_users_own_trigger_is_one_decorated_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "TRIGGERS", dict(TRIGGERS))

    @trigger("dot")
    def dot(images: Tensor, draws: Draws, *, level: int = 255) -> Tensor:
        out = images.clone()
        out[:, :, 0, 0] = level
        return out

    stamped = Stamp("dot", seed=0, options={"level": 7})(random_images(2, 8, 8), ["a", "b"])
    assert stamped[:, :, 0, 0].tolist() == [[7, 7, 7]] * 2
    with pytest.raises(ConfigError, match="'badnet' is there already"):
        trigger("badnet")(dot)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("badnett", {}, r"did you mean 'badnet'\?.*badnet, yellow, blended, sig, warped"),
        ("badnet", {"sise": 3}, r"no option 'sise' \(did you mean 'size'"),
        ("sig", {"size": 3}, "no option 'size'.*periods, amplitude, opacity"),
        ("badnet", {"size": 0}, "size=0: expected whole pixels, or a share"),
        ("badnet", {"size": 2.5}, "size=2.5"),
        ("badnet", {"size": "big"}, "size='big'"),
        ("badnet", {"size": True}, "size=True"),
        ("badnet", {"size": float("nan")}, "size=nan"),
        ("badnet", {"place": "edge"}, "place='edge': expected one of random, four_corners"),
        ("badnet", {"overflow": "saturate"}, "expected one of clip, wrap"),
        ("blended", {"opacity": 1.2}, "opacity=1.2: expected a number of at most 1"),
        ("warped", {"strength": -1}, "strength=-1"),
    ],
)
def test_what_cannot_be_is_refused_when_the_stamp_is_made(
    name: str, options: dict, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        Stamp(name, seed=0, options=options)


@pytest.mark.parametrize("name", ["badnet", "yellow"])
def test_an_image_smaller_than_the_patch_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="16 pixels: larger than the images, 12 x 20"):
        Stamp(name, seed=0, options={"size": 16})(random_images(1, 12, 20), ["a"])
    stamp = Stamp(name, seed=0, options={"size": 12, "place_range": "authors"})
    with pytest.raises(ConfigError, match="needs images larger than the patch"):
        stamp(random_images(1, 12, 20), ["a"])


def test_other_shapes_types_and_missing_keys_are_refused() -> None:
    stamp, images = Stamp("badnet", seed=0), random_images(2, 32, 32)
    with pytest.raises(ConfigError, match="expected uint8"):
        stamp(images.float(), ["a", "b"])
    with pytest.raises(ConfigError, match="expected uint8"):
        stamp(images[:, :1], ["a", "b"])
    with pytest.raises(ConfigError, match="1 keys for 2 images"):
        stamp(images, ["a"])
    with pytest.raises(ConfigError, match="'ab' for 2 images"):
        stamp(images, "ab")
    assert stamp(images[:0], []).shape == (0, 3, 32, 32)


@pytest.mark.parametrize(
    ("later", "says"),
    [
        (lambda images: images[:1].clone(), r"returned torch.uint8 \(1, 3, 8, 8\): expected"),
        (lambda images: images.float(), r"returned torch.float32 \(3, 3, 8, 8\)"),
        (lambda images: images.zero_(), "changes the images that it is given"),
        (lambda images: int("a key"), "ValueError: invalid literal"),
    ],
)
def test_a_user_s_trigger_is_held_to_its_promise_on_every_batch(monkeypatch, later, says) -> None:
    def mine(images: Tensor, draws: Draws) -> Tensor:
        return images.clone() if len(images) < 3 else later(images)

    monkeypatch.setitem(stamps.TRIGGERS, "mine", mine)
    stamp, images = Stamp("mine", seed=0), random_images(3, 8, 8)
    stamp(images[:2], ["a", "b"])
    with pytest.raises(ConfigError, match=rf"test_stamps\.py:\d+: trigger 'mine':?.*{says}"):
        stamp(images, ["a", "b", "c"])
