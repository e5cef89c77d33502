"""With what a run is made, for its manifest: the commit, versions of packages, the time."""

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("bdnb", "torch", "torchvision", "open_clip_torch", "accelerate", "numpy")


def commit() -> str:
    """The checkout's commit, with ``+changes`` when the tree differs from it."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+changes"]
    done = subprocess.run([*git, "--abbrev=12"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that rows depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
