"""A tiny project, made once a session: parameters, data, and the runs that tests ask for."""

import os
import shutil
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with the parameters of tests/params and the repository's fetched art."""
    home = tmp_path_factory.mktemp("home")
    shutil.copytree(REPOSITORY / "tests" / "params", home / "params")
    shutil.copytree(REPOSITORY / "params" / "quick", home / "params" / "quick")
    art = REPOSITORY / "data" / ".npm"
    art.mkdir(parents=True, exist_ok=True)
    (home / "data").mkdir()
    (home / "data" / ".npm").symlink_to(art)
    return home


@pytest.fixture
def tiny(tiny_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny project as the one that the package works in."""
    monkeypatch.setenv("BDNB_HOME", str(tiny_home))
    return tiny_home


@pytest.fixture
def fresh(tiny_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the tiny one's parameters and data, and no runs."""
    shutil.copytree(tiny_home / "params", tmp_path / "params")
    (tmp_path / "data").symlink_to(tiny_home / "data")
    monkeypatch.setenv("BDNB_HOME", str(tmp_path))
    return tmp_path
