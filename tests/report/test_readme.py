from pathlib import Path

from tests.report import readme

REPOSITORY = Path(__file__).parents[2]


def test_the_readme_says_what_the_front_page_says(tmp_path, monkeypatch):
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    rows = readme.front_rows(tmp_path)
    made = readme.answered(text, rows)
    assert made == text, "run python -m tests.report.readme"
    # Other rows give another answer: what is compared is not a constant.
    assert readme.answered(text, rows[rows["seed"] == rows["seed"].min()]) != text
