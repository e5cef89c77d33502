"""The book's pages about the code: the source in, a diagram of its layers and the API pages out.

Layers come from the contract that import-linter checks, what a package is from its docstring. What
an API page lists is written by Sphinx's autodoc.
"""

import ast
import tomllib
from html import escape
from pathlib import Path

import bdnb

SOURCE = Path(bdnb.__file__).resolve().parent
MAIN = ("train", "clean", "backdoored", "sweep", "losses", "plan")
"""Modules at the top of the package, which share the first API page."""


def layers(pyproject: Path = SOURCE.parent / "pyproject.toml") -> list[list[str]]:
    """Return the names in each layer, the highest first, as the import contract lists them."""
    contracts = tomllib.loads(pyproject.read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (lines,) = (one["layers"] for one in contracts if one["type"] == "layers")
    return [line.replace("|", ":").split(" : ") for line in lines]


def about(name: str) -> str:
    """Return the first paragraph of a module's or a package's docstring. name: below ``bdnb``."""
    path = SOURCE.joinpath(*name.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    said = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(said.partition("\n\n")[0].split())


def diagram() -> str:
    """Return the layers as HTML: a row a layer, a box a package, each linked to its API page."""
    rows = []
    for layer in layers():
        boxes = "".join(_box(name) for name in layer)
        rows.append(f'<div class="layer">{boxes}</div>\n')
    return f'<div class="layers">\n{"".join(rows)}</div>\n'


def _box(name: str) -> str:
    page = "main" if name in MAIN else name
    said = escape(about(name)).replace("``", "")
    return f'<a class="package" href="api/{page}.html"><b>{name}</b> {said}</a>'


def packages() -> list[str]:
    """Return the packages below the main path, from high to low, then those above it."""
    names = [name for layer in layers() for name in layer]
    split = names.index(MAIN[0])
    found = [name for name in names[split:] + names[:split] if (SOURCE / name).is_dir()]
    inner = {name: sorted((SOURCE / name).glob("*/__init__.py")) for name in found}
    return [
        one for name in found for one in (name, *(f"{name}.{p.parent.name}" for p in inner[name]))
    ]


def api_pages() -> dict[str, str]:
    """Return the API pages, the main path first: name of the page -> its text in MyST."""
    pages = {"main": _page("The main path", list(MAIN), "Read `bdnb/train.py` first.")}
    for package in packages():
        files = sorted(SOURCE.joinpath(*package.split(".")).glob("[!_]*.py"))
        modules = [f"{package}.{path.stem}" for path in files]
        pages[package] = _page(f"bdnb.{package}", modules, about(package))
    return pages


def _page(title: str, modules: list[str], intro: str) -> str:
    """Return one page: a section a module, whose public functions and classes autodoc writes."""
    parts = [
        f"## {name}\n\n```{{eval-rst}}\n.. automodule:: bdnb.{name}\n   :members:\n```\n"
        for name in modules
    ]
    return "\n".join([f"# {title}\n\n{intro}\n", *parts])
