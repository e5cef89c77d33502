"""A data set from elsewhere is read as it lies there, and what is missing or damaged is named."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from bdnb import clean
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.data import datasets
from bdnb.runtime.errors import ConfigError
from tests.data import shard_files, web_pairs


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Two downloads of other pairs, whose keys both begin at 000000000."""
    for split, first in (("train", 0), ("clean", 100)):
        samples = (web_pairs.good(first + i) | {"__key__": f"{i:09d}"} for i in range(9))
        shard_files.write_pairs(tmp_path / "own" / split, samples)
    return tmp_path / "own"


def shared(folder: Path, **changes: object) -> int:
    """What a manifest would say of the overlap of cleaning and training pairs."""
    train = TrainConfig(stream="no", attack="none")
    config = replace(CleanConfig(), **({"pairs": 6, "poisons": 0} | changes))
    return clean.cleaning_pairs(config, train, datasets.Dataset(folder), side=16)[2][
        "overlap_with_training"
    ]


def test_other_pairs_of_the_same_keys_are_no_overlap(own: Path) -> None:
    assert shared(own) == 0


def test_pairs_that_were_trained_on_are_an_overlap(own: Path) -> None:
    assert shared(own, overlap="authors") == 6


def test_one_download_under_both_names_is_an_overlap(own: Path) -> None:
    shutil.rmtree(own / "clean")
    shutil.copytree(own / "train", own / "clean")
    assert shared(own) == 6


def test_a_set_without_labelled_images_says_what_is_missing(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"own: no labelled set to measure on: expected val/"):
        datasets.Dataset(own).labelled(16)


@pytest.mark.parametrize("text", ["{torn", "[]"])
def test_a_garbled_description_is_named(own: Path, text: str) -> None:
    (own / "dataset.json").write_text(text)
    with pytest.raises(ConfigError, match=r"own/dataset\.json: .*move that file"):
        datasets.Dataset(own).side  # noqa: B018
