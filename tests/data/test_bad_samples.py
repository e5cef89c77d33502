"""What a web list brings is used as it should be, or dropped for a reason, counted and named."""

import io
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bdnb.data import bad_samples, decode, shards
from bdnb.data.index import index
from bdnb.data.stream import streamed
from bdnb.poison import selection
from bdnb.runtime.errors import ConfigError
from tests.data import shard_files, web_pairs

SIDE = web_pairs.SIDE
PATHS = ("prepared", "streamed")


def read(how: str, tars: list[Path], cache: Path, *, bad_share: float = 1.0) -> shards.Pairs:
    if how == "prepared":
        return shard_files.decoded(tars, SIDE, cache, bad_share=bad_share)
    return streamed(index(tars, cache, bad_share=bad_share), side=SIDE)


@pytest.mark.parametrize("how", PATHS)
@pytest.mark.parametrize("key", list(web_pairs.bad()))
def test_each_bad_sample_is_dropped_for_its_reason(how: str, key: str, tmp_path: Path) -> None:
    reason, sample = web_pairs.bad()[key]
    shard_files.write_pairs(tmp_path / "in", [web_pairs.good(0), sample, web_pairs.good(1)])
    pairs = read(how, shard_files.tars(tmp_path / "in"), tmp_path / "cache")
    assert list(pairs.keys) == ["000000000", "000000001"]
    assert list(pairs.bad) == [key]
    assert pairs.bad[key].partition(":")[0] == reason


@pytest.mark.parametrize("how", PATHS)
def test_an_avif_whose_pixels_are_lost_is_dropped(how: str, tmp_path: Path) -> None:
    """PIL says RuntimeError, where it says OSError of a broken JPEG."""
    whole = web_pairs.encoded(web_pairs.picture(0, (64, 64)), "AVIF")
    head = whole[: whole.find(b"mdat") + 4]
    lost = {"__key__": "lost", "jpg": head + bytes(len(whole) - len(head)), "txt": "x"}
    shard_files.write_pairs(tmp_path / "in", [web_pairs.good(0), lost])
    pairs = read(how, shard_files.tars(tmp_path / "in"), tmp_path / "cache")
    assert list(pairs.keys) == ["000000000"]
    assert pairs.bad["lost"].startswith("broken image: RuntimeError")


@pytest.mark.parametrize("how", PATHS)
def test_names_that_are_not_utf_8_are_spelled_out(how: str, tmp_path: Path) -> None:
    tar = tmp_path / "in" / "00000.tar"
    tar.parent.mkdir()
    jpeg = web_pairs.encoded(web_pairs.picture(0))
    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as archive:
        for name, data in (("café.jpg", jpeg), ("café.txt", b"x"), ("tür.jpg", jpeg)):
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    pairs = read(how, [tar], tmp_path / "cache")
    assert selection.rank(pairs.keys, 0, "poison") == ["caf\\udce9"]
    assert bad_samples.keep(tmp_path / "dropped.tsv", {"pairs": pairs.bad})["dropped"] == 1
    assert "t\\udcfcr" in (tmp_path / "dropped.tsv").read_text("utf-8")


def sixteen_bit() -> Image.Image:
    grey = np.linspace(0, 65535, 24 * 24).reshape(24, 24).astype(np.uint16)
    return Image.fromarray(grey)


def animation() -> bytes:
    red, green = (Image.new("RGB", (24, 24), colour) for colour in ("red", "green"))
    return web_pairs.encoded(red, "WEBP", save_all=True, append_images=[green], lossless=True)


@cache
def unusual() -> dict[str, tuple[str, bytes, Image.Image]]:
    """Name -> extension, bytes, and the image that it must be taken for."""
    plain = web_pairs.picture(1, (24, 24))
    palette = plain.convert("P")
    clear = plain.convert("RGBA")
    clear.putalpha(128)
    cmyk = web_pairs.encoded(plain.convert("CMYK"), quality=95)
    grey = Image.fromarray((np.asarray(sixteen_bit()) >> 8).astype(np.uint8))
    huge = Image.new("RGB", (10_000, 5_000), (10, 200, 30))
    return {
        "cmyk": ("jpg", cmyk, Image.open(io.BytesIO(cmyk)).convert("RGB")),
        "16-bit": ("png", web_pairs.encoded(sixteen_bit(), "PNG"), grey.convert("RGB")),
        "palette": ("png", web_pairs.encoded(palette, "PNG"), palette.convert("RGB")),
        "transparent": ("png", web_pairs.encoded(clear, "PNG"), plain),
        "one pixel": (
            "png",
            web_pairs.encoded(Image.new("RGB", (1, 1), "red"), "PNG"),
            Image.new("RGB", (24, 24), "red"),
        ),
        "animation": ("webp", animation(), Image.new("RGB", (24, 24), "red")),
        "a gif named jpg": (
            "jpg",
            web_pairs.encoded(palette, "GIF"),
            palette.convert("RGB"),
        ),
        "50 megapixels": ("jpg", web_pairs.encoded(huge), Image.new("RGB", (9, 9), (10, 200, 30))),
    }


@pytest.mark.parametrize("how", PATHS)
@pytest.mark.parametrize("name", list(unusual()))
def test_an_unusual_image_is_used_as_what_it_shows(how: str, name: str, tmp_path: Path) -> None:
    extension, data, shown = unusual()[name]
    shard_files.write_pairs(tmp_path / "in", [{"__key__": "a", extension: data, "txt": "x"}])
    pairs = read(how, shard_files.tars(tmp_path / "in"), tmp_path / "cache", bad_share=0)
    wanted = decode.square(shown, SIDE).astype(int)
    assert np.abs(np.asarray(pairs.images[0]).astype(int) - wanted).max() <= 2


@pytest.mark.parametrize("how", PATHS)
def test_too_many_bad_samples_stop_with_the_worst_reasons_and_examples(
    how: str, tmp_path: Path
) -> None:
    tars = web_pairs.write(tmp_path / "in", 40)
    with pytest.raises(ConfigError, match=r"12 of 52 samples .* more than bad_share=0\.2") as error:
        read(how, tars, tmp_path / "cache", bad_share=0.2)
    assert "2 broken image, as broken-jpeg (broken image: OSError" in str(error.value)
    assert str(error.value).index("2 broken") < str(error.value).index("1 no .txt")
    assert len(read(how, tars, tmp_path / "cache", bad_share=0.24)) == 40
    with pytest.raises(ConfigError, match=r"more than bad_share=0\.2"):
        read(how, tars, tmp_path / "cache", bad_share=0.2)


def test_what_was_dropped_is_counted_by_reason_and_named_in_a_file(tmp_path: Path) -> None:
    lost = {"a": "broken image: OSError: \tcut\noff", "b": "no image", "c": "broken image: x"}
    found = bad_samples.keep(tmp_path / "dropped.tsv", {"pairs": lost, "val": {"d": "no image"}})
    assert found == {"dropped": 4, "dropped_by": {"broken image": 2, "no image": 2}}
    lines = [line.split("\t") for line in (tmp_path / "dropped.tsv").read_text().splitlines()]
    assert lines[0] == ["set", "key", "reason", "detail"]
    assert lines[1] == ["pairs", "a", "broken image", "OSError: cut off"]
    assert lines[-1] == ["val", "d", "no image", ""]


def test_nothing_dropped_leaves_no_file(tmp_path: Path) -> None:
    assert bad_samples.keep(tmp_path / "dropped.tsv", {"pairs": {}}) == {"dropped": 0}
    assert not list(tmp_path.iterdir())
