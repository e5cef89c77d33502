"""A cleaning run that is cut off and taken up again, for defences that do more than train."""

import dataclasses
import shutil

import pytest

from bdnb import clean
from bdnb.runs import experiments
from bdnb.runs.records import Run

SAME = ("epoch", "step", "accuracy", "asr", "loss_total")


@pytest.mark.parametrize(
    ("defence", "options"),
    [
        ("interpolate", {"alphas": [0.3, 1.0]}),
        ("fine_pruning", {"nad": 100.0}),
        ("invertune", {"images": 24, "steps": 2}),
        ("par", {"noise": 0.2, "erase": 0.5}),
    ],
)
def test_a_run_taken_up_after_its_first_candidate_ends_as_one_that_was_not_cut(
    tiny, monkeypatch, defence, options
):
    first = experiments.of_file("tiny", "clean")[0]
    config = dataclasses.replace(first, defence=defence, options=options, loss="mmcl")
    whole = clean.clean(config).rows()
    shutil.rmtree(experiments.folder(config))
    real = Run.append

    def cut(run, row):
        real(run, row)
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Run, "append", cut)
    with pytest.raises(KeyboardInterrupt):
        clean.clean(config)
    monkeypatch.setattr(Run, "append", real)
    again = clean.clean(config).rows()
    assert [row["epoch"] for row in again] == [0, 1, 2]
    for row, expected in zip(again, whole, strict=True):
        assert {k: row.get(k) for k in SAME} == {k: expected.get(k) for k in SAME}
