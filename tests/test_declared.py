"""What the package and its installation say of themselves: dependencies, folders, pins."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
PINS = [
    line
    for line in (REPOSITORY / ".ci" / "constraints.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def imported(folder: str) -> set[str]:
    """First parts of the names of all modules that a folder's files import."""
    found: set[str] = set()
    for path in (REPOSITORY / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"bdnb", "tests", "benchmarks"}


def declared(*extras: str) -> set[str]:
    """Distributions that pyproject.toml asks for, with those of some extras."""
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][e] for e in extras)]
    return {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}


def undeclared(folder: str, known: set[str]) -> set[str]:
    providers = metadata.packages_distributions()
    return {
        name
        for name in imported(folder)
        if not {canonicalize_name(one) for one in [name, *providers.get(name, [])]} & known
    }


def test_every_package_that_bdnb_imports_is_declared():
    assert undeclared("bdnb", declared("cpu", "book")) == set()


def test_every_package_that_the_tests_import_is_declared():
    assert undeclared("tests", declared("cpu", "book", "dev")) == set()


def test_an_import_that_nobody_declared_would_be_seen():
    assert "numpy" in undeclared("bdnb", set())


def test_every_declared_package_is_pinned_to_one_release():
    pinned = {canonicalize_name(Requirement(line).name) for line in PINS}
    assert declared(*PROJECT["optional-dependencies"]) - {"bdnb"} - pinned == set()
    assert len(pinned) == len(PINS)


def test_pins_name_a_release_and_no_place():
    assert [line for line in PINS if not re.fullmatch(r"[\w.-]+==[\w.+!]+", line)] == []


def tree() -> list[str]:
    """What the README's tree lists of the package: names of modules and folders."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    listed = text.partition("    bdnb/\n")[2].partition("\n\n")[0]
    return [line.split()[0] for line in listed.splitlines()]


def test_the_readme_s_tree_is_the_package_s():
    names = [f"{p.name}/" if p.is_dir() else p.name for p in (REPOSITORY / "bdnb").iterdir()]
    assert sorted(tree()) == sorted(n for n in names if not n.startswith("_"))


def test_the_tests_have_the_package_s_folders():
    there = {p.name for p in (REPOSITORY / "tests").iterdir() if any(p.glob("test_*.py"))}
    assert {name.rstrip("/") for name in tree() if name.endswith("/")} - there == set()


def test_every_folder_at_the_top_that_is_committed_is_in_the_readme():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    folders = {path.partition("/")[0] + "/" for path in listed if "/" in path}
    text = (REPOSITORY / "README.md").read_text("utf-8")
    assert [f for f in folders if not f.startswith(".") and f"    {f}" not in text] == []


def test_nothing_lies_at_the_top_that_was_not_meant_to():
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    seen = {line.partition("/")[0] for line in listed.stdout.splitlines()}
    folders = {"bdnb", "book", "notebooks", "params", "tests"}
    files = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"}
    hidden = {name for name in seen if name.startswith(".")}
    assert seen - hidden == folders | files | {"pyproject.toml"}
