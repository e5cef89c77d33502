"""The API page against what the package has when it is imported."""

import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import bdnb
from bdnb.report.api import api_page


def modules() -> list[ModuleType]:
    """Every public module of the package."""
    found = pkgutil.walk_packages(bdnb.__path__, "bdnb.")
    names = [one.name for one in found if not one.ispkg]
    public = [name for name in names if not name.rpartition(".")[2].startswith("_")]
    return [importlib.import_module(name) for name in public]


def public(module: ModuleType) -> list[str]:
    """Its public functions and classes: those defined in it, not those that it imports."""
    kinds = (type, type(public))
    own = [(n, o) for n, o in vars(module).items() if isinstance(inspect.unwrap(o), kinds)]
    named = [(n, o) for n, o in own if getattr(o, "__name__", "") == n and not n.startswith("_")]
    return [n for n, o in named if o.__module__ == module.__name__]


def test_every_public_function_and_class_is_on_the_page_under_its_module():
    page = api_page()
    sections = dict(re.findall(r"^## (bdnb\S*)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    missing, count = [], 0
    for module in modules():
        section = sections.get(module.__name__, "")
        described = set(re.findall(r"\{py:(?:function|class)\} (\w+)", section))
        names = public(module)
        count += len(names)
        missing += [f"{module.__name__}.{name}" for name in names if name not in described]
    assert missing == []
    assert count > 300


def test_every_one_of_them_says_what_it_is():
    silent = [
        f"{module.__name__}.{name}"
        for module in modules()
        for name in public(module)
        if not (inspect.getdoc(getattr(module, name)) or "").strip()
    ]
    assert silent == []
