"""Progress of long work, with rate and time left, in the form that suits where it is shown.

A terminal gets a line that changes, JupyterLab a bar, and a log (papermill's, Snakemake's) whole
lines, at most a hundred or so for each piece of work.
"""

import os
import sys
from typing import Any

from tqdm import tqdm
from tqdm.notebook import tqdm as notebook_bar

SECONDS = 30
"""Between two lines of a log, at least."""
LINES = 100
"""Lines of a log for one piece of work, at most; with the first and the last one."""
FORM = (
    "{desc}{percentage:3.0f} % of {total_fmt}{unit}, {rate_fmt}, {elapsed} gone, {remaining} left"
)


def bar(*, total: int, unit: str, initial: int = 0, disable: bool = False, **given: Any) -> tqdm:
    """Return a progress bar of ``total`` things; ``update(n)`` says that n more are done.

    unit: the things' name, a space before it. initial: done before. disable: show nothing.
    """
    kind = tqdm if sys.stderr.isatty() else notebook_bar if in_lab() else Lines
    options: dict[str, Any] = {"total": total, "unit": unit, "unit_scale": True, "mininterval": 0.5}
    if kind is Lines:
        options |= {"mininterval": SECONDS, "miniters": max(1, total // LINES), "bar_format": FORM}
    return kind(initial=initial, disable=disable, **options | given)


def in_lab() -> bool:
    """Return whether this is a kernel of Jupyter's server, rather than papermill's or none."""
    kernel = "IPython" in sys.modules and sys.modules["IPython"].get_ipython()
    return bool(kernel) and "JPY_SESSION_NAME" in os.environ


class Lines(tqdm):
    """A bar for logs: every state is a line of its own, and nothing is written over."""

    monitor_interval = 0  # tqdm's thread would write lines of its own where steps are slow

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Write the present state as a line."""
        words = f", {self.postfix}" if self.postfix else ""
        self.fp.write((str(self) if msg is None else msg) + words + "\n")
        self.fp.flush()

    def close(self) -> None:
        """Write the last state, unless it was written already."""
        if self.disable:
            return
        self.disable = True
        self._decr_instances(self)  # type: ignore[attr-defined]
        if self.n != self.last_print_n or self.n == self.initial:
            self.display()
