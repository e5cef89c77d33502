"""Labelled sets are CLIP_benchmark's: written for its reader, read as its writer leaves them."""

from pathlib import Path

import numpy as np
import pytest

from bdnb.data import labelled
from bdnb.data.scenes import png
from bdnb.data.shards import Sample
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

CLASSES = ["banana", "red apple", "taxi"]
PROMPTS = ["a photo of a {c}.", "{c}"]


def image(index: int) -> np.ndarray:
    return generator(0, "image", index).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def samples(count: int, first_label: int = 0) -> list[Sample]:
    return [
        {"__key__": f"s{i:07d}", "png": png(image(i)), "cls": first_label + i % 3}
        for i in range(count)
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    labelled.write_labelled(
        tmp_path / "toy", samples(7), classnames=CLASSES, templates=PROMPTS, shard_size=4
    )
    return tmp_path / "toy"


def read(folder: Path) -> labelled.LabelledSet:
    return labelled.read_labelled(folder, side=16, cache=folder.parent / "cache")


def test_a_set_comes_back_as_it_went_in(folder: Path) -> None:
    found = read(folder)
    assert found.name == "toy"
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert np.array_equal(found.images, np.stack([image(i).transpose(2, 0, 1) for i in range(7)]))
    assert found.keys[6] == "s0000006"
    assert (found.classnames, found.templates) == (CLASSES, PROMPTS)
    assert len(found) == 7


@pytest.mark.parametrize("which", ["toy", "tiny val"])
def test_clip_benchmarks_own_reader_reads_the_same(
    which: str, folder: Path, tiny_root: Path, tmp_path: Path
) -> None:
    from clip_benchmark.datasets import builder

    if which == "tiny val":
        folder = tiny_root / "data" / "tiny" / "val"
    side = 16 if which == "toy" else 32
    ours = labelled.read_labelled(folder, side=side, cache=tmp_path / "decoded")
    theirs = builder.build_wds_dataset(which, np.asarray, split="test", data_dir=str(folder))
    assert theirs.classes == ours.classnames
    assert theirs.templates == ours.templates
    images, labels = zip(*theirs, strict=True)
    assert list(labels) == ours.labels.tolist()
    assert np.array_equal(np.stack(images).transpose(0, 3, 1, 2), ours.images)


def test_clip_benchmarks_own_writer_is_read(tmp_path: Path) -> None:
    from clip_benchmark import webdataset_builder as writer
    from PIL import Image

    class Toy(list[tuple[bytes, int]]):
        classes, templates = CLASSES, PROMPTS

    encode = writer.PIL_to_bytes("webp")
    data = Toy((encode(Image.fromarray(image(i))), i % 3) for i in range(5))
    writer.convert_dataset(data, "test", str(tmp_path / "theirs"), max_count=2, verbose=False)
    found = read(tmp_path / "theirs")
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert np.array_equal(found.images, np.stack([image(i).transpose(2, 0, 1) for i in range(5)]))


def test_a_class_is_found_by_name_and_a_missing_one_names_its_neighbours(folder: Path) -> None:
    found = read(folder)
    assert found.class_index("red apple") == 1
    with pytest.raises(ConfigError, match=r"'bananas': .*'toy' has 3 classes.*near it: 'banana'"):
        found.class_index("bananas")
    with pytest.raises(ConfigError, match="near it: 'banana'"):
        found.class_index("Banana")
    with pytest.raises(ConfigError, match="none is near it"):
        found.class_index("zeppelin")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classnames.txt", "banane\ncr\u00e8me\ntaxi\n".encode("latin-1"), "not UTF-8"),
        ("zeroshot_classification_templates.txt", b"\xff{c}\n", "not UTF-8"),
        ("classnames.txt", None, "missing"),
        ("classnames.txt", "banana\n\ntaxi\n", "no empty lines"),
        ("classnames.txt", "banana\n", "label '1'; expected 0 to 0"),
        ("zeroshot_classification_templates.txt", None, "missing"),
        ("zeroshot_classification_templates.txt", "a photo\n", "has no {c}"),
        ("test/nshards.txt", None, "number of shards"),
        ("test/nshards.txt", "two\n", "number of shards"),
        ("test/nshards.txt", "3\n", "2.tar: no such shard"),
        ("test/nshards.txt", "1\n", "says 1 shards, but there is 1.tar, too"),
        ("dataset_type.txt", "retrieval\n", "expected classification"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    folder: Path, name: str, content: str | bytes | None, message: str
) -> None:
    path = folder / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        read(folder)
    assert message in str(caught.value)
    if message == "not UTF-8":
        assert str(caught.value).startswith(f"{path}: ")


def test_class_names_saved_on_windows_have_no_byte_order_mark(folder: Path) -> None:
    path = folder / labelled.CLASSNAMES
    path.write_text(path.read_text().replace("\n", "\r\n"), "utf-8-sig", newline="")
    assert read(folder).classnames == CLASSES


def test_a_prompt_without_place_for_the_class_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no \{c\}"):
        labelled.write_labelled(tmp_path, samples(3), classnames=CLASSES, templates=["a photo"])


def test_classes_of_one_name_are_told_of_and_are_no_target(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not an error by itself: ImageNet has two missiles and two sunglasses."""
    (folder / labelled.CLASSNAMES).write_text("banana\ntaxi\nbanana\n")
    found = read(folder)
    assert "one name cannot be told apart: banana" in caplog.text
    assert found.class_index("taxi") == 1
    with pytest.raises(ConfigError, match=r"'banana': .*'toy' has it 2 times .*0, 2"):
        found.class_index("banana")
