"""Sixteen times the pairs take no more memory: the long version is ``tests.benchmarks.stream``."""

import sys

import pytest

from tests.benchmarks import stream


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the kernel's books")
def test_memory_does_not_grow_with_the_number_of_pairs() -> None:
    few, many = (stream.grown(count, workers=1) for count in (300, 4800))
    decoded = 4800 * 3 * stream.SIDE**2 / 2**20
    assert few["once"]
    assert many["once"]
    assert many["main_mb"] - many["start_mb"] < few["main_mb"] - few["start_mb"] + decoded / 3
