"""ImageNet and its relatives come in with the right label, whatever order they are handed out in.

No image of ImageNet is here: what is read has the names, the layouts and the files of the real
sets, with images drawn here; torchvision is told their checksums.
"""

import hashlib
import io
import random
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from open_clip import IMAGENET_CLASSNAMES
from scipy.io import savemat

from bdnb.data import imagenet, labelled
from bdnb.data.shards import write_tar
from bdnb.runtime.errors import ConfigError
from tests.data import web_pairs

KNOWN = {"n01440764": "tench", "n07753592": "banana", "n15075141": "toilet paper"}
"""WordNet numbers and names as anybody can look them up."""


def jpeg(index: int) -> bytes:
    return web_pairs.encoded(web_pairs.picture(index, (8, 8)))


def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def devkit(path: Path, ids: list[int]) -> dict[int, str]:
    """The devkit with that ground truth. Returns: ILSVRC2012_ID -> WordNet number, not sorted."""
    order = list(imagenet.wnids())
    random.Random(0).shuffle(order)
    leaves = [(i, wnid, "words", "gloss", 0, [], 0, 1300) for i, wnid in enumerate(order, start=1)]
    inner = [(1001 + i, f"n9999999{i}", "words", "gloss", 2, [1, 2], 1, 0) for i in range(3)]
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children"]
    kinds = [(field, object) for field in [*fields, "wordnet_height", "num_train_images"]]
    savemat(meta := io.BytesIO(), {"synsets": np.array(leaves + inner, dtype=kinds)})
    with tarfile.open(path, "w:gz") as archive:
        folder = "ILSVRC2012_devkit_t12/data"
        add(archive, f"{folder}/meta.mat", meta.getvalue())
        text = "".join(f"{i}\n" for i in ids).encode()
        add(archive, f"{folder}/ILSVRC2012_validation_ground_truth.txt", text)
    return dict(enumerate(order, start=1))


def official(folder: Path, ids: list[int], patch: pytest.MonkeyPatch) -> dict[int, str]:
    """The two official files in a folder, for images of these classes. Returns: as ``devkit``."""
    folder.mkdir()
    kit, images = folder / "ILSVRC2012_devkit_t12.tar.gz", folder / imagenet.OFFICIAL
    wnid = devkit(kit, ids)
    with tarfile.open(images, "w") as archive:
        for i in range(1, len(ids) + 1):
            add(archive, f"ILSVRC2012_val_{i:08d}.JPEG", jpeg(i))
    known = {
        name: (path.name, hashlib.md5(path.read_bytes()).hexdigest())
        for name, path in (("devkit", kit), ("val", images))
    }
    patch.setattr("torchvision.datasets.imagenet.ARCHIVE_META", known)
    return wnid


def read(folder: Path) -> labelled.LabelledSet:
    return labelled.read_labelled(folder, side=8, cache=folder.parent / "cache")


def test_the_official_tar_gets_its_labels_from_the_devkit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [*range(1, 1001), 490, 1, 361]
    random.Random(2).shuffle(ids)
    wnid = official(tmp_path / "in", ids, monkeypatch)
    out = tmp_path / "val"
    assert imagenet.convert(tmp_path / "in", out) == len(ids)
    found = read(out)
    for key, label in zip(found.keys, found.labels.tolist(), strict=True):
        number = int(key.rpartition("_")[2])
        assert imagenet.wnids()[label] == wnid[ids[number - 1]]
    assert len(found.classnames) == 1000
    assert len(found.templates) == 80
    assert found.class_index("banana") == 954
    first = found.keys[0]
    with tarfile.open(out / "test" / "0.tar") as archive:
        data = archive.extractfile(f"{first}.jpg")
        assert data is not None
        assert data.read() == jpeg(int(first.rpartition("_")[2]))
    (tmp_path / "in" / "val" / "n01440764").rename(tmp_path / "lost")
    with pytest.raises(ConfigError, match="not unpacked to its end"):
        imagenet.convert(tmp_path / "in", tmp_path / "again")


def test_other_files_than_the_official_ones_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    official(tmp_path / "in", [1, 2, 3], monkeypatch)
    path = tmp_path / "in" / imagenet.OFFICIAL
    path.write_bytes(path.read_bytes()[:-1024])
    with pytest.raises(ConfigError, match=r"ILSVRC2012_img_val\.tar is not present .*corrupted"):
        imagenet.convert(tmp_path / "in", tmp_path / "out")
    (tmp_path / "in" / "ILSVRC2012_devkit_t12.tar.gz").unlink()
    (tmp_path / "in" / "meta.bin").unlink()
    with pytest.raises(ConfigError, match=r"devkit_t12\.tar\.gz is not present"):
        imagenet.convert(tmp_path / "in", tmp_path / "out")


def test_names_belong_to_their_wordnet_numbers() -> None:
    names = dict(zip(imagenet.wnids(), IMAGENET_CLASSNAMES, strict=True))
    assert {wnid: names[wnid] for wnid in KNOWN} == KNOWN


def folders(root: Path, classes: list[str], name: str = "{}_{}.JPEG") -> None:
    for i, label in enumerate(classes):
        path = root / label / name.format(label, i)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(i % 7))


