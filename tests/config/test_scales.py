"""What a scale's parameter files make possible: numbers that are exact enough for a verdict."""

from math import sqrt
from pathlib import Path

import pytest

from bdnb.config import parameters

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("scale", ["laptop", "gpu"])
def test_an_asr_of_5_percent_is_known_to_less_than_half_a_point(scale, monkeypatch):
    """Standard error at most 0.4 points, with images of the target class left out, twice as many
    of them as are to be expected."""
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    data = parameters.load(scale, "data")
    counted = data["val_images"] * (1 - 2 / data["classes"])
    assert 100 * sqrt(0.05 * 0.95 / counted) <= 0.4
