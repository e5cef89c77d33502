"""Shards are img2dataset's, the same bytes each time, and come back as they went in."""

import hashlib
import io
import json
import logging
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdnb.data import shards
from bdnb.data.scenes import png
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator
from tests.data import shard_files

SIDE = 16


def image(index: int, side: int = SIDE) -> np.ndarray:
    return generator(0, "image", index).integers(0, 256, (side, side, 3), dtype=np.uint8)


def pairs(count: int) -> list[shards.Sample]:
    return [
        shards.pair(f"k{i:04d}", png(image(i)), f"caption {i}, as typed: é", side=SIDE, label=i)
        for i in range(count)
    ]


def test_pairs_come_back_as_they_went_in(tmp_path: Path) -> None:
    assert shard_files.write_pairs(tmp_path, iter(pairs(7)), shard_size=3) == 7
    found = shard_files.tars(tmp_path)
    assert [p.name for p in found] == ["00000.tar", "00001.tar", "00002.tar"]
    for went, came in zip(pairs(7), shard_files.read_pairs(found), strict=True):
        assert {**went, "json": json.loads(went["json"])} == came


def test_names_and_values_are_those_of_img2dataset(tmp_path: Path) -> None:
    shard_files.write_pairs(tmp_path, pairs(2))
    with tarfile.open(tmp_path / "00000.tar") as tar:
        names = tar.getnames()
    assert names[:3] == ["k0000.json", "k0000.png", "k0000.txt"]
    stats = json.loads((tmp_path / "00000_stats.json").read_text())
    assert stats["count"] == stats["successes"] == stats["status_dict"]["success"] == 2
    about = next(shard_files.read_pairs([tmp_path / "00000.tar"]))["json"]
    assert about["status"] == "success"
    assert about["caption"] == "caption 0, as typed: é"
    assert (about["width"], about["original_height"]) == (SIDE, SIDE)
    assert about["sha256"] == hashlib.sha256(png(image(0))).hexdigest()


def test_captions_are_found_whatever_their_names_are_like(tmp_path: Path) -> None:
    """``b.0.txt`` is the part ``0.txt`` of ``b``, as webdataset splits it: no caption."""
    tar = tmp_path / "0.tar"
    shards.write_tar(tar, [{"__key__": "a", "TXT": b"one"}, {"__key__": "b", "0.txt": b"two"}])
    assert list(shards.captions([tar])) == [("a", "one")]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        shard_files.write_pairs(tmp_path / name, pairs(5), shard_size=2)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize("key", ["a.b", "a/b", ""])
def test_a_key_that_webdataset_would_split_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="expected a name without"):
        shards.write_tar(tmp_path / "0.tar", [{"__key__": key, "txt": "x"}])


def test_prepared_pairs_are_the_images_decoded_by_hand(tmp_path: Path) -> None:
    shard_files.write_pairs(tmp_path / "in", pairs(5), shard_size=2)
    found = shard_files.decoded(shard_files.tars(tmp_path / "in"), SIDE, tmp_path / "cache")
    by_hand = np.stack([image(i).transpose(2, 0, 1) for i in range(5)])
    assert np.array_equal(found.images, by_hand)
    assert found.keys == [f"k{i:04d}" for i in range(5)]
    assert found.captions[3] == "caption 3, as typed: é"
    assert len(found) == 5
    assert found.bad == {}


def test_prepared_images_cannot_be_written(tmp_path: Path) -> None:
    shard_files.write_pairs(tmp_path / "in", pairs(2))
    found = shard_files.decoded(shard_files.tars(tmp_path / "in"), SIDE, tmp_path / "cache")
    with pytest.raises(ValueError, match="read-only"):
        found.images[0] = 0


def test_shards_are_the_bytes_that_python_s_tarfile_writes(tmp_path: Path) -> None:
    """The bytes of the embedded data: they must not change with the library that writes them."""
    shards.write_pair_shard(tmp_path, 0, pairs(3))
    with tarfile.open(tmp_path / "by_hand.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for sample in pairs(3):
            for name in ("json", "png", "txt"):
                value = sample[name]
                data = value.encode() if isinstance(value, str) else value
                member = tarfile.TarInfo(f"{sample['__key__']}.{name}")
                member.size, member.mode, member.mtime = len(data), 0o644, 0
                tar.addfile(member, io.BytesIO(data))
    assert (tmp_path / "00000.tar").read_bytes() == (tmp_path / "by_hand.tar").read_bytes()


def test_a_broken_header_in_a_shard_s_middle_does_not_pass_for_its_end(tmp_path: Path) -> None:
    shards.write_pair_shard(tmp_path, 0, pairs(5))
    tar = tmp_path / "00000.tar"
    with tarfile.open(tar) as archive:
        places = [member.offset for member in archive.getmembers()]
    whole = tar.read_bytes()
    for place in places:
        for spoilt in (b"\x7f" * 512, b"\x00" * 512, b"", whole[place : place + 148] + b"7" * 364):
            tar.write_bytes(whole[:place] + spoilt + whole[place + 512 :])
            with pytest.raises(ConfigError, match=r"00000\.tar: cannot be read to its end"):
                list(shards.samples([tar]))


def test_bad_pairs_are_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad: list[shards.Sample] = [
        {"__key__": "torn", "png": png(image(0))[:200], "txt": "x"},
        {"__key__": "mute", "png": png(image(0))},
        {"__key__": "blind", "txt": "x"},
        {"__key__": "latin", "png": png(image(0)), "txt": b"\xe9\xff"},
    ]
    shard_files.write_pairs(tmp_path / "in", [*pairs(6), *bad])
    tars = shard_files.tars(tmp_path / "in")
    with pytest.raises(ConfigError, match=r"4 of 10 samples .*more than bad_share=0\.05.*torn"):
        shard_files.decoded(tars, SIDE, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("images.u8"))
    with caplog.at_level(logging.WARNING):
        found = shard_files.decoded(tars, SIDE, tmp_path / "cache", bad_share=0.5)
    assert len(found) == len(found.images) == 6
    assert set(found.bad) == {"torn", "mute", "blind", "latin"}
    assert "no .txt" in found.bad["mute"]
    assert "4 of 10" in caplog.text


class Watched:
    """Images that remember which of them were read."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.read = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        found = self.images[index]
        self.read += found.size // self.images[0].size
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return self[:]


@given(index=st.lists(st.integers(0, 9), min_size=1), chosen=st.data())
def test_a_part_of_the_pairs_reads_an_image_when_it_is_asked_for(index, chosen):
    images = np.arange(10 * 3, dtype=np.uint8).reshape(10, 3, 1, 1)
    watched = Watched(images)
    names = [str(i) for i in range(10)]
    part = shards.Pairs(watched, names, names).take(index)
    assert watched.read == 0, "copied"
    wanted = images[index]
    one = chosen.draw(st.integers(0, len(index) - 1))
    some = chosen.draw(st.lists(st.integers(0, len(index) - 1), min_size=1))
    assert np.array_equal(part.images[one], wanted[one])
    assert np.array_equal(part.images[some], wanted[some])
    assert watched.read == 1 + len(some)
    assert np.array_equal(part.images[one:], wanted[one:])
    assert np.array_equal(np.array(part.images), wanted)
    assert (len(part.images), part.keys) == (len(index), [names[i] for i in index])
