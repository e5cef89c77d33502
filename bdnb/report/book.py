"""The book: this repository's pages and executed notebooks in, HTML pages out.

``python -m bdnb.report.book --notebooks build/quick/notebooks --out build/quick`` assembles the
sources in ``OUT/book`` and builds ``OUT/html``, which opens from disk, without a network.
"""

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from bdnb.report import code_pages, interactive_page, notebook_page, scales
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import MARK, begin, check_ours, discard, write_atomic
from bdnb.runtime.npm import fetch
from bdnb.runtime.project import root

MATHJAX = ("input/tex/extensions", "output/chtml/fonts/woff-v2")
"""Folders of MathJax that the pages load from, besides its script."""

UNREAD = (
    "*.map",
    "_static/locales",
    "_static/vendor/fontawesome/webfonts/*.ttf",
    "_static/vendor/fontawesome/webfonts/fa-[!s]*",
    "_static/vendor/mathjax/input/tex/extensions/all-packages.js",
)
"""What the theme and MathJax bring and no page loads: source maps, translations, fonts of which
there is a smaller format beside them, icons other than the solid ones."""

ICONS = "_static/scripts/fontawesome.js"
ICON = re.compile(
    r'(?:"(?P<quoted>[a-z0-9-]+)"|(?P<name>[a-z0-9]+))'
    r':\[\d+,\d+,\[(?P<aliases>[^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?'
)
"""An icon in that script: its name, size, other names and outline."""

SOURCES, PAGES = "assembled book", "built book"
"""What the marks of OUT/book and OUT/html say."""

REMEDY = "move it, or give another --out (`make clean` removes what `make book` has built)"

FRONT = ("front-price", "front-answer", "front-rate", "front-why", "front-attack")
"""Tags of the notebook cells that the front page includes as files of these names; the first must
be there."""

JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


