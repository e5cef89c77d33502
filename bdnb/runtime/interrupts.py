"""SIGTERM (a scheduler wants the machine) and SIGINT (Ctrl-C) as a wish to stop at a safe place.

Inside ``listening`` a signal ends the run: at once, or where ``held`` says so after the step or
the line at hand, so that the run can save what it has. The same command then goes on.
"""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """A run was stopped by SIGTERM and has saved what it had: the process ends with status 0."""


class _Wish:
    """What has been asked for, and how many blocks hold it back."""

    asked: signal.Signals | None = None
    held = 0
    told = False


def asked() -> bool:
    """Whether a signal waits for its turn."""
    return _Wish.asked is not None


def ask(which: signal.Signals = signal.SIGTERM) -> None:
    """Wish to stop, as the signal does: for a process whose neighbour has got it."""
    _Wish.asked = _Wish.asked or which


def stop(which: signal.Signals) -> None:
    """Stop here and now, as the signal does. Errors: Stopped, or KeyboardInterrupt for SIGINT."""
    ask(which)
    _stop()


def _heard(number: int, _: FrameType | None) -> None:
    if _Wish.held:
        ask(signal.Signals(number))
    else:
        stop(signal.Signals(number))


def _stop() -> None:
    which, _Wish.asked = _Wish.asked, None
    if which == signal.SIGINT:
        raise KeyboardInterrupt
    if which is not None:
        raise Stopped(0)


@contextmanager
def held() -> Iterator[None]:
    """A piece of work that is finished first; a signal that came meanwhile counts at its end."""
    _Wish.held += 1
    try:
        yield
    finally:
        _Wish.held -= 1
    if not _Wish.held:
        _stop()


@contextmanager
def listening(name: str) -> Iterator[None]:
    """A run, by name, that SIGTERM ends with ``Stopped`` and SIGINT with KeyboardInterrupt.

    Outside the main thread signals cannot be listened to and do what they did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {which: signal.signal(which, _heard) for which in SIGNALS}
    _Wish.told = False
    try:
        yield
    except (Stopped, KeyboardInterrupt) as stop:
        if not _Wish.told:
            how = "SIGTERM" if isinstance(stop, Stopped) else "Ctrl-C"
            words = "what is done is saved, and the same command goes on from there"
            print(f"{name}: stopped by {how}; {words}", file=sys.stderr, flush=True)
        _Wish.told = True
        raise
    finally:
        _Wish.asked = None
        for which, handler in before.items():
            signal.signal(which, handler)


@contextmanager
def command(name: str) -> Iterator[None]:
    """A command of the shell: it listens from its first line; Ctrl-C ends it with status 130."""
    try:
        with listening(name):
            yield
    except KeyboardInterrupt:
        raise SystemExit(130) from None
