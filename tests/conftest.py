"""A tiny project, made once a session: parameters, data, and the runs that tests ask for."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[1]

os.environ.setdefault("OMP_NUM_THREADS", "1")


LONG = ("slow", "browser", "slurm")
"""Marks of files that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: of several workers none waits at the end for another's long file."""
    long = {item.path for item in items if any(map(item.get_closest_marker, LONG))}
    items.sort(key=lambda item: item.path not in long)


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


def measurements() -> list[dict[str, Any]]:
    """Made-up rows as the benchmarks write them: numbers that can be worked out by hand."""
    about = {"model": "laptop", "case": {}, "device": "cpu, 1 thread, fp32, AVX2", "cores": 2}
    about |= {"load": [0.1, 0.2, 0.3], "repeats": 3, "commit": "abc"}
    about |= {"date": "2026-11-23T10:00:00+00:00"}

    def two(ours: float, plain: float) -> dict[str, Any]:
        times = {"bdnb": [ours, ours * 2, ours], "authors": [plain, plain, plain * 3]}
        memory = {"bdnb": 900.0, "authors": 1000.0}
        return {"seconds": {"bdnb": ours, "authors": plain}, "times": times, "memory_mb": memory}

    quick = two(0.5, 2.0) | {"samples": 100, "row": "step MMCL", "target": 3.0}
    slow = two(1.0, 2.0) | {"samples": 100, "row": "evaluation", "target": 6.0}
    rows = [{"kind": "ratio"} | about | own for own in (quick, slow)]
    for multiple in (1, 2, 4, 8):
        grown = two(0.5 * multiple, 2.0 * multiple**2)
        grown |= {"axis": "classes", "row": "evaluation", "samples": 9}
        rows.append(
            {"kind": "growth"} | about | grown | {"size": 3 * multiple, "multiple": multiple}
        )
    return rows


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A file of the rows of ``measurements``."""
    path = tmp_path / "performance.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in measurements()))
    return path
