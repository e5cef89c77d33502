"""Accelerate's handle on devices, processes, precision and tracker, and what they are in words."""

import ctypes
import gc
import os
from datetime import timedelta
from functools import cache
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from bdnb.runtime import hardware
from bdnb.runtime.errors import ConfigError

PATIENCE = timedelta(hours=2)
"""How long processes wait for the one that evaluates."""
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4


def accelerator(
    *,
    precision: str = "auto",
    tf32: bool = True,
    log_with: str = "none",
    folder: Path | None = None,
    processes: int = 0,
) -> Accelerator:
    """Return Accelerate's handle on devices and processes, and on the tracker of a run's folder.

    ``config.recipes`` describes each value. processes: how many there must be; 0: any number.
    Errors: ConfigError for another number of them, and for a tracker that is not installed.
    """
    keep_freed_memory()
    cuda, tracked = torch.cuda.is_available(), log_with != "none"
    if cuda:
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = tf32
    bf16 = hardware.precision(precision) == "bf16"
    AcceleratorState._reset_state()  # one precision a process, but the runs of a sweep may differ
    if bf16:
        gc.collect()  # Accelerate's cast holds the model of the run before in a circle
    handle = Accelerator(
        cpu=int(os.environ.get("WORLD_SIZE", 1)) > 1 and not cuda,  # several: over gloo
        mixed_precision="bf16" if bf16 else "no",
        log_with=log_with if tracked else None,
        project_dir=folder,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
    if processes and handle.num_processes != processes:
        raise ConfigError(f"processes={processes}: these are {handle.num_processes}")
    if tracked and not handle.log_with:
        raise ConfigError(f"log_with={log_with!r}: not installed: pip install {log_with}")
    return handle


def device_name(handle: Accelerator) -> str:
    """Return the device in words, for manifests: kind, how many, precision."""
    threads = torch.get_num_threads()
    kind = torch.cuda.get_device_name() if handle.device.type == "cuda" else handle.device.type
    kind = f"{kind}, {threads} thread{'s' * (threads > 1)}" if kind == "cpu" else kind
    many = f"{handle.num_processes} x " if handle.num_processes > 1 else ""
    precision = "fp32" if handle.mixed_precision == "no" else handle.mixed_precision
    return f"{many}{kind}, {precision}"


@cache
def keep_freed_memory() -> None:
    """Keep freed blocks for this process, where the C library can be told (glibc only).

    By default glibc gives every large block back to the system, so that each step of training
    faults in all its activations again: an eighth of a step's time on a CPU. Changes no result.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, -1)
        mallopt(M_MMAP_MAX, 0)
