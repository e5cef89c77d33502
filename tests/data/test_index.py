"""An index finds what webdataset reads, keeps it on disk, and is made once."""

import json
import signal
import subprocess
import sys
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import webdataset

from bdnb.data import decode, index, shards
from bdnb.data.index import index as make
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK
from tests.data import shard_files, web_pairs


def test_keys_captions_and_places_are_those_that_webdataset_reads(tmp_path: Path) -> None:
    tars = web_pairs.write(tmp_path / "in", 40)
    found = make(tars, tmp_path / "cache", bad_share=1, workers=2)
    stream = webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False)
    read = [s for s in stream if s["__key__"] not in found.bad]
    assert list(found.keys) == [s["__key__"] for s in read]
    assert list(found.captions) == [s["txt"].decode().strip() for s in read]
    assert len(found) == 40
    for sample, place in zip(read, found.places, strict=True):
        with tars[place["shard"]].open("rb") as file:
            file.seek(int(place["image"]))
            assert file.read(int(place["bytes"])) == sample[shards.extension(sample)]


def test_keys_and_captions_can_be_sliced_and_picked(tmp_path: Path) -> None:
    found = make(web_pairs.write(tmp_path / "in", 9, spoilt=False), tmp_path / "cache")
    assert found.keys[2:4] == ["000000002", "000000003"]
    assert found.keys[-1] == "000000008"
    assert found.captions[4:6] == [web_pairs.good(4)["txt"], web_pairs.good(5)["txt"]]
    assert "000000008" in found.keys
    assert "9" not in found.keys


def test_an_index_is_made_once_and_anew_when_a_shard_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tars = web_pairs.write(tmp_path / "in", 9, spoilt=False)
    make(tars, tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(index, "scan", None)
        assert len(make(tars, tmp_path / "cache")) == 9
    shards.write_pair_shard(tmp_path / "in", 0, [web_pairs.good(i) for i in (20, 21, 22)])
    assert list(make(tars, tmp_path / "cache").keys)[:3] == ["000000020", "000000021", "000000022"]


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards that have been read, in order."""
    names, real = [], index.scan

    def scan(tar: Path):
        names.append(tar.stem)
        return real(tar)

    monkeypatch.setattr(index, "scan", scan)
    return names


def cut_off(folder: Path, cache: Path) -> list[Path]:
    """Six shards and an index pass over them that stops at the fifth, which is damaged."""
    for number in range(6):
        shards.write_pair_shard(folder, number, [web_pairs.good(10 * number + i) for i in (1, 2)])
    tars = shard_files.tars(folder)
    whole = tars[4].read_bytes()
    tars[4].write_bytes(whole[:700])
    with pytest.raises(ConfigError, match=r"00004\.tar: cannot be read to its end"):
        make(tars, cache, workers=1)
    tars[4].write_bytes(whole)
    return tars


def test_a_pass_that_was_cut_off_goes_on_behind_the_shards_that_it_has_read(
    tmp_path: Path, scanned: list[str]
) -> None:
    tars = cut_off(tmp_path / "in", tmp_path / "cache")
    assert scanned == ["00000", "00001", "00002", "00003", "00004"]
    found = make(tars, tmp_path / "cache", workers=1)
    assert scanned[5:] == ["00004", "00005"]
    anew = make(tars, tmp_path / "other")
    assert np.array_equal(found.places, anew.places)
    assert list(found.captions) == list(anew.captions)
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [
        f"{tmp_path.name}-in-index"
    ]


def test_a_shard_that_changed_since_the_pass_was_cut_off_is_read_again(
    tmp_path: Path, scanned: list[str]
) -> None:
    tars = cut_off(tmp_path / "in", tmp_path / "cache")
    shards.write_pair_shard(tmp_path / "in", 1, [web_pairs.good(i) for i in (77, 78)])
    found = make(tars, tmp_path / "cache", workers=1)
    assert scanned[5:] == ["00001", "00004", "00005"]
    assert "000000077" in found.keys
    assert "000000011" not in found.keys


def test_what_a_killed_pass_has_read_is_kept(tmp_path: Path, scanned: list[str]) -> None:
    for number in range(4):
        shards.write_pair_shard(tmp_path / "in", number, [web_pairs.good(number)])
    code = f"""
import os, signal
from pathlib import Path
from bdnb.data import index
real = index.scan
def scan(tar):
    if tar.stem == "00002":
        os.kill(os.getpid(), signal.SIGKILL)
    return real(tar)
index.scan = scan
folder = Path({str(tmp_path)!r})
index.index(sorted((folder / "in").glob("*.tar")), folder / "cache", workers=1)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    found = make(shard_files.tars(tmp_path / "in"), tmp_path / "cache", workers=1)
    assert scanned == ["00002", "00003"]
    assert list(found.keys) == [web_pairs.good(i)["__key__"] for i in range(4)]


def test_a_folder_of_the_user_s_where_the_pass_would_keep_its_parts_is_left_alone(
    tmp_path: Path,
) -> None:
    tars = web_pairs.write(tmp_path / "in", 5, spoilt=False)
    mine = tmp_path / "cache" / f".{tmp_path.name}-in-index.shards" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"index\.shards: not made by bdnb"):
        make(tars, tmp_path / "cache")
    assert mine.read_text() == "mine"


