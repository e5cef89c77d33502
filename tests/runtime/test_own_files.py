"""Files of the user's are never removed or replaced, wherever this package removes or replaces."""

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from bdnb.data import decode, imagenet, index, shards, web
from bdnb.report import book
from bdnb.runs import experiments, shipped
from bdnb.runs.records import Run
from bdnb.runtime import files, npm
from bdnb.runtime.errors import ConfigError
from tests.data import shard_files

REPOSITORY = Path(__file__).parents[2]


def mine(folder: Path, name: str = "thesis.txt") -> Path:
    """A file of the user's in a folder that this package would make."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("years of work")
    return path


def pairs(folder: Path, count: int = 3) -> list[Path]:
    """A shard of grey pairs."""
    import io

    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (16, 16), "grey").save(file, "png")
    made = (shards.pair(f"{i:03d}", file.getvalue(), "grey", side=16) for i in range(count))
    shard_files.write_pairs(folder, made)
    return shard_files.tars(folder)


def test_a_folder_is_ours_by_its_mark_alone(tmp_path):
    folder = tmp_path / "made"
    files.begin(folder, "a thing")
    (folder / "deep" / "er").mkdir(parents=True)
    files.begin(folder, "a thing")
    assert [path.name for path in folder.iterdir()] == [files.MARK]
    for what in ("another thing", "thing"):
        with pytest.raises(ConfigError, match=r"made: not made by bdnb .*left as it is"):
            files.discard(folder, what)
    files.discard(folder, "a thing")
    assert not folder.exists()
    files.discard(folder, "a thing")


def test_a_mark_that_found_no_room_on_the_disk_is_not_in_the_way_later(tmp_path):
    (tmp_path / ".made.part").mkdir()
    (tmp_path / ".made.part" / files.MARK).touch()
    with files.building(tmp_path / "made", "a thing") as part:
        (part / "one").write_text("1")
    assert files.marked(tmp_path / "made", "a thing")


def test_a_file_in_a_folder_s_place_is_said_to_be_there(tmp_path):
    (tmp_path / "runs").touch()
    with pytest.raises(files.StorageError, match="a file is where a folder should be: move"):
        files.write_atomic(tmp_path / "runs" / "train-x" / "rows.jsonl", "")


def test_a_link_is_not_followed_to_what_it_points_at(tmp_path):
    there = mine(tmp_path / "there")
    files.begin(tmp_path / "ours", "a thing")
    (tmp_path / "ours" / "link").symlink_to(there.parent)
    files.discard(tmp_path / "ours", "a thing")
    assert there.exists()
    files.begin(tmp_path / "ours", "a thing")
    (tmp_path / "link").symlink_to(tmp_path / "ours")
    with pytest.raises(ConfigError, match="link: not made by bdnb"):
        files.discard(tmp_path / "link", "a thing")


def test_what_a_kill_in_the_middle_of_removing_leaves_is_known_as_ours(tmp_path, monkeypatch):
    older = mine(tmp_path / "older" / "deep").parent.parent

    def killed(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        files.discard(older, "a thing", known=True)
    monkeypatch.undo()
    files.discard(older, "a thing")
    assert not older.exists()


@pytest.mark.parametrize("name", ["in-16", ".in-16.part"])
def test_decoding_leaves_other_folders_of_its_names_alone(tmp_path, name):
    tars = pairs(tmp_path / "in")
    cache = tmp_path / "cache"
    cache_name = decode.cache_of(tars, 16, cache).name
    own = mine(cache / name.replace("in-16", cache_name))
    if not name.startswith("."):
        (own.parent / "samples.json").write_text(json.dumps({"mine": 1}))
    with pytest.raises(ConfigError, match=r"not made by bdnb.*left as it is"):
        decode.decode(tars, 16, cache, field="txt")
    assert own.read_text() == "years of work"


def test_decoded_files_of_a_version_without_marks_are_used_and_never_replaced(tmp_path):
    tars = pairs(tmp_path / "in")
    decode.decode(tars, 16, tmp_path / "cache", field="txt")
    made = decode.cache_of(tars, 16, tmp_path / "cache")
    (made / files.MARK).unlink()
    assert decode.decoded(tars, 16, tmp_path / "cache", field="txt")
    again = pairs(tmp_path / "in", 4)
    with pytest.raises(ConfigError, match="remove it if a version of bdnb without marks left it"):
        decode.decode(again, 16, tmp_path / "cache", field="txt")


@pytest.mark.parametrize("name", ["{}", ".{}.part"])
def test_indexing_leaves_other_folders_of_its_names_alone(tmp_path, name):
    tars = pairs(tmp_path / "in")
    own = mine(tmp_path / "cache" / name.format(f"{decode.name_of(tars)}-index"))
    with pytest.raises(ConfigError, match=r"not made by bdnb.*left as it is"):
        index.index(tars, tmp_path / "cache", workers=1)
    assert own.read_text() == "years of work"


def test_installing_packages_leaves_a_folder_of_that_name_alone(tmp_path, monkeypatch):
    digest = hashlib.sha256(npm.LOCK.read_bytes()).hexdigest()[:12]
    own = mine(tmp_path / f".{digest}.part")
    monkeypatch.setattr(npm, "_install", lambda folder: pytest.fail("it asked the registry"))
    with pytest.raises(ConfigError, match="not made by bdnb"):
        npm.fetch("mathjax", tmp_path)
    assert own.read_text() == "years of work"


def test_converting_imagenet_leaves_a_folder_of_its_name_alone(tmp_path):
    from PIL import Image

    for number in range(1000):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "in" / str(number) / "a.png")
    own = mine(tmp_path / ".out.part")
    with pytest.raises(ConfigError, match=r"\.out\.part: not made by bdnb"):
        imagenet.convert(tmp_path / "in", tmp_path / "out")
    assert own.read_text() == "years of work"


@pytest.mark.parametrize("name", ["train/00000.tar", "clean/00000.tar", "report.json"])
def test_a_list_is_not_fetched_into_pairs_of_one_s_own(tmp_path, monkeypatch, name):
    monkeypatch.setattr(web, "download", lambda *given, **more: pytest.fail("it fetched"))
    source = tmp_path / "list.tsv"
    source.write_text("".join(f"https://a.example/{i}.jpg\ta caption\n" for i in range(9)))
    out = tmp_path / "out"
    own = mine((out / name).parent, Path(name).name)
    with pytest.raises(ConfigError, match=r"out: holds .* not fetched by bdnb"):
        web.build(source, out, web.Fetch(pairs=2, clean=1))
    assert own.read_text() == "years of work"
    assert not (out / "web.json").exists()


def test_the_book_is_not_built_over_a_folder_of_one_s_own(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "clean.ipynb").write_text("{}")
    for name, build in (
        ("book", lambda: book.assemble(tmp_path / "notebooks", tmp_path)),
        ("html", lambda: book.build(tmp_path)),
    ):
        own = mine(tmp_path / name)
        with pytest.raises(ConfigError, match=rf"{name}: not made by bdnb.*another --out"):
            build()
        assert own.read_text() == "years of work"


def test_a_run_s_folder_is_tidied_of_our_half_written_files_alone(tmp_path):
    own = [mine(tmp_path, name) for name in (".mine.part", "mine.1.part")]
    own.append(mine(tmp_path / "deep" / "er", ".mine.1.part"))
    ours = [mine(tmp_path, ".rows.jsonl.12.part")]
    ours.append(mine(tmp_path / "checkpoints", ".epoch_001.safetensors.3.part"))
    files.remove_parts(tmp_path)
    assert all(path.exists() for path in own)
    assert not any(path.exists() for path in ours)


def shipped_runs() -> list[Run]:
    made = []
    for config in experiments.of_file("tiny", "clean"):
        run = Run(experiments.folder(config))
        run.start(stage="clean", config=vars(config), device="cpu", about={})
        run.append({"epoch": 0, "accuracy": 1.0, "asr": 2.0})
        run.finish()
        made.append(run)
    shipped.pack("tiny")
    return made


def test_shipped_rows_are_not_unpacked_over_runs_of_one_s_own(fresh):
    run = shipped_runs()[0]
    run.append({"epoch": 1, "accuracy": 3.0, "asr": 4.0})
    (run.folder / "state.pt").write_text("years of work")
    before = {p: p.read_bytes() for p in (fresh / "runs").rglob("*") if p.is_file()}
    with pytest.raises(ConfigError, match=r"recorded there already.*another folder"):
        shipped.unpack("tiny", fresh / "runs")
    assert {p: p.read_bytes() for p in (fresh / "runs").rglob("*") if p.is_file()} == before
    assert shipped.unpack("tiny", fresh / "elsewhere") == shipped.unpack(
        "tiny", fresh / "elsewhere"
    )


def test_packing_keeps_a_file_whose_runs_are_nowhere_else(fresh):
    shipped_runs()
    line = (shipped.folder("tiny") / "clean.jsonl").read_text().splitlines()[0]
    copy = shipped.folder("tiny") / "copy.jsonl"
    copy.write_text(line + "\n")
    own = shipped.folder("tiny") / "mine.jsonl"
    known = json.loads(line) | {"asked": "clean-of-last-year"}
    own.write_text(json.dumps(known) + "\n")
    shipped.pack("tiny")
    assert own.exists()
    assert not copy.exists()


def test_make_clean_keeps_what_the_book_did_not_write(tmp_path):
    own = [mine(tmp_path / "build" / "quick", "OUT.ipynb"), mine(tmp_path / "build" / "mine")]
    built = [mine(tmp_path / "build" / "quick" / n) for n in ("book", "html", "notebooks", "logs")]
    make = ["make", "-s", "-f", str(REPOSITORY / "Makefile"), "clean"]
    subprocess.run(make, cwd=tmp_path, check=True, capture_output=True)
    assert all(path.exists() for path in own)
    assert not any(path.exists() for path in built)


def test_no_job_of_snakemake_has_a_file_under_data_as_its_output():
    """Snakemake removes the outputs of a job before it is run again, and when it fails."""
    text = (REPOSITORY / "notebooks" / "Snakefile").read_text()
    outputs = [part.partition(":\n")[0] for part in text.split("    output:\n")[1:]]
    assert outputs
    assert not any('"data/' in part for part in outputs)


@pytest.mark.parametrize("step", ["write_atomic", "discard", "replace"])
def test_a_folder_that_was_killed_at_any_step_is_made_again_and_nothing_is_left(
    tmp_path, monkeypatch, step
):
    folder = tmp_path / "made"

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def make(cut: pytest.MonkeyPatch) -> None:
        with files.building(folder, "a thing") as part:
            (part / "one").write_text("1")
            # A kill runs no `finally`, either.
            cut.setattr(files.os if step == "replace" else files, step, killed)
            cut.setattr(files, "discard", killed)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        make(cut)
    with files.building(folder, "a thing") as part:
        assert not (part / "one").exists()
        (part / "two").write_text("2")
    assert sorted(path.name for path in folder.iterdir()) == [files.MARK, "two"]
    assert files.marked(folder, "a thing")
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
