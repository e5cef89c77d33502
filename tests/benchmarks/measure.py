"""Times and peak memory of two or three ways to do the same work, taken in turn."""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]


def wait(device: torch.device) -> None:
    """Until the device is done: times are of finished work."""
    if device.type == "cuda":
        torch.cuda.synchronize()


class Child:
    """One way of a row in a process of its own: asked for a go, it answers with the seconds.

    So each way has its own memory, whose peak is known, and its own allocator's settings. Its
    first answer, which nobody asks for, is that it is ready.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        handle, name = tempfile.mkstemp(suffix=".log", dir=os.environ["BDNB_HOME"])
        self.errors = Path(name)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=handle,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )
        os.close(handle)

    def ask(self, what: str) -> float:
        """Its number. what: go (seconds), peak (bytes) or flops (of a go)."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> float:
        """The next line that is meant for us. Errors: RuntimeError with what the child said."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("= "):
                return float(line[2:])
        raise RuntimeError(f"a way failed:\n{self.errors.read_text()[-3000:]}")

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def timed(work: Work, device: torch.device) -> float:
    """Seconds of a go."""
    begun = time.perf_counter()
    work()
    wait(device)
    return time.perf_counter() - begun


def serve(work: Work, device: torch.device) -> None:
    """The child's side: answer each line of stdin with a number."""
    numbers = {
        "go": lambda: timed(work, device),
        "peak": lambda: peak_bytes(device),
        "flops": lambda: flops(work),
    }
    print("= 0", flush=True)
    for line in sys.stdin:
        print(f"= {numbers[line.strip()]()}", flush=True)


def in_turn(ways: Mapping[str, Child], *, repeats: int, warm: int = 2) -> dict[str, list[float]]:
    """Seconds of each go of each way; A B C A B C, so that a load on the machine falls on all."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(warm + repeats):
        for name, child in ways.items():
            seconds = child.ask("go")
            if turn >= warm:
                times[name].append(seconds)
    return times


def flops(work: Work) -> float:
    """Floating-point operations of a go's matrix products and convolutions, both directions."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def matmul_speed(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of a square matrix product, the best of several."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device, dtype=dtype)
    return 2 * size**3 / min(timed(lambda: a @ a, device) for _ in range(12))


def medians(times: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each way's seconds."""
    return {name: statistics.median(found) for name, found in times.items()}


def peaks(ways: Mapping[str, Child]) -> dict[str, float]:
    """The most memory in MB (2^20 bytes) that each way has held so far."""
    return {name: child.ask("peak") / 2**20 for name, child in ways.items()}


def peak_bytes(device: torch.device) -> int:
    """The most memory that this process, or its work on the GPU, has held."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    # Not ru_maxrss, which a child on Linux takes over from the process that started it.
    line = next(li for li in status.read_text().splitlines() if li.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024
