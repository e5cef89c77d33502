"""The end of a command of the shell: an expected error, SIGTERM or Ctrl-C is a line and a status.

Nothing has to be saved at a signal: rows, checkpoints and training states are on disk as they are
made, each whole or not there, so that SIGKILL costs no more.
"""

import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from bdnb.runtime.errors import BdnbError

LOG = "error.log"
"""File of a run's folder with the traceback of what ended the run."""


class Stopped(SystemExit):
    """A signal has ended the command: status 128 + signal."""


class RunError(BdnbError, RuntimeError):
    """A run that failed, told in a line; its traceback is in its ``error.log``.

    status: 1 for an error of the program.
    """

    def __init__(self, said: str, *, status: int = 1) -> None:
        super().__init__(said)
        self.status = status


@contextmanager
def logged(folder: Path) -> Iterator[None]:
    """Write the traceback of what ends the making of a run to ``error.log`` in its folder.

    Errors: an expected one as it is; RunError in place of one of the program, with the log's path.
    """
    try:
        yield
    except RunError:  # logged by the process, or for the run, that it ended
        raise
    except Exception as error:
        expected, path = isinstance(error, BdnbError), folder / LOG
        try:
            folder.mkdir(parents=True, exist_ok=True) if not expected else None
            if folder.is_dir():
                path.write_text("".join(traceback.format_exception(error)), "utf-8")
        except OSError:  # no place to write: what was met is told as it is
            raise error from None
        if expected:
            raise
        said = " ".join(str(error).split())[:LONGEST]
        raise RunError(f"{type(error).__name__}: {said} (traceback: {path})") from error


LONGEST = 300
"""Letters of a message that are told: some libraries' fill a page."""


@contextmanager
def command(name: str = "") -> Iterator[None]:
    """A command's ``main``: an error of this package ends it with its message and status 2.

    SIGTERM and Ctrl-C end it at once, with status 143 or 130. An error of the program that no run
    has logged keeps its traceback. name: what goes on where it stopped when given again.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise Stopped(128 + number)

    before = {which: signal.signal(which, stop) for which in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except BdnbError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.status) from None
    except Stopped:
        words = "what is done is saved, and the same command goes on from there"
        print(f"{name}: stopped; {words}" if name else "stopped", file=sys.stderr, flush=True)
        raise
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
