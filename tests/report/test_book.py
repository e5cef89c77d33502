"""The book built from made-up executed notebooks, and read in a browser without a network."""

import base64
import importlib
import inspect
import json
import pkgutil
import re
import shutil
import subprocess
from functools import cache
from html.parser import HTMLParser
from io import BytesIO, StringIO
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

import bdnb
from bdnb.report import book, code_pages, figures, notebook_page
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.npm import PINNED
from bdnb.runtime.project import root

REPOSITORY = Path(__file__).parents[2]
TOC = yaml.safe_load((REPOSITORY / "book" / "_toc.yml").read_text())
CHAPTERS = book.chapters(TOC)
NOTEBOOKS = [name for name in CHAPTERS if not (REPOSITORY / "book" / f"{name}.md").is_file()]

ALT = "Accuracy rises with the epoch"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
in_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium on the PATH")
QUIET = ("[PST]", "[togglebutton]", "strict mode: use allowUnionTypes")
"""What the theme's scripts say on the console when all is well."""


@cache
def figure() -> str:
    """An SVG as a notebook holds it."""
    rows = pd.DataFrame({"epoch": [0, 1], "seed": 0, "accuracy": [1.0, 60.0], "asr": [2.0, 90.0]})
    rows = rows.assign(objective="mmcl")
    file = StringIO()
    figures.training(rows, rows[1:]).savefig(file, format="svg")
    return file.getvalue()


def notebook(name: str, scale: str) -> nbformat.NotebookNode:
    """An executed notebook as papermill leaves it: prose, maths, a figure."""
    new = nbformat.v4
    maths = f"$$\na = b\n$$ (eq-{name})"
    prose = f"# The chapter {name}\n\nSee {{numref}}`fig-{name}` and {{term}}`ASR`.\n\n{maths}"
    about = {"alt": ALT}, {"caption": f"Runs of {scale}.", "name": f"fig-{name}"}
    drawn = new.new_output("display_data", {"image/svg+xml": figure(), "text/plain": "<Figure>"})
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "papermill": {"parameters": {"scale": scale}, "duration": 1.5},
    }
    tags = {"mystnb": dict(zip(("image", "figure"), about, strict=True)), "tags": ["front-price"]}
    words = new.new_output("display_data", {"text/markdown": f"Measured by **{name}**, {scale}."})
    same = new.new_output("display_data", {"text/markdown": "The same everywhere."})
    cells = [
        new.new_markdown_cell(prose),
        new.new_code_cell("scale = 1", execution_count=1, metadata={"tags": ["parameters"]}),
        new.new_code_cell("draw()", execution_count=1, metadata=tags, outputs=[drawn]),
        new.new_code_cell("say()", metadata={"tags": ["front-answer"]}, outputs=[words]),
        new.new_code_cell("fold()", metadata={"tags": ["hide-cell"]}, outputs=[same]),
        new.new_code_cell("teach()", metadata={"tags": ["show-code"]}, outputs=[]),
    ]
    for number, cell in enumerate(cells):
        cell["id"] = f"{name}-{number}".replace("_", "-")
    return new.new_notebook(cells=cells, metadata=metadata)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built pages."""
    out = tmp_path_factory.mktemp("scale")
    executed = out / "notebooks"
    (executed / "shipped").mkdir(parents=True)
    for name in NOTEBOOKS:
        nbformat.write(notebook(name, "quick"), executed / f"{name}.ipynb")
    nbformat.write(notebook("clean", "laptop"), executed / "shipped" / "clean.ipynb")
    book.assemble(executed, out)
    return book.build(out).parent


class Elements(HTMLParser):
    """A page's start tags with their attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {k: v or "" for k, v in attributes}))


def pages(site: Path) -> list[Path]:
    return sorted(site.glob("*.html"))


def test_every_chapter_has_a_page(site: Path) -> None:
    assert {TOC["root"], *CHAPTERS} <= {page.stem for page in pages(site)}


def test_the_book_is_an_argument_of_at_most_24_pages() -> None:
    assert len(CHAPTERS) <= 24


