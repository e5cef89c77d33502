"""README's answer and figure, as the front page has them.

``python -m tests.report.readme`` writes both. Run it when the shipped rows of the
headline have changed; a test compares both.
"""

import io
import os
import re
import tempfile
from functools import cache
from pathlib import Path
from unittest.mock import patch

import pandas as pd
import yaml
from matplotlib.figure import Figure

from bdnb.analysis.crossing import crossings
from bdnb.report import answers, arena, arena_runs, effect, figures, price, rates
from bdnb.report.book import chapters
from bdnb.runs import experiments, results, shipped
from bdnb.runtime.project import root

BEGIN, END = "<!-- written by python -m tests.report.readme -->", "<!-- end -->"
FIGURE = Path("book", "_assets", "readme.svg")


def front_scale() -> str:
    """Return the scale whose shipped rows the front page is drawn from."""
    toc = yaml.safe_load((root() / "book" / "_toc.yml").read_text(encoding="utf-8"))
    return next(s for s in chapters(toc)["clean"]["rows"].split("+") if "clean" in shipped.whole(s))


def front_rows(runs: Path) -> pd.DataFrame:
    """Return the rows that the front page is drawn from, unpacked in a folder of runs."""
    scale = front_scale()
    shipped.unpack(scale, runs)
    return results.rows(experiments.of_file(scale, "clean"))


@cache
def arena_answer() -> str:
    """Return what the arena's shipped rows say in a sentence, unpacked in a folder of their own."""
    with tempfile.TemporaryDirectory() as runs, patch.dict(os.environ, BDNB_RUNS=runs):
        shipped.unpack("arena", Path(runs))
        rows, _ = arena_runs.rows("arena", [])
        said = arena.answer(arena.entries(rows)).data
    first, *points = said.splitlines()
    sure = next(one.removeprefix("- ") for one in points if one.startswith("- *How sure*"))
    return f"{first} {sure} (The book's page *The arena*.)"


def answered(text: str, rows: pd.DataFrame) -> str:
    """Return README's text with the answer that the rows give, and what is decided of the reason.

    rows: of ``front_rows``, whose folder of runs the project's is, for the reason.
    """
    _, clean = results.rows_of_scale(front_scale())
    reason = effect.reason(clean, crossings(clean)).data
    rate = rates.answer(rates.ends(rows)).data
    answer = "\n\n".join([answers.cleaned(rows).data, rate, reason, arena_answer()])
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: f"{BEGIN}\n{answer}\n{END}", text, count=1, flags=re.DOTALL)


def drawn(rows: pd.DataFrame) -> str:
    """Return the figure that the rows give, as SVG."""
    figures.style()
    figure = price.curves(rows)
    assert isinstance(figure, Figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def main() -> None:
    """Write the answer into README.md and draw its figure."""
    readme = root() / "README.md"
    with tempfile.TemporaryDirectory() as runs:
        os.environ["BDNB_RUNS"] = runs
        rows = front_rows(Path(runs))
        text = answered(readme.read_text(encoding="utf-8"), rows)
    readme.write_text(text, encoding="utf-8")
    (root() / FIGURE).write_text(drawn(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
