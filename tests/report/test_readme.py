import re
from pathlib import Path

import numpy as np
import pytest

from tests.report import readme

REPOSITORY = Path(__file__).parents[2]


def curves(svg):
    """All points of a figure's paths, in their order."""
    paths = re.findall(r' d="([^"]*)"', svg)
    return np.array([float(one) for path in paths for one in re.findall(r"-?[\d.]+", path)])


@pytest.fixture
def rows(tmp_path, monkeypatch):
    """Those that the front page is drawn from."""
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    return readme.front_rows(tmp_path)


def test_the_readme_s_figure_is_drawn_from_the_front_page_s_rows(rows):
    committed = curves((REPOSITORY / readme.FIGURE).read_text(encoding="utf-8"))
    made = curves(readme.drawn(rows))
    assert made.shape == committed.shape, "run python -m tests.report.readme"
    assert np.allclose(made, committed, atol=0.1), "run python -m tests.report.readme"
    fewer = curves(readme.drawn(rows[rows["seed"] > rows["seed"].min()]))
    assert fewer.shape != committed.shape or not np.allclose(fewer, committed, atol=0.1)


def test_the_readme_says_what_the_front_page_says(rows):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    made = readme.answered(text, rows)
    assert made == text, "run python -m tests.report.readme"
    # Other rows give another answer: what is compared is not a constant.
    assert readme.answered(text, rows[rows["seed"] == rows["seed"].min()]) != text