def test_pages_load_files_that_are_there_and_nothing_else(site: Path) -> None:
    for page in pages(site):
        for tag, has in Elements(page).found:
            loads = has.get("src") if tag in ("script", "img", "iframe") else None
            if tag == "link" and has.get("rel") in ("stylesheet", "preload", "icon"):
                loads = has["href"]
            if loads and not loads.startswith("data:"):
                assert (site / loads.partition("?")[0]).is_file(), f"{page.name} loads {loads}"


def test_figures_keep_every_letter_and_lose_what_no_eye_sees() -> None:
    whole = figure()
    kept = notebook_page.image("image/svg+xml", whole).decode()
    assert len(kept) < 0.9 * len(whole)

    def drawn(svg: str) -> list[list[str]]:
        elements = [e for e in ElementTree.fromstring(svg).iter() if not e.tag.endswith("style")]
        return [[e.tag, *e.attrib, e.attrib.get("transform", "")] for e in elements]

    def numbers(svg: str) -> list[float]:
        return [float(n) for n in re.findall(r"-?\d+\.\d+", svg)]

    places = [[row[:-1] for row in drawn(svg)] for svg in (whole, kept)]
    assert places[0] == places[1]
    scales = [re.findall(r"scale\([^)]*\)", svg) for svg in (whole, kept)]
    assert scales[0] == scales[1]
    assert np.abs(np.subtract(numbers(whole), numbers(kept))).max() <= 0.00501


def test_a_figure_of_pixels_is_a_file_of_pixels(tmp_path: Path) -> None:
    pixels = BytesIO()
    Image.new("RGB", (3, 2), "red").save(pixels, "PNG")
    content = base64.b64encode(pixels.getvalue()).decode()
    drawn = nbformat.v4.new_output("display_data", {"image/png": f"{content}\n"})
    cell = nbformat.v4.new_code_cell("draw()", outputs=[drawn, drawn])
    said = notebook_page.outputs(cell, "clean", tmp_path)
    (file,) = (tmp_path / "images").iterdir()  # the same figure twice is one file
    assert said.count(file.name) == 2
    assert Image.open(file).size == (3, 2)


def test_nothing_is_kept_that_no_page_loads(site: Path) -> None:
    assert not [path for pattern in book.UNREAD for path in site.rglob(pattern)]
    fonts = "_static/vendor/mathjax/output/chtml/fonts"
    assert [path.name for path in (site / fonts).iterdir()] == ["woff-v2"]


def test_the_theme_s_icons_are_those_that_pages_name(site: Path) -> None:
    icons = book.ICON.finditer((site / book.ICONS).read_text("utf-8"))
    kept = {icon["quoted"] or icon["name"] for icon in icons}
    pages = "".join(path.read_text("utf-8") for path in site.rglob("*.html"))
    named = set(re.findall(r'class="fa-solid fa-([a-z-]+)', pages))
    assert named
    assert named <= kept  # all that they name is under its first name
    assert len(kept) < 40  # of some 2,000


def test_images_have_alt_text_and_figures_a_number(site: Path) -> None:
    for page in pages(site):
        images = [has for tag, has in Elements(page).found if tag == "img"]
        assert all(has.get("alt", "").strip() for has in images), page.name
    clean = (site / "clean.html").read_text(encoding="utf-8")
    assert ALT in clean
    assert re.search(r'caption-number">Figure \d', clean)


def test_the_front_page_shows_what_the_shipped_rows_say(site: Path) -> None:
    images = [has for tag, has in Elements(site / "index.html").found if tag == "img"]
    shown = notebook_page.image("image/svg+xml", figure())
    assert [(site / has["src"]).read_bytes() for has in images] == [shown]
    page = (site / "index.html").read_text()
    assert "Measured by <strong>clean</strong>, laptop." in page
    assert "Runs of laptop." in page


