"""What a machine may lack, and whether it may here."""

import os
from typing import NoReturn

import pytest


def leave_out(what: str, why: str) -> NoReturn:
    """Leave a test out: this machine lacks ``what``. Where ``BDNB_HAS`` lists it, the test fails.

    ``.ci/run`` lists what it has put there, so that nothing is left out in silence.
    """
    if what in os.environ.get("BDNB_HAS", "").split():
        pytest.fail(f"BDNB_HAS lists {what}, but {why}")
    pytest.skip(why)
