"""The table of scales counts what runs do, and the example beside it is what the rule says."""

import pandas as pd
import pytest

from bdnb.analysis import verdict_rules
from bdnb.analysis.metrics import over_seeds
from bdnb.config.recipes import TrainConfig
from bdnb.report import scales
from bdnb.runtime.project import root


@pytest.mark.parametrize(
    ("pairs", "last_batch", "steps"),
    [(12, "keep", 6), (14, "keep", 8), (14, "drop", 6), (13, "keep", 6)],
)
def test_a_last_smaller_batch_is_a_step_unless_it_is_left_out(pairs, last_batch, steps):
    config = TrainConfig(epochs=2, batch_size=4, last_batch=last_batch)
    assert scales.steps_of(config, pairs) == steps


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ({"clean": 5, "train_mmcl": 9}, "5"),
        ({"clean": 5, "nonideal": 3}, "5 (elsewhere 3)"),
        ({"clean": 3, "nonideal": 1, "stopping": 3}, "3 (elsewhere 1 to 3)"),
    ],
)
def test_seeds_of_other_sections_are_named_where_they_differ(monkeypatch, seeds, said):
    requested = {name: [TrainConfig(seed=s) for s in range(n)] for name, n in seeds.items()}
    monkeypatch.setattr(scales.experiments, "of_scale", lambda scale: requested)
    assert scales.seeds("any") == said


def test_the_example_of_the_page_is_decided_as_it_says():
    page = (root() / "book" / "how_to_read.md").read_text(encoding="utf-8")
    seeds = pd.Series([12.0, 13.0, 40.0])
    plain = over_seeds(seeds, least_spread=verdict_rules.LEAST_SPREAD)
    assert plain.low < 5 < plain.high
    assert f"{plain.low:.1f} to {plain.high:.1f}" in page
    assert f"the interval begins at {verdict_rules.bounds(seeds)[0]:.1f}" in page
    assert verdict_rules.decide(seeds, 5) == verdict_rules.HOLDS


def test_seeds_and_hours_are_said_to_be_those_planned_for_rows_may_be_missing():
    lines = [line for line in scales.table().splitlines() if "seeds" in line.split("|")[1]]
    assert [line.split("|")[1].strip() for line in lines] == ["seeds, as planned"]
