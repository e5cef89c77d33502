"""The end of a command of the shell: an expected error, SIGTERM or Ctrl-C is a line and a status.

Nothing has to be saved at a signal: rows, checkpoints and training states are on disk as they are
made, each whole or not there, so that SIGKILL costs no more.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bdnb.runtime.errors import BdnbError


class Stopped(SystemExit):
    """A signal has ended the command: status 128 + signal."""


@contextmanager
def command(name: str = "") -> Iterator[None]:
    """A command's ``main``: an error of this package ends it with its message and status 2.

    SIGTERM and Ctrl-C end it at once, with status 143 or 130. Any other error is one of the
    program, and keeps its traceback. name: what goes on where it stopped when given again.
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
