"""No file that the user is given can run code, or write outside its folder."""

import ast
import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest
import torch

import bdnb
from bdnb.data import decode
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.train import train
from bdnb.training import training_state

PACKAGE = Path(bdnb.__file__).parent

# Calls that can run what a file says, and what makes each of them safe.
UNSAFE = {
    "pickle.load", "pickle.loads", "marshal.loads", "shelve.open", "joblib.load", "dill.load",
    "yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all",
    "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "extractall", "extract", "shutil.unpack_archive",
}  # fmt: skip


class Hostile:
    def __reduce__(self):
        return (os.mkdir, ("hostile",))


def dotted(node: ast.expr) -> str:
    """``a.b.c`` of a call's function."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls() -> list[tuple[str, str, ast.Call]]:
    """Every call in the package: its place, name and node."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                place = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                found.append((place, dotted(node.func), node))
    return found


def test_the_package_calls_nothing_that_runs_what_a_file_says():
    bad = []
    for place, name, node in calls():
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        shells = keywords.get("shell") == "True"
        loads = name == "torch.load" and keywords.get("weights_only") != "True"
        arrays = name == "np.load" and keywords.get("allow_pickle", "False") != "False"
        last = name.rpartition(".")[2]
        if name in UNSAFE or last in ("extractall", "extract") or shells or loads or arrays:
            bad.append(f"{place}: {ast.unparse(node)[:80]}")
    assert not bad
    assert any(name == "torch.load" for _, name, _ in calls())


def test_a_hostile_state_is_refused_and_not_run(fresh, monkeypatch):
    monkeypatch.chdir(fresh)
    config = experiments.trained("tiny", "train_mmcl", 0)
    run = Run(experiments.folder(config))
    run.folder.mkdir(parents=True)
    run.state.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(
        ConfigError, match=r"state\.pt: not a training state that can be read safel"
    ):
        train(config)
    torch.save({"progress": Hostile()}, run.state)
    with pytest.raises(
        ConfigError, match=r"state\.pt: not a training state that can be read safel"
    ):
        train(config)
    assert not (fresh / "hostile").exists()


@pytest.mark.parametrize("content", [b"", b"torn", b"PK\x03\x04 torn"])
def test_a_state_that_is_torn_is_named(tmp_path, content):
    path = tmp_path / "x.adam.pt"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.adam\.pt: .*remove it"):
        training_state.read_state(path)


def archive(path: Path, *members: tuple[str, str, bytes]) -> Path:
    """A tar of (name, kind of member, content or target)."""
    with tarfile.open(path, "w") as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            if kind == "link":
                member.type, member.linkname = tarfile.SYMTYPE, content.decode()
                tar.addfile(member)
            else:
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path


def test_a_hostile_tar_of_samples_writes_nothing_anywhere(tmp_path, monkeypatch):
    """Shards are read member by member: names are keys, never paths to write to."""
    monkeypatch.chdir(tmp_path)
    absolute = tmp_path.parent / "absolute.txt"
    names = ("../escaped.txt", str(absolute), "a/../../escaped2.txt")
    members = [(name, "file", b"x") for name in names] + [("link.jpg", "link", b"../secret")]
    shard = archive(tmp_path / "00000.tar", *members)
    try:
        with pytest.raises(ConfigError):
            decode.decode([shard], 8, tmp_path / "cache", field="txt")
    finally:
        assert not (tmp_path.parent / "escaped.txt").exists()
        assert not (tmp_path.parent / "escaped2.txt").exists()
        assert not absolute.exists()
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in left if not name.endswith(".lock")} == {"00000.tar"}
