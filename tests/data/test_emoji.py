"""The embedded data is deterministic, whole or not there, and as large as it was asked for."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bdnb.config.parameters import make
from bdnb.data import art, emoji, labelled, render
from bdnb.data.shards import samples
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, begin
from tests.data import shard_files
from tests.data.tiny_scenes import TINY, project


def hashes(folder: Path) -> dict[str, str]:
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


@pytest.fixture
def tiny_copy(tiny_root: Path, tmp_path: Path) -> Path:
    """A project with a copy of the tiny set, to be damaged."""
    root = project(tmp_path / "copy")
    shutil.copytree(tiny_root / "data" / "tiny", root / "data" / "tiny")
    return root


def test_the_same_parameters_give_the_same_bytes_by_one_process_or_two(
    tiny_root: Path, tmp_path: Path
) -> None:
    again = emoji.build(TINY, project(tmp_path / "again"), workers=2)
    assert hashes(again) == hashes(tiny_root / "data" / "tiny")


def test_another_seed_gives_other_scenes(tiny_root: Path, tmp_path: Path) -> None:
    other = emoji.build(replace(TINY, seed=1), project(tmp_path / "other"))
    ours, theirs = hashes(tiny_root / "data" / "tiny"), hashes(other)
    assert all(ours[name] != theirs[name] for name in ours if name.endswith(".tar"))


def test_the_set_holds_what_was_asked_for(tiny_root: Path) -> None:
    folder = tiny_root / "data" / "tiny"
    index = emoji.read_index(folder)
    assert index is not None
    assert index["counts"] == TINY.counts == {"train": 24, "clean": 8, "val": 12, "unseen": 13}
    assert "banana" in index["classes"]
    assert len(index["classes"]) == TINY.classes
    assert {"train/00000.tar", "train/00000_stats.json", "clean/00000.tar"} <= set(index["files"])
    assert hashes(folder).keys() == {*index["files"], "dataset.json", MARK}
    assert all(hashes(folder)[n] == mark["sha256"] for n, mark in index["files"].items())
    every = [
        sample
        for split in ("train", "clean", "val/test", "unseen/test")
        for sample in samples(shard_files.tars(folder / split))
    ]
    assert len({sample["__key__"] for sample in every}) == len(every) == 57
    assert len({sample["png"] for sample in every}) == 57


def test_scenes_keep_to_the_styles_of_their_split(tiny_root: Path) -> None:
    folder = tiny_root / "data" / "tiny"
    for split in ("train", "clean"):
        for pair in shard_files.read_pairs(shard_files.tars(folder / split)):
            assert pair["json"]["style"] in art.TRAINING_STYLES
            assert art.words(pair["json"]["url"].split("/")[1]) in pair["txt"]


def test_labelled_images_are_spread_evenly_over_the_classes(
    tiny_root: Path, tmp_path: Path
) -> None:
    for split, count in (("val", 12), ("unseen", 13)):
        found = labelled.read_labelled(
            tiny_root / "data" / "tiny" / split, side=32, cache=tmp_path / split
        )
        assert found.images.shape == (count, 3, 32, 32)
        assert set(Counter(found.labels.tolist()).values()) <= {2, 3}
        assert found.classnames[found.class_index("banana")] == "banana"
        assert len(found.templates) == 80


def test_no_time_owner_or_machine_is_written(tiny_root: Path) -> None:
    for tar in (tiny_root / "data" / "tiny").rglob("*.tar"):
        with tarfile.open(tar) as archive:
            for member in archive:
                about = (member.mtime, member.uid, member.gid, member.uname, member.gname)
                assert about == (0, 0, 0, "", "")
                assert member.mode == 0o644
    text = (tiny_root / "data" / "tiny" / "dataset.json").read_text()
    assert str(tiny_root) not in text


def forbid_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("the art was read")

    monkeypatch.setattr(art, "load", refuse)


def test_a_whole_set_is_returned_at_once(tiny_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_drawing(monkeypatch)
    assert emoji.build(TINY, tiny_root) == tiny_root / "data" / "tiny"


def test_builds_at_once_draw_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, load, loaded = project(tmp_path / "at_once"), art.load, []

    def count(style: str, cache: Path) -> art.Icons:
        loaded.append(style)
        return load(style, cache)

    monkeypatch.setattr(art, "load", count)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(emoji.build, TINY, root) for _ in range(3)]
        assert {job.result() for job in jobs} == {root / "data" / "tiny"}
    assert sorted(loaded) == sorted(art.STYLES)


def test_a_script_without_main_guard_builds_as_any_other(tmp_path: Path) -> None:
    root = project(tmp_path / "script")
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from bdnb.data import emoji\n"
        "print('once')\n"
        "config = emoji.EmojiData(name='tiny', pairs=4, cleaning_pairs=4, val_images=2,\n"
        "                         unseen_images=2, classes=2, side=16)\n"
        f"emoji.build(config, Path({str(root)!r}), workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=600, check=True
    )
    assert done.stdout == "once\n"
    assert (root / "data" / "tiny" / "dataset.json").is_file()


def test_other_parameters_under_the_same_name_are_refused_before_any_work(
    tiny_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_drawing(monkeypatch)
    before = hashes(tiny_root / "data" / "tiny")
    with pytest.raises(ConfigError, match=r"side is 32, asked for 48.*choose another name, or"):
        emoji.build(replace(TINY, side=48), tiny_root)
    made = emoji.VERSION
    monkeypatch.setattr(emoji, "VERSION", made + 1)
    with pytest.raises(ConfigError, match=f"version is {made}, asked for {made + 1}"):
        emoji.build(TINY, tiny_root)
    assert hashes(tiny_root / "data" / "tiny") == before


def test_a_build_that_dies_leaves_nothing_that_passes_for_a_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = project(tmp_path / "dies")
    drawn = render.draw_shards

    def die(splits: list[render.Split], workers: int) -> None:
        drawn(splits[:2], workers)
        raise KeyboardInterrupt

    monkeypatch.setattr(render, "draw_shards", die)
    with pytest.raises(KeyboardInterrupt):
        emoji.build(TINY, root)
    assert not (root / "data" / "tiny").exists()
    assert not (root / "data" / ".tiny.part").exists()


@pytest.mark.parametrize("damage", ["no index", "shorter", "missing"])
def test_a_half_built_or_damaged_set_is_built_again(
    tiny_root: Path, tiny_copy: Path, damage: str
) -> None:
    folder = tiny_copy / "data" / "tiny"
    left = tiny_copy / "data" / ".tiny.part" / "made"
    begin(left.parent, "emoji scenes, being made")
    left.mkdir()
    (left / "dataset.json").write_text("{}")
    tar = folder / "train" / "00000.tar"
    if damage == "no index":
        (folder / "dataset.json").unlink()
    elif damage == "shorter":
        tar.write_bytes(tar.read_bytes()[:-1024])
    else:
        tar.unlink()
    emoji.build(TINY, tiny_copy)
    assert hashes(folder) == hashes(tiny_root / "data" / "tiny")
    assert not left.exists()


def test_a_folder_of_other_things_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_drawing(monkeypatch)
    mine = tmp_path / "data" / "tiny" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises(ConfigError, match=r"tiny: not made by bdnb .*another `name:`"):
        emoji.build(TINY, tmp_path)
    assert mine.read_text() == "years of work"


@pytest.mark.parametrize("layout", ["pairs", "with prepared", "half of a set", "garbled index"])
def test_a_set_of_one_s_own_in_the_documented_layout_is_left_alone(
    tiny_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    forbid_drawing(monkeypatch)
    folder = tmp_path / "data" / "tiny"
    shutil.copytree(tiny_root / "data" / "tiny", folder)
    for name in (MARK, "dataset.json"):
        (folder / name).unlink()
    if layout == "half of a set":
        shutil.rmtree(folder / "val")
    elif layout == "pairs":
        shutil.rmtree(folder / "unseen")
    elif layout == "with prepared":
        (folder / "prepared").mkdir()
    else:
        (folder / "dataset.json").write_text("{torn")
    before = hashes(folder)
    with pytest.raises(ConfigError, match=r"tiny.*: (not made by bdnb|not JSON)"):
        emoji.build(TINY, tmp_path)
    assert hashes(folder) == before


def test_a_set_drawn_by_a_version_without_marks_is_used_and_mended(
    tiny_root: Path, tiny_copy: Path
) -> None:
    folder = tiny_copy / "data" / "tiny"
    (folder / MARK).unlink()
    assert emoji.build(TINY, tiny_copy) == folder
    assert not (folder / MARK).exists()
    (folder / "train" / "00000.tar").unlink()
    emoji.build(TINY, tiny_copy)
    assert hashes(folder) == hashes(tiny_root / "data" / "tiny")


def test_files_that_were_put_into_a_set_of_ours_keep_it_from_being_drawn_again(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_drawing(monkeypatch)
    folder = tiny_copy / "data" / "tiny"
    (folder / "train" / "00000.tar").unlink()
    mine = folder / "train" / "00001.tar"
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"did not write \(train/00001\.tar\).*left as it is"):
        emoji.build(TINY, tiny_copy)
    assert mine.read_text() == "mine"


def test_a_folder_where_a_set_would_be_drawn_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_drawing(monkeypatch)
    mine = tmp_path / "data" / ".tiny.part" / "mine.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(ConfigError, match=r"\.tiny\.part: not made by bdnb"):
        emoji.build(TINY, tmp_path)
    assert mine.read_text() == "mine"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("pairs", 0, "at least 1"),
        ("classes", 1, "at least 2"),
        ("side", "wide", "a whole number"),
        ("side", 8, "at least 16"),
        ("seed", -1, "at least 0"),
        ("val_images", 1.5, "whole number"),
        ("name", "../mine", "letters, digits"),
        ("colour", "red", "is not a parameter"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_was_expected(
    name: str, value: object, expected: str
) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        make(emoji.EmojiData, {name: value}, where="a test")
    assert expected in str(caught.value)


def test_classes_must_be_in_the_art() -> None:
    nouns = ["banana", "red-apple", "taxi"]
    assert emoji.choose_classes(replace(TINY, classes=3), nouns) == nouns
    assert "banana" in emoji.choose_classes(replace(TINY, classes=2), nouns)
    with pytest.raises(ConfigError, match="classes=4: expected at most 3"):
        emoji.choose_classes(replace(TINY, classes=4), nouns)
    with pytest.raises(ConfigError, match=r"bananna.*did you mean .banana"):
        emoji.choose_classes(replace(TINY, target="bananna"), nouns)


def test_a_scene_does_not_depend_on_the_shard_it_is_in(tiny_root: Path, tmp_path: Path) -> None:
    there = np.ones((1, 2), dtype=bool)
    pixels = np.full((1, 2, 64, 64, 4), 200, dtype=np.uint8)
    file = tmp_path / "sprites.npz"
    np.savez(file, pixels=pixels, there=there, styles=np.array(["a"]), names=np.array(["x", "y"]))
    drawn = []
    for size in (10, 4):
        folder = tmp_path / str(size) / "train"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(render, "SHARD_SIZE", size)
            plan = {"sprites": file, "labelled": False, "count": 10, "side": 32, "seed": 0}
            render.draw_shards([render.Split(folder=folder, **plan)], workers=1)
        drawn.append([list(samples([tar])) for tar in shard_files.tars(folder)])
    (whole,), parts = drawn
    assert [len(part) for part in parts] == [4, 4, 2]
    for name in ("png", "json"):
        assert [s[name] for s in whole] == [s[name] for part in parts for s in part]
    about = json.load(io.BytesIO(whole[7]["json"]))
    assert about["key"] == "train0000007"
