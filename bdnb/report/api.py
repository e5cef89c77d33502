"""The book's API page, made from the source: modules in, one MyST page out.

Every public function and class of ``bdnb`` with its signature and docstring. The source is parsed,
not imported, so that the page costs no second and needs no device.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

Function = ast.FunctionDef | ast.AsyncFunctionDef
PACKAGE = Path(__file__).parents[1]
INTRO = """\
# API

Every public function and class, from its docstring. Modules are in alphabetical order; to read the
code, begin with `bdnb/train.py`.
"""


def api_page(package: Path = PACKAGE) -> str:
    """The whole page, in MyST Markdown. package: folder of the package's source."""
    blocks = [INTRO]
    for path in sorted(package.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.stem != "__init__" and not path.stem.startswith("_"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            blocks.append(_module(".".join(parts), tree))
    return "\n".join(blocks)


def _module(name: str, tree: ast.Module) -> str:
    described = "".join(_describe(node, name, 3) for node in _public(tree.body))
    return f"## {name}\n\n:::{{py:module}} {name}\n:::\n\n{_doc(tree)}\n{described}"


def _public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node


def _describe(node: Function | ast.ClassDef, module: str, colons: int) -> str:
    """A directive of Sphinx's Python domain. colons: length of its fence."""
    if isinstance(node, ast.ClassDef):
        methods = "".join(_method(m, colons) for m in _methods(node))
        body = f"{_doc(node)}\n{methods}"
        return _directive("class", node.name, [f":module: {module}"], body, colons + 1)
    return _directive("function", _signature(node), [f":module: {module}"], _doc(node), colons)


def _methods(node: ast.ClassDef) -> list[Function]:
    found = [m for m in _public(node.body) if not isinstance(m, ast.ClassDef)]
    return [m for m in found if ast.get_docstring(m)]


def _method(node: Function, colons: int) -> str:
    flags = {ast.unparse(d) for d in node.decorator_list} & {"staticmethod", "classmethod"}
    if any(ast.unparse(d).endswith("property") for d in node.decorator_list):
        return _directive("property", node.name, [], _doc(node), colons)
    signature = re.sub(r"\((self|cls)(, )?", "(", _signature(node))
    return _directive("method", signature, [f":{f}:" for f in flags], _doc(node), colons)


def _directive(kind: str, signature: str, options: list[str], body: str, colons: int) -> str:
    fence = ":" * colons
    lines = [f"{fence}{{py:{kind}}} {signature}", *options, "", body, fence, "", ""]
    return "\n".join(lines)


def _signature(node: Function) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{node.name}({ast.unparse(node.args)}){returns}"


def _doc(node: ast.Module | Function | ast.ClassDef) -> str:
    """The docstring, outside its ``code`` with the characters escaped that Markdown would read."""
    pieces = re.split(r"(`+[^`]+`+)", ast.get_docstring(node) or "")
    escaped = [p if i % 2 else re.sub(r"([<*$|])", r"\\\1", p) for i, p in enumerate(pieces)]
    return "".join(escaped) + "\n"
