"""The end of a command of the shell: an expected error is its message and a status, no more."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bdnb.runtime.errors import BdnbError


@contextmanager
def command() -> Iterator[None]:
    """A command's ``main``: an error of this package ends it with its message and status 2.

    Any other error is one of the program, and keeps its traceback.
    """
    try:
        yield
    except BdnbError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(error.status) from None