def test_a_key_in_two_shards_is_an_error(tmp_path: Path) -> None:
    tars = web_pairs.write(tmp_path / "in", 5, spoilt=False)
    shards.write_pair_shard(tmp_path / "in", 1, [web_pairs.good(3)])
    with pytest.raises(ConfigError, match=r"1\.tar: key '000000003' .* in 00000\.tar"):
        make([*tars, tmp_path / "in" / "00001.tar"], tmp_path / "cache")


def test_a_missing_torn_or_foreign_shard_is_named(tmp_path: Path) -> None:
    (tar,) = web_pairs.write(tmp_path / "in", 5, spoilt=False)
    with pytest.raises(ConfigError, match=r"9\.tar: no such shard"):
        make([tar.with_name("9.tar")], tmp_path / "cache")
    whole = tar.read_bytes()
    for length in (0, 100, 600, 1024, 1300, len(whole) // 2):
        tar.write_bytes(whole[:length])
        with pytest.raises(ConfigError, match=r"00000\.tar: cannot be read to its end"):
            make([tar], tmp_path / "cache")
    with tarfile.open(tar, "w:gz") as packed:
        packed.add(__file__, "a.txt")
    tar.write_bytes(tar.read_bytes() + bytes(512))
    with pytest.raises(ConfigError, match=r"00000\.tar: cannot be read to its end"):
        make([tar], tmp_path / "cache")


def test_a_shard_spoilt_in_its_middle_does_not_pass_for_a_shorter_one(tmp_path: Path) -> None:
    (tar,) = web_pairs.write(tmp_path / "in", 5, spoilt=False)
    with tarfile.open(tar) as archive:
        middle = archive.getmembers()[6].offset
    data = bytearray(tar.read_bytes())
    data[middle : middle + 512] = b"\x7f" * 512
    tar.write_bytes(data)
    with pytest.raises(ConfigError, match=r"00000\.tar: cannot be read to its end"):
        make([tar], tmp_path / "cache")


def test_shards_without_a_usable_pair_are_an_error(tmp_path: Path) -> None:
    shard_files.write_pairs(tmp_path / "in", [web_pairs.bad()["html"][1]])
    with pytest.raises(ConfigError, match=r"no sample that can be used. 1 not an image, as html"):
        make(shard_files.tars(tmp_path / "in"), tmp_path / "cache")


def test_what_the_index_keeps_is_plain_data(tmp_path: Path) -> None:
    make(web_pairs.write(tmp_path / "in", 5, spoilt=False), tmp_path / "cache")
    folder = tmp_path / "cache" / f"{tmp_path.name}-in-index"
    assert {p.name for p in folder.iterdir()} == {
        MARK,
        "index.json",
        "places.npy",
    }
    assert json.loads((folder / "index.json").read_text())["pairs"] == 5


@pytest.mark.parametrize("spoilt", [(0,), (1,), (0, 1)])
def test_a_key_of_two_shards_is_an_error_whether_good_or_bad(
    tmp_path: Path, spoilt: tuple[int, ...]
) -> None:
    for number in (0, 1):
        one = web_pairs.good(3) | ({"jpg": b"torn"} if number in spoilt else {})
        others = [web_pairs.good(10 * number + i) for i in (10, 11)]
        shards.write_pair_shard(tmp_path / "in", number, [*others, one])
    for read in (make, partial(decode.decode, side=8, field="txt")):
        with pytest.raises(ConfigError, match=r"00001\.tar: key '000000003' comes twice"):
            read(shard_files.tars(tmp_path / "in"), cache=tmp_path / "cache", bad_share=1)
    assert not list((tmp_path / "cache").glob("*/index.json"))
