"""Work done by several processes, one for each core that this process may use."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import joblib
from joblib.externals.loky import get_reusable_executor

T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return how many cores this process may use."""
    return joblib.cpu_count()


def parallel(function: Callable[[T], R], items: Iterable[T], workers: int = 0) -> Iterator[R]:
    """Yield ``function`` of each item, in the items' order.

    workers: processes; 0: one for each core; 1: this one, as results are asked for. Errors: those
    of ``function``; RuntimeError when a process dies.
    """
    workers = workers or cores()
    try:
        each = joblib.Parallel(workers, return_as="generator")
        yield from each(joblib.delayed(function)(item) for item in items)
    finally:
        if workers > 1:  # or they wait for more work, with all that they have imported
            get_reusable_executor().shutdown(kill_workers=True)
