"""What a log says of long work: whole lines, few of them, with rate and time left."""

import io
import re

import pytest
from tqdm.notebook import tqdm as notebook_bar

from bdnb.runtime import progress
from bdnb.sweep import EACH


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """A clock that a test moves; the bars read it."""
    now = [1000.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def log_of(clock, *, total: int, step: int, seconds: float, **given) -> list[str]:
    """The lines of a log of work that takes ``seconds`` for each step."""
    file = io.StringIO()
    with progress.bar(total=total, unit=" pairs", file=file, **given) as bar:
        for _ in range(0, total, step):
            clock[0] += seconds
            bar.set_postfix_str("epoch 1", refresh=False)
            bar.update(step)
    return file.getvalue().splitlines()


def test_a_day_s_work_is_about_a_hundred_lines_and_no_control_characters(clock):
    lines = log_of(clock, total=6_000_000, step=128, seconds=86400 * 128 / 6_000_000)
    assert 90 <= len(lines) <= 103
    assert not re.search(r"[\r\x1b]", "".join(lines))


def test_short_work_is_a_line_at_its_start_and_one_at_its_end(clock):
    first, last = log_of(clock, total=1000, step=100, seconds=1)
    assert first.startswith("  0 % of 1.00k pairs")
    assert re.match(r"100 % of 1.00k pairs, 100 ?pairs/s, 00:10 gone, 00:00 left, epoch 1", last)


def test_a_line_tells_rate_and_time_left(clock):
    lines = log_of(clock, total=1000, step=10, seconds=2)
    assert len(lines) == 1000 // 10 * 2 // 30 + 2
    assert re.match(r" 30 % of 1.00k pairs, 5.00 ?pairs/s, 01:00 gone, 02:20 left", lines[2])


def test_work_that_is_taken_up_again_starts_where_it_was(clock):
    assert log_of(clock, total=100, step=50, seconds=1, initial=50)[0].startswith(" 50 % of 100")


def test_nothing_is_shown_where_another_process_shows_it(clock):
    assert log_of(clock, total=100, step=50, seconds=60, disable=True) == []


@pytest.mark.parametrize("lab", [False, True])
def test_a_terminal_has_one_line_that_changes_and_jupyterlab_a_bar(clock, monkeypatch, lab):
    monkeypatch.setattr(progress, "in_lab", lambda: lab)
    monkeypatch.setattr("sys.stderr.isatty", lambda: not lab, raising=False)
    file = io.StringIO()
    with progress.bar(total=2, unit=" runs", file=file, **EACH) as bar:
        bar.update()
    assert isinstance(bar, notebook_bar) == lab
    assert ("1/2" in file.getvalue()) != lab
    assert "\n" not in file.getvalue().rstrip()
