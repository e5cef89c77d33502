"""Decoding is CLIP's resize and crop, done once, and again only when the shards change."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from bdnb.data import decode
from bdnb.data.shards import write_tar
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator


def picture(mode: str, size: tuple[int, int]) -> Image.Image:
    width, height = size
    noise = generator(0, mode).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def sample(key: str, **more: object) -> dict[str, object]:
    return {"__key__": key, "png": encoded(picture("RGB", (8, 8))), "txt": key} | more


@pytest.mark.parametrize("size", [(40, 40), (41, 57), (97, 33), (24, 24), (10, 13), (24, 100)])
def test_square_is_torchvisions_resize_and_centre_crop(size: tuple[int, int]) -> None:
    image = picture("RGB", size)
    theirs = CenterCrop(24)(Resize(24, InterpolationMode.BICUBIC)(image))
    assert np.array_equal(decode.square(image, 24), np.asarray(theirs).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "1", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_kind_of_image_becomes_rgb(mode: str) -> None:
    if mode == "I;16":
        grey = np.asarray(picture("L", (20, 30)))
        image = Image.fromarray(grey.astype(np.uint16) * 257)
        expected = np.repeat(grey[None], 3, axis=0)[:, 5:25]
    else:
        image = picture(mode, (20, 30))
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)[:, 5:25]
    assert image.mode == mode
    assert np.array_equal(decode.square(image, 20), expected)


def test_sets_linked_from_one_folder_are_each_decoded_once(tmp_path: Path) -> None:
    for name in ("train", "clean"):
        write_tar(tmp_path / "download" / f"{name}.tar", [sample(name)])
        link = tmp_path / "mine" / name / "0.tar"
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "download" / f"{name}.tar")
    sets = [[tmp_path / "mine" / name / "0.tar"] for name in ("train", "clean")]
    for tars in sets:
        decode.decode(tars, 8, tmp_path / "cache", field="txt")
    for tars in sets:
        assert decode.decoded(tars, 8, tmp_path / "cache", field="txt") is not None


def test_jpg_webp_and_png_are_read_whatever_the_letter_case(tmp_path: Path) -> None:
    image = picture("RGB", (16, 16))
    kinds = {
        "a": ("jpg", "JPEG"),
        "b": ("webp", "WEBP"),
        "c": ("JPEG", "JPEG"),
        "d": ("png", "PNG"),
    }
    write_tar(
        tmp_path / "0.tar",
        [{"__key__": k, e: encoded(image, kind), "txt": k} for k, (e, kind) in kinds.items()],
    )
    found = decode.decode([tmp_path / "0.tar"], 16, tmp_path / "cache", field="txt")
    for decoded, (_, kind) in zip(found.images, kinds.values(), strict=True):
        by_hand = Image.open(io.BytesIO(encoded(image, kind))).convert("RGB")
        assert np.array_equal(decoded, np.asarray(by_hand).transpose(2, 0, 1))


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    write_tar(tmp_path / "in" / "0.tar", [sample("a"), sample("b")])
    return tmp_path / "in" / "0.tar"


def test_what_was_decoded_is_used_while_the_shards_do_not_change(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    first = decode.decode([tar], 8, cache, field="txt")
    with monkeypatch.context() as patch:
        patch.setattr(decode, "_write", None)
        again = decode.decode([tar], 8, cache, field="txt")
    assert np.array_equal(first.images, again.images)
    assert again.captions == ["a", "b"]
    write_tar(tar, [sample("a"), sample("c")])
    os.utime(tar, ns=(1, 1))
    assert decode.decode([tar], 8, cache, field="txt").captions == ["a", "c"]
    assert decode.decode([tar], 4, cache, field="txt").images.shape == (2, 3, 4, 4)


def test_sets_and_sides_share_a_cache(
    tar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, cache = tmp_path / "other" / "0.tar", tmp_path / "cache"
    write_tar(other, [sample("z")])
    wanted = [(tar, 8), (other, 8), (tar, 4)]
    first = [decode.decode([t], side, cache, field="txt") for t, side in wanted]
    monkeypatch.setattr(decode, "_write", None)
    again = [decode.decode([t], side, cache, field="txt") for t, side in wanted]
    assert [d.captions for d in again] == [["a", "b"], ["z"], ["a", "b"]]
    assert [d.captions for d in first] == [["a", "b"], ["z"], ["a", "b"]]


def test_a_torn_cache_is_decoded_again(tar: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    decode.decode([tar], 8, cache, field="txt")
    (folder,) = (p for p in cache.iterdir() if p.is_dir())
    (folder / "images.u8").write_bytes(b"short")
    folder.with_name(f".{folder.name}.part").mkdir()
    assert decode.decode([tar], 8, cache, field="txt").images.shape == (2, 3, 8, 8)


def test_a_folder_of_other_things_is_not_replaced(tar: Path, tmp_path: Path) -> None:
    mine = tmp_path / "cache" / f"{tmp_path.name}-in-8" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match="left as it is"):
        decode.decode([tar], 8, tmp_path / "cache", field="txt")
    assert mine.read_text() == "mine"


def test_a_key_that_comes_twice_is_an_error(tar: Path, tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "1.tar", [sample("b")])
    with pytest.raises(ConfigError, match=r"1\.tar: key 'b' comes twice"):
        decode.decode([tar, tmp_path / "in" / "1.tar"], 8, tmp_path / "cache", field="txt")


def test_a_missing_or_torn_shard_is_named(tar: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"9\.tar: no such shard"):
        decode.decode([tar.with_name("9.tar")], 8, tmp_path / "cache", field="txt")
    whole = tar.read_bytes()
    for length in (0, 100, 600, 1024, 1300, 2048):
        tar.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"0\.tar: cannot be read to its end"):
            decode.decode([tar], 8, tmp_path / "cache", field="txt")
    assert not [p for p in (tmp_path / "cache").iterdir() if p.is_dir()]


def test_no_samples_are_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [])
    with pytest.raises(ConfigError, match="no sample that can be used"):
        decode.decode([tmp_path / "0.tar"], 8, tmp_path / "cache", field="txt")


def test_a_squash_keeps_all_of_the_image_and_a_crop_its_middle() -> None:
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16] = 255
    image = Image.fromarray(pixels)
    squashed, cropped = (decode.square(image, 32, fit=fit) for fit in ("squash", "crop"))
    wanted = image.resize((32, 32), Image.Resampling.BICUBIC)
    assert np.array_equal(squashed, np.asarray(wanted).transpose(2, 0, 1))
    assert squashed[:, :, 0].min() > 200
    assert not cropped.any()