def test_shipped_rows_and_the_reader_s_own_are_two_tabs_of_one_page(site: Path) -> None:
    page = (site / "clean.html").read_text(encoding="utf-8")
    assert page.count("<h1>The chapter clean<a") == 1
    tabs = re.findall(r'<label[^>]* data-sync-id="([^"]+)"[^>]*>\s*([^<]+)<', page)
    both = [("rows-0", "Our runs (laptop)"), ("rows-1", "Your runs (quick)")]
    assert [(key, words.strip()) for key, words in tabs] == both  # one pair for both outputs
    assert page.count("The same everywhere.") == 1
    assert 'id="fig-clean"' in page
    alone = (site / "data.html").read_text(encoding="utf-8")
    assert "sd-tab-label" not in alone


def test_code_is_folded_at_the_foot_unless_it_teaches(site: Path) -> None:
    before, _, foot = (site / "clean.html").read_text().partition("Reproduce this page")
    assert "teach" in before
    assert "draw" not in before
    assert "draw" in foot
    assert "papermill notebooks/clean.ipynb OUT.ipynb -p scale laptop" in re.sub(
        "<[^>]+>", "", foot
    )
    assert "scale = 1" not in re.sub("<[^>]+>", "", before + foot)


def test_a_link_to_a_page_or_figure_that_is_not_there_becomes_words(tmp_path: Path) -> None:
    links = (
        "{doc}`clean`, {doc}`gone`, {doc}`that <gone>`; {ref}`drawn <fig-clean>`, "
        "{ref}`not drawn <fig-gone>`; [here](clean.md#table), [not here](gone.md#table)\n"
    )
    (tmp_path / "summary.md").write_text(links)
    (tmp_path / "clean.md").write_text("````{figure} a.svg\n:name: fig-clean\n````\n")
    book.unlink_missing(tmp_path)
    assert (tmp_path / "summary.md").read_text() == (
        "{doc}`clean`, gone, that; {ref}`drawn <fig-clean>`, "
        "not drawn; [here](clean.md#table), not here\n"
    )


def test_a_notebook_that_failed_makes_no_page(tmp_path: Path) -> None:
    failed = nbformat.v4.new_output("error", ename="ConfigError", evalue="", traceback=[])
    cell = nbformat.v4.new_code_cell("1", outputs=[failed])
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "clean.ipynb")
    with pytest.raises(ConfigError, match=r"clean.*ConfigError"):
        notebook_page.page("clean", {"": tmp_path / "clean.ipynb"}, tmp_path)


def public(name: str) -> list[str]:
    """The public functions and classes that a module defines, with its name before them."""
    module, kinds = importlib.import_module(name), (type, type(public))
    own = [(n, inspect.unwrap(o)) for n, o in vars(module).items() if not n.startswith("_")]
    own = [(n, o) for n, o in own if isinstance(o, kinds) and o.__name__ == n]
    return [f"{name}.{n}" for n, o in own if o.__module__ == name]


def test_every_public_function_and_class_is_on_the_page_of_its_package(site: Path) -> None:
    missing, count = [], 0
    for one in pkgutil.walk_packages(bdnb.__path__, "bdnb."):
        folder = one.name.removeprefix("bdnb.").rpartition(".")[0]
        if not one.ispkg and not one.name.rpartition(".")[2].startswith("_"):
            page = (site / "api" / f"{folder or 'main'}.html").read_text(encoding="utf-8")
            missing += [name for name in public(one.name) if f'id="{name}"' not in page]
            count += len(public(one.name))
    assert missing == []
    assert count > 300


def test_pages_of_the_code_hold_no_internals(site: Path) -> None:
    for page in (site / "api").glob("*.html"):
        ids = re.findall(r'<dt class="sig[^>]*id="([^"]+)"', page.read_text(encoding="utf-8"))
        assert [name for name in ids if name.rpartition(".")[2].startswith("_")] == []


def test_the_layers_lead_to_their_pages(site: Path) -> None:
    boxes = [
        has for tag, has in Elements(site / "code.html").found if has.get("class") == "package"
    ]
    assert len(boxes) == sum(map(len, code_pages.layers()))
    assert all((site / has["href"]).is_file() for has in boxes)


