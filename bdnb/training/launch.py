"""Several processes for a run from one, in a notebook or a job: ``processes=8``.

``accelerate launch -m bdnb.train --params FILE`` (on CPUs ``torchrun``) does the same from a shell.
"""

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import torch
from accelerate import notebook_launcher
from accelerate.state import AcceleratorState
from torch.distributed.elastic.multiprocessing.api import SignalException

from bdnb.runtime import interrupts
from bdnb.runtime.errors import ConfigError


def launched() -> bool:
    """Whether this process is one of several already."""
    return int(os.environ.get("WORLD_SIZE", 1)) > 1


def devices() -> int:
    """How many GPUs a run may use; 1 without any. Leaves them untouched, as forking needs."""
    return max(1, torch.cuda.device_count())


def on_processes(count: int, work: Callable[..., object], *given: Any) -> None:
    """Call ``work(*given)`` in that many processes of this machine, a GPU each where there are any.

    They are forked: nothing here may have used a GPU before. A signal goes to all of them; they
    save, and this process stops as they do. Errors: ConfigError where a GPU was used here;
    ChildFailedError when one of them fails.
    """
    if torch.cuda.is_initialized():
        raise ConfigError(
            f"processes={count}: this process has used a GPU, which those started from it could "
            "not use then: restart the notebook and start with this run"
        )
    AcceleratorState._reset_state(reset_partial_state=True)  # of runs made here by one process
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    try:
        notebook_launcher(_worker, (work, *given), num_processes=count, use_port=str(port))
    except SignalException as error:
        interrupts.stop(error.sigval)


def _worker(work: Callable[..., object], *given: Any) -> None:
    """One of the processes. Once stopped it leaves at once: the launcher, which was stopped as
    well, no longer takes the answer that a worker waits to hand over at its end.
    """
    try:
        work(*given)
    except (interrupts.Stopped, KeyboardInterrupt):
        sys.stderr.flush()
        os._exit(0)
