"""The book: this repository's pages and a scale's executed notebooks in, HTML pages out.

``python -m bdnb.report.book --notebooks build/quick/notebooks --out build/quick`` assembles the
sources in ``OUT/book`` and builds ``OUT/html``, which opens from disk, without a network.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from bdnb.report import code_pages, interactive_page
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, begin, check_ours, discard, write_atomic
from bdnb.runtime.npm import fetch
from bdnb.runtime.project import root

VENDOR = (
    ("mathjax", "es5/tex-chtml.js", "_vendor/vendor/mathjax/tex-chtml.js"),
    ("mathjax", "es5/input/tex/extensions", "_vendor/vendor/mathjax/input/tex/extensions"),
    ("mathjax", "es5/output/chtml", "_vendor/vendor/mathjax/output/chtml"),
)
"""What the pages load: npm package, path in it, place in the assembled book."""

SOURCES, PAGES = "assembled book", "built book"
"""What the marks of OUT/book and OUT/html say."""

REMEDY = "move it, or give another --out (`make clean` removes what `make book` has built)"

FRONT = "front-page"
"""Tag of the notebook cells whose SVG figure and whose text stand on the front page."""

FOLDED = {
    "parameters": "The notebook's parameters and their defaults",
    "injected-parameters": "The parameters of this page",
}
"""Tag of cells that a page folds, and what stands there instead."""

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def assemble(executed: Path, out: Path) -> Path:
    """Put the book's sources together in ``out/book``, and return that folder.

    executed: folder of executed notebooks, one a chapter of ``book/_toc.yml``, those of shipped
    rows in ``results/<scale>/``; a chapter whose notebook is not there is left out. Errors:
    ConfigError when there are no executed notebooks, or none with a cell tagged ``front-page``
    that drew an SVG.
    """
    # Those from shipped rows first: they are the book's answer, and the front page shows theirs.
    chapters = [*sorted(executed.glob("results/*/*.ipynb")), *sorted(executed.glob("*.ipynb"))]
    if not chapters:
        raise ConfigError(f"{executed}: no executed notebooks (*.ipynb); `make book` makes them")
    book = out / "book"
    begin(book, SOURCES, remedy=REMEDY)
    shutil.copytree(root() / "book", book, dirs_exist_ok=True)
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    listed = {c["file"]: c.get("title", "") for part in toc["parts"] for c in part["chapters"]}
    names: set[str] = set()
    for notebook in chapters:
        place = notebook.relative_to(executed)
        file = place.with_suffix("").as_posix()
        if file in listed:
            write_atomic(book / place, page(notebook, file, listed[file], names))
        else:
            print(f"not in the book: {place}, which has no chapter in book/_toc.yml")
    write_atomic(book / "front.svg", front_figure(chapters))
    write_atomic(book / "front.md", front_text(chapters, executed))
    toc = with_code(prune(toc, book), book)
    write_atomic(book / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))
    vendor(book)
    return book


def page(notebook: Path, file: str, title: str, names: set[str]) -> str:
    """Return an executed notebook as a page: its own title if one is given, labels of its own.

    file: its name in the table of contents. names: labels of figures and equations on earlier
    pages, which grow by this page's. A label that is taken, as when one notebook was run twice,
    gets the page's name behind it. Parameters are folded: what the page says comes first.
    """
    text = notebook.read_text(encoding="utf-8")
    cells = json.loads(text)["cells"]
    figures = [c["metadata"].get("mystnb", {}).get("figure", {}) for c in cells]
    labels = {figure["name"] for figure in figures if "name" in figure}
    labels |= set(re.findall(r"\$\$ \((eq-[\w-]+)\)", text))
    for label in labels & names:
        own = f"{label}-{file.replace('/', '-')}"
        text = text.replace(f'"{label}"', f'"{own}"').replace(f"`{label}`", f"`{own}`")
        text = text.replace(f"$$ ({label})", f"$$ ({own})")
    names |= labels
    content = json.loads(text)
    for cell in content["cells"]:
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if spec := data.pop(interactive_page.MIME, None):
                data["text/html"] = interactive_page.html(spec)
        tags = cell["metadata"].get("tags", [])
        for name in set(tags) & set(FOLDED):
            tags.append("hide-input")
            cell["metadata"]["mystnb"] = {"code_prompt_show": FOLDED[name]}
    if title:
        first = content["cells"][0]
        first["source"] = re.sub(r"\A# .*", f"# {title}", "".join(first["source"]))
    return json.dumps(content)


def _is_page(path: Path) -> bool:
    """Return whether there is a page of that name; rows beside it are none."""
    return any(path.with_name(path.name + end).is_file() for end in (".md", ".ipynb"))


def prune(toc: dict, book: Path) -> dict:
    """Return the table of contents without chapters that have no page in the book's folder."""
    parts = []
    for part in toc["parts"]:
        there = [c for c in part["chapters"] if _is_page(book / c["file"])]
        if there:
            parts.append(part | {"chapters": there})
    return toc | {"parts": parts}