class Seen(NamedTuple):
    """A page as the browser left it."""

    dom: str
    console: list[str]
    requests: set[str]


def visit(address: str, folder: Path) -> Seen:
    """Open a page in headless Chromium with every name refused. folder: for its profile."""
    log = folder / "net.json"
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-sync --dump-dom"
    flags += " --disable-background-networking --disable-component-update --enable-logging=stderr"
    places = [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}"]
    limits = ["--virtual-time-budget=20000", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        [str(BROWSER), *flags.split(), *places, *limits, address],
        capture_output=True, text=True, timeout=500, check=True,
    )  # fmt: skip
    console = re.findall(r'CONSOLE.*?\] "(.*)", source', done.stderr)
    events = [e.get("params", {}) for e in json.loads(log.read_text())["events"]]
    # The browser asks its maker on its own account: "not an origin". A page on disk is "null".
    requests = {e["url"] for e in events if "url" in e and e.get("initiator") == "null"}
    return Seen(done.stdout, console, requests)


@in_browser
@pytest.mark.browser
def test_a_request_to_the_network_would_be_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text('<img src="http://example.org/a.png"><script>nothing()</script>')
    seen = visit(page.as_uri(), tmp_path)
    assert seen.requests == {"http://example.org/a.png"}
    assert "nothing is not defined" in "".join(seen.console)


@in_browser
@pytest.mark.browser
@pytest.mark.parametrize("name", ["index", "how_to_read", "clean", "code", "api/main", "search"])
def test_a_page_opens_from_disk_without_network_or_errors(
    site: Path, tmp_path: Path, name: str
) -> None:
    seen = visit((site / f"{name}.html").as_uri(), tmp_path)
    assert not seen.requests
    assert [line for line in seen.console if not line.startswith(QUIET)] == []


@in_browser
@pytest.mark.browser
def test_maths_is_drawn(site: Path, tmp_path: Path) -> None:
    dom = visit((site / "clean.html").as_uri(), tmp_path).dom
    assert "<mjx-container" in dom


@in_browser
@pytest.mark.browser
def test_search_finds_pages(site: Path, tmp_path: Path) -> None:
    dom = visit((site / "search.html").as_uri() + "?q=backdoor", tmp_path).dom
    assert 'href="threat_model.html' in dom.partition('id="search-results"')[2]


def test_a_chapter_that_was_not_run_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "data.md").touch()
    chapters = [{"file": "data", "rows": "laptop"}, {"file": "nonideal"}]
    toc = {"root": "index", "parts": [{"caption": "a", "chapters": chapters}]}
    toc["parts"].append({"caption": "b", "chapters": [{"file": "stopping"}]})
    assert book.prune(toc, tmp_path)["parts"] == [{"caption": "a", "chapters": [{"file": "data"}]}]


def test_missing_notebooks_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no executed notebooks.*make book"):
        book.assemble(tmp_path, tmp_path)


def test_a_notebook_without_a_front_figure_is_named(tmp_path: Path) -> None:
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")])
    nbformat.write(plain, tmp_path / "clean.ipynb")
    with pytest.raises(ConfigError, match="front-price"):
        book.front([tmp_path / "clean.ipynb"], tmp_path)


def test_a_warning_ends_the_build_and_is_shown(tmp_path: Path) -> None:
    source = tmp_path / "book"
    source.mkdir()
    (source / "_config.yml").write_text("title: a\n")
    (source / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (source / "index.md").write_text("# A\n\n{ref}`nowhere`\n")
    with pytest.raises(ConfigError, match="nowhere"):
        book.build(tmp_path)
    assert not (tmp_path / "html").exists()


def test_licences_name_each_package_of_art_at_its_pinned_version() -> None:
    page = (root() / "book" / "glossary.md").read_text(encoding="utf-8")
    art = {name: pin[0] for name, pin in PINNED.items() if name.startswith("@iconify-json")}
    assert all(f"`{name}` {version}" in page for name, version in art.items())
