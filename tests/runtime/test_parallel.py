"""Several processes give what one gives, in order; errors and deaths come through."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bdnb.runtime.parallel import cores, parallel


def square(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky")
    if number == 66:
        os._exit(1)
    return number**2


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_items_order(workers: int) -> None:
    assert list(parallel(square, range(12), workers)) == [n**2 for n in range(12)]


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_process_is_the_caller_s(workers: int) -> None:
    with pytest.raises(ValueError, match="unlucky"):
        list(parallel(square, [1, 13, 2], workers))
    assert list(parallel(square, [3], workers)) == [9]


def test_a_process_that_dies_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="terminated"):
        list(parallel(square, [1, 66, 2], 2))


def test_no_more_cores_are_counted_than_this_process_may_use() -> None:
    command = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    command += "from bdnb.runtime.parallel import cores; print(cores())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    assert int(done.stdout) == 1
    assert cores() >= 1


def test_processes_end_with_the_work_also_when_it_is_broken_off(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os\nfrom bdnb.runtime.parallel import parallel\n"
        "def pid(_): return os.getpid()\n"
        "print(*set(parallel(pid, range(4), 2)), flush=True)\n"
        "for one in parallel(pid, range(100), 2):\n    print(one, flush=True)\n    break\n"
        "import time; time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = {int(pid) for _ in range(2) for pid in process.stdout.readline().split()}
    assert process.pid not in found
    until = time.monotonic() + 240
    while (left := [p for p in found if Path(f"/proc/{p}").exists()]) and time.monotonic() < until:
        time.sleep(0.1)
    process.kill()
    process.wait()
    assert not left