def with_code(toc: dict, book: Path) -> dict:
    """Write the pages about the code and return the table of contents with them below ``code``."""
    write_atomic(book / "layers.md", f"```{{raw}} html\n{code_pages.diagram()}```\n")
    pages = code_pages.api_pages()
    for name, text in pages.items():
        write_atomic(book / "api" / f"{name}.md", text)
    for chapter in (chapter for part in toc["parts"] for chapter in part["chapters"]):
        if chapter["file"] == "code":
            chapter["sections"] = [{"file": f"api/{name}"} for name in pages]
    return toc


def front_figure(notebooks: list[Path]) -> str:
    """Return the SVG of the first cell tagged ``front-page``. Errors: ConfigError without one."""
    for _, svg in _front(notebooks, "image/svg+xml"):
        return svg
    raise ConfigError(
        f"{notebooks[0].parent}: no notebook has a cell tagged {FRONT!r} that drew an SVG, "
        "which the book's front page shows"
    )


def front_text(notebooks: list[Path], executed: Path) -> str:
    """Return the Markdown of the first cell tagged ``front-page`` that has some, with its source.

    Empty without one.
    """
    for notebook, text in _front(notebooks, "text/markdown"):
        place = notebook.relative_to(executed).as_posix()
        rest = "says, conclusion by conclusion, what of the paper holds here and what does not."
        return f"{text}\n\n[]({place}) {rest}\n"
    return "\n"


def _front(notebooks: list[Path], kind: str) -> Iterator[tuple[Path, str]]:
    """Yield each notebook with what its cells tagged ``front-page`` show of a MIME type."""
    for notebook in notebooks:
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            if FRONT in cell["metadata"].get("tags", []):
                for output in cell.get("outputs", []):
                    if shown := output.get("data", {}).get(kind, ""):
                        yield notebook, shown if isinstance(shown, str) else "".join(shown)


def vendor(book: Path) -> None:
    """Copy what the pages load into the book's folder, fetching it on the first call."""
    write_atomic(book / "_vendor" / interactive_page.SCRIPT, interactive_page.script())
    for package, pattern, place in VENDOR:
        target = book / place
        for found in sorted(fetch(package).glob(pattern)):
            if found.is_dir():
                shutil.copytree(found, target)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found, target)


def build(out: Path) -> Path:
    """Build ``out/book`` into ``out/html``, every warning an error, and return the first page.

    What Sphinx said is kept in ``out/book.log``. Errors: ConfigError with its warnings.
    """
    book, html, log = out / "book", out / "html", out / "book.log"
    check_ours(html, PAGES, remedy=REMEDY)
    command = [sys.executable, "-c", JUPYTER_BOOK, "build", str(book)]
    options = ["--all", "-W", "-n", "--keep-going", "-q"]
    done = subprocess.run(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout).splitlines()
    write_atomic(log, "\n".join(lines) + "\n")
    if done.returncode:
        said = [line for line in lines if "WARNING" in line or "ERROR" in line]
        shown = "\n".join(said[:20] or lines[-20:])
        raise ConfigError(f"the book did not build (all that was said: {log}):\n{shown}")
    made = book / "_build" / "html"
    (made / MARK).write_text(f"{PAGES}\n", "utf-8")
    discard(html, PAGES, remedy=REMEDY)
    made.rename(html)
    return html / "index.html"


def main(arguments: list[str] | None = None) -> None:
    """Assemble and build the book, and print where its first page is."""
    parser = argparse.ArgumentParser(prog="python -m bdnb.report.book", description=__doc__)
    parser.add_argument("--notebooks", type=Path, required=True, help="executed notebooks")
    parser.add_argument("--out", type=Path, required=True, help="gets book/ and html/")
    given = parser.parse_args(arguments)
    with command():
        assemble(given.notebooks, given.out)
        page = build(given.out)
    print(f"The book: {page.resolve().as_uri()}")


if __name__ == "__main__":
    main()