def test_folders_named_by_wordnet_numbers_are_labelled_in_sorted_order(tmp_path: Path) -> None:
    classes = imagenet.wnids()
    random.Random(1).shuffle(classes)
    folders(tmp_path / "sketch", classes)
    assert imagenet.convert(tmp_path / "sketch", tmp_path / "out") == 1000
    found = read(tmp_path / "out")
    by_key = dict(zip(found.keys, found.labels.tolist(), strict=True))
    for key, label in by_key.items():
        assert imagenet.wnids()[label] == key.split("_")[1]
    for wnid, name in KNOWN.items():
        key = next(k for k in by_key if wnid in k)
        assert found.classnames[by_key[key]] == name


def test_folders_named_by_numbers_are_labels(tmp_path: Path) -> None:
    """ImageNet-V2: a listing sorts 10 before 2."""
    folders(tmp_path / "v2", [str(i) for i in range(1000)])
    imagenet.convert(tmp_path / "v2", tmp_path / "out")
    found = read(tmp_path / "out")
    for key, label in zip(found.keys, found.labels.tolist(), strict=True):
        assert int(key.split("_")[1]) == label


def two_hundred() -> list[str]:
    return sorted(random.Random(3).sample(imagenet.wnids(), 200))


def test_a_relative_of_200_classes_keeps_its_own_names(tmp_path: Path) -> None:
    chosen = two_hundred()
    folders(tmp_path / "r", chosen, name="0.01_a, b _ {1}_{0}.jpg")
    (tmp_path / "r" / "README.txt").write_text("not an image")
    imagenet.convert(tmp_path / "r", tmp_path / "out")
    found = read(tmp_path / "out")
    names = dict(zip(imagenet.wnids(), IMAGENET_CLASSNAMES, strict=True))
    assert found.classnames == [names[wnid] for wnid in chosen]
    assert sorted(found.labels.tolist()) == list(range(200))
    assert chosen[3] in found.keys[found.labels.tolist().index(3)]


def test_images_of_one_name_in_one_class_stay_apart(tmp_path: Path) -> None:
    folders(tmp_path / "r", two_hundred())
    first = two_hundred()[0]
    for name in ("art.0.jpg", "art 0.png", "art_0.JPEG"):
        (tmp_path / "r" / first / name).write_bytes(jpeg(0))
    assert imagenet.convert(tmp_path / "r", tmp_path / "out") == 203
    assert len(set(read(tmp_path / "out").keys)) == 203


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"999 folders of images, not n01440764; expected one for each"),
        ("foreign", r"1001 folders of images, such as 'cats'"),
        ("none", r"set: Couldn't find any class folder"),
        ("no images", r"Found no valid file for the classes cats"),
        ("absent", r"no such folder; unpack a tar first"),
        ("a tar", r"no such folder; unpack a tar first"),
        ("not empty", r"out: not empty"),
    ],
)
def test_what_is_no_such_set_is_refused(tmp_path: Path, change: str, message: str) -> None:
    source, out = tmp_path / "set", tmp_path / "out"
    if change != "absent":
        source.mkdir()
    if change in ("missing", "foreign", "not empty"):
        folders(source, list(imagenet.wnids()))
    if change == "missing":
        shutil.rmtree(source / "n01440764")
    if change == "foreign":
        folders(source, ["cats"])
    if change == "not empty":
        (out / "mine").mkdir(parents=True)
    if change == "no images":
        (source / "cats").mkdir()
    if change == "a tar":
        source = tmp_path / "x.tar"
        source.write_bytes(b"a tar")
    with pytest.raises(ConfigError, match=message):
        imagenet.convert(source, out)


def test_clip_benchmarks_own_sets_are_read_as_they_are(tmp_path: Path) -> None:
    """As ``wds_imagenet1k`` lies on its hub: test/ and train/, webp, a name with a comma."""
    folder = tmp_path / "wds_imagenet1k"
    classes = ["tench", "hammerhead shark, or so", "banana"]
    samples = [
        {
            "__key__": f"s{i:07d}",
            "webp": web_pairs.encoded(web_pairs.picture(i, (8, 8)), "WEBP", lossless=True),
            "cls": f"{i % 3}",
        }
        for i in range(5)
    ]
    for split, part in (("test", samples[:3]), ("train", samples)):
        write_tar(folder / split / "0.tar", part)
        (folder / split / "nshards.txt").write_text("1")
    (folder / "classnames.txt").write_text("\n".join(classes))
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}.\n{c}")
    (folder / "dataset_type.txt").write_text("classification")
    found = read(folder)
    assert found.labels.tolist() == [0, 1, 2]
    assert found.classnames == classes
    expected = np.asarray(web_pairs.picture(1, (8, 8))).transpose(2, 0, 1)
    assert np.array_equal(found.images[1], expected)


def test_the_command_says_what_is_wrong_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["imagenet", "--source", str(tmp_path / "no"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", given)
    with pytest.raises(SystemExit, match="2"):
        imagenet.main()
    assert f"{tmp_path / 'no'}: no such folder" in capsys.readouterr().err
