"""A run and the runs that it needs, each made on as many processes as it says (``processes=8``).

``accelerate launch -m bdnb.train --params FILE`` (on CPUs ``torchrun``) does the same from a shell.
"""

import logging
import os
import signal
import socket
from collections.abc import Callable, Mapping
from typing import Any

import torch
from accelerate import notebook_launcher
from accelerate.state import AcceleratorState
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from bdnb.runs import experiments
from bdnb.runs.experiments import Stage
from bdnb.runs.records import Run
from bdnb.runtime.command import RunError, Stopped, logged
from bdnb.runtime.errors import ConfigError

LOUD = ("torch.distributed.elastic.multiprocessing.api", "torch.multiprocessing.spawn")
"""Loggers that print the traceback of a process that fails; it is in its run's log."""

Makers = Mapping[type, Callable[[Any, Run], None]]
"""What makes a run from its parameters, by their type."""


def make(config: Stage, makers: Makers) -> Run:
    """Return a run, made unless it is recorded; the runs that it needs are made before it.

    Errors: expected ones of ``makers``, or RunError; those of ``on_processes``.
    """
    run = Run(experiments.folder(config))
    if experiments.recorded(config, warn=False):
        run.settle()
        return run
    with logged(run.folder):
        finished = run.finished
    if finished:
        print(f"{run.folder.name}: recorded without files that it is to keep now: making them")
    for source in experiments.before(config):
        if not experiments.recorded(source):
            print(f"{source.experiment} is not there yet: making it first", flush=True)
        make(source, makers)
    count = config.processes or devices()
    with logged(run.folder):
        if count > 1 and int(os.environ.get("WORLD_SIZE", 1)) == 1:  # not one of several already
            on_processes(count, make, config, makers)
        else:
            makers[type(config)](config, run)
    return run


def devices() -> int:
    """How many GPUs a run may use; 1 without any. Leaves them untouched, as forking needs."""
    return max(1, torch.cuda.device_count())


def on_processes(count: int, work: Callable[..., object], *given: Any) -> None:
    """Call ``work(*given)`` in that many processes of this machine, a GPU each where there are any.

    They are forked: nothing here may have used a GPU before. A signal ends all of them. Errors:
    ConfigError where a GPU was used here; RunError when one of them fails; SystemExit or
    KeyboardInterrupt after a signal.
    """
    if torch.cuda.is_initialized():
        raise ConfigError(
            f"processes={count}: this process has used a GPU, which those started from it could "
            "not use then: restart the notebook and start with this run"
        )
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    AcceleratorState._reset_state(reset_partial_state=True)  # of runs made here by one process
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        notebook_launcher(_worker, (work, *given), num_processes=count, use_port=str(port))
    except SignalException as error:
        if error.sigval == signal.SIGINT:
            raise KeyboardInterrupt from None
        raise Stopped(128 + error.sigval) from None
    except ChildFailedError as error:
        found: Any = error.get_first_failure()[1].message  # a text where a signal ended it
        said = str(found["message"] if isinstance(found, dict) else found)
        kind, _, rest = said.partition(": ")
        crashed = kind == RunError.__name__ or said is found
        raise RunError(rest if kind == RunError.__name__ else said, status=2 - crashed) from None


def _worker(work: Callable[..., object], *given: Any) -> None:
    """One of the processes: a signal ends it at once, whatever the one that started it does."""
    for which in (signal.SIGTERM, signal.SIGINT):
        signal.signal(which, signal.SIG_DFL)
    work(*given)