def chapters(toc: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the chapters of a table of contents: file -> its entry.

    ``rows``: scales whose shipped rows the page is also drawn from, joined by ``+``.
    ``own: false``: it is drawn from those alone.
    """
    return {chapter["file"]: chapter for part in toc["parts"] for chapter in part["chapters"]}


def assemble(executed: Path, out: Path) -> Path:
    """Put the book's sources together in ``out/book``, and return that folder.

    executed: folder of executed notebooks named like chapters of ``book/_toc.yml``; those of
    shipped rows in ``shipped/``. A chapter without a page or notebook is left out. Errors:
    ConfigError when there are no executed notebooks, or none that has the front page's figure.
    """
    found = [*sorted(executed.glob("shipped/*.ipynb")), *sorted(executed.glob("*.ipynb"))]
    if not found:
        raise ConfigError(f"{executed}: no executed notebooks (*.ipynb); `make book` makes them")
    book = out / "book"
    begin(book, SOURCES, remedy=REMEDY)
    shutil.copytree(root() / "book", book, dirs_exist_ok=True)
    toc = yaml.safe_load((book / "_toc.yml").read_text(encoding="utf-8"))
    for name in chapters(toc):
        tabs = {title(path): path for path in found if path.stem == name}
        if tabs:
            write_atomic(book / f"{name}.md", notebook_page.page(name, tabs, book))
            source = root() / "notebooks" / f"{name}.ipynb"
            if source.is_file():
                write_atomic(book / "notebooks" / source.name, source.read_bytes())
    front(found, book)
    write_atomic(book / "scales.md", scales.table())
    toc = with_code(prune(toc, book), book)
    unlink_missing(book)
    write_atomic(book / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))
    vendor(book)
    return book


def title(notebook: Path) -> str:
    """Return the title of a notebook's tab: whose runs it shows, and of which scale."""
    given = notebook_page.read(notebook)["metadata"].get("papermill", {}).get("parameters", {})
    whose = "Our runs" if notebook.parent.name == "shipped" else "Your runs"
    return f"{whose} ({given['scale'].replace('+', ', ')})" if "scale" in given else whose


def prune(toc: dict[str, Any], book: Path) -> dict[str, Any]:
    """Return the table of contents with only those chapters that have a page in the folder."""
    parts = []
    for part in toc["parts"]:
        there = [c["file"] for c in part["chapters"] if (book / f"{c['file']}.md").is_file()]
        if there:
            parts.append(part | {"chapters": [{"file": file} for file in there]})
    return toc | {"parts": parts}


def unlink_missing(book: Path) -> None:
    """Turn links to pages and figures that this book does not have into plain words."""
    texts = {path: path.read_text(encoding="utf-8") for path in book.glob("*.md")}
    there = {path.stem for path in texts}
    for text in texts.values():
        there.update(re.findall(r"^:name: (\S+)", text, re.MULTILINE))

    def plain(link: re.Match[str]) -> str:
        return link[0] if link["to"] in there else (link["words"] or link["to"]).strip()

    for path, text in texts.items():
        text = re.sub(r"\{(doc|ref)\}`(?:(?P<words>[^`<]+)<)?(?P<to>[\w-]+)>?`", plain, text)
        write_atomic(path, re.sub(r"\[(?P<words>[^]]+)\]\((?P<to>\w+)\.md#[\w-]+\)", plain, text))


def front(notebooks: list[Path], book: Path) -> None:
    """Write what the front page includes: the first notebook's cell with each tag of ``FRONT``.

    Errors: ConfigError when none has the first.
    """
    for tag in FRONT:
        cells = (cell for path in notebooks for cell in notebook_page.read(path)["cells"])
        tagged = (cell for cell in cells if tag in cell["metadata"].get("tags", []))
        shown = (notebook_page.outputs(cell, tag, book, label=False) for cell in tagged)
        found = next(filter(None, shown), "")
        if tag == FRONT[0] and not found:
            raise ConfigError(
                f"{notebooks[0].parent}: no notebook has a cell tagged {tag!r} that drew "
                "something, which the book's front page shows"
            )
        write_atomic(book / f"{tag}.md", f"{found}\n")


def with_code(toc: dict[str, Any], book: Path) -> dict[str, Any]:
    """Write the pages about the code and return the table of contents with them below ``code``."""
    write_atomic(book / "layers.md", f"```{{raw}} html\n{code_pages.diagram()}```\n")
    pages = code_pages.api_pages()
    for name, text in pages.items():
        write_atomic(book / "api" / f"{name}.md", text)
    for chapter in (chapter for part in toc["parts"] for chapter in part["chapters"]):
        if chapter["file"] == "code":
            chapter["sections"] = [{"file": f"api/{name}"} for name in pages]
    return toc


def vendor(book: Path) -> None:
    """Copy what the pages load into the book's folder, fetching it on the first call."""
    # Its names are kept to itself: Sphinx's scripts have some of them, too.
    script = f"(() => {{{interactive_page.script()}}})();"
    write_atomic(book / "_vendor" / interactive_page.SCRIPT, script)
    source, target = fetch("mathjax") / "es5", book / "_vendor" / "vendor" / "mathjax"
    for folder in MATHJAX:
        shutil.copytree(source / folder, target / folder)
    shutil.copyfile(source / "tex-chtml.js", target / "tex-chtml.js")


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
    for path in {path for pattern in UNREAD for path in made.rglob(pattern)}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    trim_icons(made)
    (made / MARK).write_text(f"{PAGES}\n", "utf-8")
    discard(html, PAGES, remedy=REMEDY)
    made.rename(html)
    return html / "index.html"


def trim_icons(html: Path) -> None:
    """Take the icons that no page, script or style names out of the theme's two thousand."""
    script = html / ICONS
    if not script.is_file():
        return
    readers = [*html.rglob("*.html"), *html.rglob("*.js"), *html.rglob("*.css")]
    texts = (path.read_text("utf-8") for path in readers if path != script)
    used = {name for text in texts for name in re.findall(r"\bfa-([a-z0-9-]+)(?![\w:,{-])", text)}

    def kept(icon: re.Match[str]) -> str:
        names = {icon["quoted"] or icon["name"], *re.findall(r'"([^"]+)"', icon["aliases"])}
        return icon[0] if names & used else ""

    write_atomic(script, ICON.sub(kept, script.read_text("utf-8")))


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
