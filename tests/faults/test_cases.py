"""Every wrong input of ``cases``: one clear message, its status, and what is left on the disk."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from bdnb.data import datasets
from bdnb.runtime import plugins
from tests.faults import cases, page

LONGEST = 3


@pytest.fixture
def home(fresh, monkeypatch) -> Iterator[Path]:
    """A project with its data, in a process that has loaded no plug-in."""
    datasets.dataset("tiny")
    monkeypatch.chdir(fresh)
    monkeypatch.setattr(plugins, "LOADED", {})
    yield fresh
    cases.forget()


def check(case: cases.Case, met: cases.Met, *, longest: int = LONGEST) -> None:
    text = "\n".join(met.printed)
    assert re.search(case.says, text), text
    assert met.status == 2, text
    assert "Traceback" not in text
    assert len(met.printed) <= longest, text


@pytest.mark.parametrize(
    "number", range(len(cases.CASES)), ids=lambda number: cases.CASES[number].name[:80]
)
def test_a_wrong_input_is_refused_as_the_book_says_and_leaves_nothing(home, number):
    case = cases.CASES[number]
    met = cases.met(case, home)
    check(case, met)
    assert {Path(path).name for path in met.left} == case.left
    assert page.written()[number] == page.line(case, met, home)


def test_the_page_on_faults_is_made_of_the_cases_and_the_counts():
    counts = json.loads(page.COUNTS.read_text())
    assert page.PAGE.read_text() == page.text(page.written(), counts)
    assert len(page.written()) == len(cases.CASES) + len(cases.BEGUN)
    for own in counts.values():
        assert own["tried"] == own["used"] + own["refused"]
        assert own["crashed"] == own["silent"] == 0


def test_a_plug_in_that_breaks_its_promise_in_a_run_is_named_and_the_run_is_not_recorded(home):
    assert cases.met(cases.Case("", "train", {}, ""), home).status == 0
    for number, case in enumerate(cases.BEGUN, len(cases.CASES)):
        plugins.LOADED.clear()
        met = cases.met(case, home)
        told = [line for line in met.printed if "mine.py" in line]
        check(case, cases.Met(told, met.status))
        assert (
            page.written()[number]["printed"] == page.line(case, page.begun(met), home)["printed"]
        )
        assert not [path for path in met.left if path.endswith("-mine/finished")]


@pytest.mark.parametrize(
    "case",
    [case for case in cases.CASES if isinstance(case.given, list)][::6],
    ids=lambda case: case.name[:80],
)
def test_the_command_itself_prints_no_more(home, case):
    if case.prepare:
        case.prepare.act(home)
    done = subprocess.run(
        [sys.executable, "-m", case.how, *case.given],
        env=os.environ | {"BDNB_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stderr.splitlines() if "RuntimeWarning" not in line]
    check(case, cases.Met(lines, done.returncode))


REPOSITORY = Path(__file__).parents[2]


def test_papermill_ends_with_the_message_and_nothing_after_it(home):
    from papermill.cli import papermill
    from papermill.engines import papermill_engines

    from bdnb.runtime import _papermill_engine

    assert papermill_engines.get_engine(None) is _papermill_engine.Engine
    notebook, out = REPOSITORY / "notebooks" / "clean.ipynb", home / "out.ipynb"
    given = ["-p", "scale", "tiny", "-p", "lr", "abc", "-p", "warmup_steps", "2"]
    done = CliRunner().invoke(papermill, [str(notebook), str(out), *given, "--no-progress-bar"])
    assert done.exit_code == 2
    assert done.output.splitlines()[-1].endswith("clean.ipynb: lr='abc': expected a number")
    assert "Traceback" not in done.output
    assert "unknown parameter" not in done.output
    assert "expected a number" in out.read_text()
