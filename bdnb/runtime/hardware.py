"""Which precision this machine computes fast in, found out without torch: planning does without.

``BDNB_PRECISION`` (bf16 or no) says it of the machines that runs are made on, where plans are made
or rows are read on another.
"""

import os
import shutil
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bdnb.runtime.errors import ConfigError

CPUINFO = Path("/proc/cpuinfo")


def precision(wanted: str = "auto") -> str:
    """Return "bf16" or "no": as wanted; for "auto" bf16 where it is fast. Errors: ConfigError."""
    said = os.environ.get("BDNB_PRECISION", "")
    if said not in ("", "bf16", "no"):
        raise ConfigError(f"BDNB_PRECISION={said!r}: expected bf16 or no")
    return wanted if wanted != "auto" else said or ("bf16" if fast_bf16() else "no")


@cache
def fast_bf16() -> bool:
    """Whether bf16 is fast here: on GPUs since Ampere, and on CPUs with AMX or AVX512-BF16."""
    if gpus := capabilities():
        return min(gpus) >= 8
    flags = CPUINFO.read_text("utf-8", "replace").split() if CPUINFO.is_file() else []
    return "amx_tile" in flags or "avx512_bf16" in flags


@cache
def capabilities() -> tuple[float, ...]:
    """CUDA's compute capability of each GPU that torch may use; () without any."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if hidden or _cpu_only() or not shutil.which("nvidia-smi"):
        return ()
    ask = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    said = subprocess.run(ask, capture_output=True, text=True, check=False).stdout
    return tuple(float(line) for line in said.split() if line[:1].isdigit())


def _cpu_only() -> bool:
    """Whether torch is not there, or built without CUDA."""
    try:
        return "+cpu" in version("torch")
    except PackageNotFoundError:
        return True
