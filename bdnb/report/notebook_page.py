"""One page of the book from executed notebooks: that of the shipped rows and the reader's own.

In: the same notebook executed once or twice. Out: MyST. Prose stands once; an output that differs
stands in two tabs, which the reader switches together. Code and how to reproduce the page are
folded at its foot.
"""

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bdnb.report import interactive_page
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic
from bdnb.runtime.project import root

SHOWN, FOLDED = "show-code", ("hide-cell", "hide-output")
"""Tags of cells: whose code stands in the text; whose output is folded."""
IMAGES = {"image/svg+xml": "svg", "image/png": "png"}

Notebook = dict[str, Any]


def read(path: Path) -> Notebook:
    """Return a notebook's JSON."""
    content: Notebook = json.loads(path.read_text(encoding="utf-8"))
    return content


def text(lines: str | list[str]) -> str:
    """Return a cell's or an output's text, which notebooks keep as lines or whole."""
    return lines if isinstance(lines, str) else "".join(lines)


def page(name: str, tabs: Mapping[str, Path], book: Path) -> str:
    """Return a page as MyST, and write its images to ``book/images``.

    tabs: title -> executed notebook, the first the one whose prose is shown. name: of the page.
    """
    notebooks = {title: read(path) for title, path in tabs.items()}
    by_id = {
        title: {cell.get("id"): cell for cell in made["cells"]} for title, made in notebooks.items()
    }
    parts: list[str] = []
    code: list[str] = []
    waiting: list[dict[str, str]] = []  # outputs that follow one another share their tabs
    first = next(iter(notebooks.values()))
    for cell in first["cells"]:
        tags = set(cell["metadata"].get("tags", []))
        if {"parameters", "injected-parameters"} & tags:
            continue
        source = text(cell["source"]).strip()
        if cell["cell_type"] != "code":
            parts += [_tabs(waiting), source]
            waiting = []
            continue
        if SHOWN in tags:
            parts += [_tabs(waiting), f"```python\n{source}\n```"]
            waiting = []
        else:
            code.append(source)
        shown = {}
        for number, (title, cells) in enumerate(by_id.items()):
            own = cells.get(cell.get("id")) or cell
            shown[title] = outputs(own, name, book, label=not number)
        if set(FOLDED) & tags:
            parts += [_tabs(waiting), _folded(cell, _tabs([shown]))]
            waiting = []
        elif any(one.strip() for one in shown.values()):
            waiting.append(shown)
    parts += [_tabs(waiting), _foot(name, notebooks, "\n\n".join(filter(None, code)))]
    return "\n\n".join(part for part in parts if part.strip()) + "\n"


def _tabs(shown: Sequence[Mapping[str, str]]) -> str:
    """Outputs in a tab each; as they are where they are all the same. shown: title -> output."""
    if not shown:
        return ""
    whole = {title: "\n\n".join(one[title] for one in shown).strip() for title in shown[0]}
    if len({re.sub(r"T_[0-9a-f]{5}", "", one) for one in whole.values()}) < 2:
        return next(iter(whole.values()))
    items = [
        f":::::{{tab-item}} {title}\n:sync: rows-{i}\n\n{one}\n:::::"
        for i, (title, one) in enumerate(whole.items())
        if one
    ]
    return "\n".join(["::::::{tab-set}", *items, "::::::"])


def _folded(cell: Notebook, shown: str) -> str:
    if not shown:
        return ""
    words = cell["metadata"].get("mystnb", {}).get("code_prompt_show", "Details")
    return f":::::::{{dropdown}} {words}\n\n{shown}\n:::::::"


def outputs(cell: Notebook, name: str, book: Path, *, label: bool = True) -> str:
    """Return the outputs of a cell as MyST, and write its images to ``book/images``.

    name: of the page. label: whether its figure can be referred to. Errors: ConfigError for a cell
    that failed.
    """
    if "remove-output" in cell["metadata"].get("tags", []):
        return ""
    parts = []
    for output in cell.get("outputs", []):
        if output["output_type"] == "error":
            raise ConfigError(f"page {name}: its notebook ends with {output['ename']}")
        data = output.get("data", {})
        kind = next((kind for kind in IMAGES if kind in data), None)
        if spec := data.get(interactive_page.MIME):
            parts.append(_html(interactive_page.html(spec)))
        elif kind:
            file = image(kind, text(data[kind]))
            # Named by what it holds: several pages show the same figure.
            path = f"images/{hashlib.sha256(file).hexdigest()[:16]}.{IMAGES[kind]}"
            write_atomic(book / path, file)
            parts.append(_figure(path, cell["metadata"].get("mystnb", {}), label=label))
        elif "text/markdown" in data or "text/latex" in data:
            parts.append(text(data.get("text/markdown") or data["text/latex"]))
        elif "text/html" in data:
            parts.append(_html(f'<div class="cell_output">{text(data["text/html"])}</div>'))
        elif said := text(data.get("text/plain", "")).replace("None", ""):
            parts.append(f"```text\n{said}\n```")
    return "\n\n".join(parts)


def image(kind: str, content: str) -> bytes:
    """Return the file of an output's image; of an SVG a tenth smaller, with numbers to 1/100 pt.

    kind: MIME type. content: text of an SVG, base64 of another.
    """
    if not kind.startswith("image/svg"):
        return base64.b64decode(content)
    # Not after a bracket: the scales of letters need all their digits.
    numbers = r"(?<![\d.(-])-?\d+\.\d{3,}"
    content = re.sub(numbers, lambda number: f"{float(number[0]):.2f}", content)
    return re.sub(r"\s*\n\s*", "\n", content).encode()


def _html(code: str) -> str:
    return f"````{{raw}} html\n{code}\n````"


def _figure(path: str, about: Mapping[str, Any], *, label: bool) -> str:
    """A figure with its caption, alternative text and, if it has one and may, its label."""
    figure, image = about.get("figure", {}), {"width": "100%", **about.get("image", {})}
    options = [f":{key}: {value}" for key, value in image.items()]
    if "name" in figure and label:
        options.append(f":name: {figure['name']}")
    return "\n".join([f"````{{figure}} {path}", *options, "", figure.get("caption", ""), "````"])


def command(name: str, notebook: Notebook) -> str:
    """Return what makes an executed notebook again in a shell."""
    given = notebook["metadata"].get("papermill", {}).get("parameters", {})
    how = [f"-p {key} {given[key]}" for key in ("scale", "rows") if key in given]
    if "scale" in given and "experiment" in given:
        how = [f"-f params/{given['scale']}/{given['experiment']}.yaml"]
    return " ".join([f"papermill notebooks/{name}.ipynb OUT.ipynb", *how])


def _foot(name: str, notebooks: Mapping[str, Notebook], code: str) -> str:
    """How to reproduce the page and its code, folded."""
    lines = [f"# {title}\n{command(name, made)}" for title, made in notebooks.items()]
    there = (root() / "notebooks" / f"{name}.ipynb").is_file()
    download = f"{{download}}`The notebook <notebooks/{name}.ipynb>`" if there else "The notebook"
    return (
        f":::::::{{dropdown}} Reproduce this page\n\n```bash\n{chr(10).join(lines)}\n```\n\n"
        f"{download}, whose code is:\n\n```python\n{code}\n```\n:::::::"
    )
