"""The fuzzer for as long as the suite can wait, and that its eye for silence is open."""

import pytest

from tests.faults import fuzz


def test_no_input_crashes_or_is_passed_over_in_silence():
    told: list[str] = []
    counts = fuzz.fuzz(60, tell=told.append)
    assert not told, told[0]
    for own in counts.values():
        assert own["tried"] == own["used"] + own["refused"]
        assert min(own["tried"] - 1, own["used"], own["refused"]) > 0


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        (lambda: True, "used"),
        (lambda: False, "refused"),
        (lambda: 1 / 0, "crashed: ZeroDivisionError"),
        (lambda: fuzz._as_given([fuzz.CleanConfig()], {"lr": 7}), "silent: lr=7 is taken for"),
    ],
)
def test_each_end_has_its_name(found, kind):
    assert fuzz.outcome(found).startswith(kind)
