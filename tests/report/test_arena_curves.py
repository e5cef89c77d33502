"""The arena's price curves of two ways, from hand-made rows."""

import json

import pandas as pd

from bdnb.report import arena_curves
from tests.analysis.test_arena import BAD, GOOD
from tests.report.test_arena import of


def test_two_ways_are_drawn_side_by_side_and_values_can_be_chosen():
    spec = arena_curves.curves(of(GOOD, BAD)).spec
    chosen = {one["name"]: one["value"] for one in spec["params"]}
    assert chosen == {"attack": "badnet", "first": "PAR", "second": "MMCL alone"}
    points = pd.DataFrame(spec["data"]["values"])
    at = points[(points["asr"] == 5) & (points["way"] == "PAR")].set_index("objective")["kept"]
    assert at.to_dict() == {"MMCL": 100, "MMCL + SSL": 0}
    json.dumps(spec)


def test_without_a_model_with_a_backdoor_nothing_is_drawn():
    assert "No model" in arena_curves.curves(of(GOOD, BAD, asr=20.0)).data
    assert "No model" in arena_curves.curves(pd.DataFrame()).data
