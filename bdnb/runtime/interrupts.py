"""How a command of the shell ends when a scheduler (SIGTERM) or its user (Ctrl-C) stops it.

Nothing has to be saved then: rows, checkpoints and training states are on disk as they are made,
each whole or not there, so that SIGKILL costs no more.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def command(name: str) -> Iterator[None]:
    """Work that SIGTERM and Ctrl-C end at once, with a line and status 143 or 130 (128 + signal).

    Errors: SystemExit.
    """

    def stop(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signals = (signal.SIGTERM, signal.SIGINT)
    before = {which: signal.signal(which, stop) for which in signals}
    try:
        yield
    except SystemExit as stopped:
        if stopped.code in {128 + which for which in signals}:
            words = "what is done is saved, and the same command goes on from there"
            print(f"{name}: stopped; {words}", file=sys.stderr, flush=True)
        raise
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
