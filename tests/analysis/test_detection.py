"""Detectors by objective: which models and attacks count, and on which side of chance they lie."""

import math

import pandas as pd
import pytest

from bdnb.analysis import detection
from bdnb.analysis.detection import Compared, compared, found


def detected(seed, objective="mmcl", *, attack="badnet", asr=99.0, given=None, **auroc):
    """Epoch 0, and the row of a run that looks for poison. given: options of each detector."""
    about = {"attack": attack, "route": "scratch", "objective": objective, "defence": "detect"}
    about |= {"seed": seed, "run": f"{attack}-{objective}-{seed}-{given}"}
    if given:
        about["option_options"] = str({name: {"batch": 9} | given for name in auroc})
    values = {f"{name}_auroc": value for name, value in auroc.items()}
    return pd.DataFrame([about | {"epoch": 0, "asr": asr}, about | {"epoch": 1} | values])


def lines(*frames):
    return found(pd.concat(frames))


def test_a_line_is_over_the_seeds_of_a_cell():
    made = lines(detected(0, dao=90.0), detected(1, dao=70.0), detected(1, "mmcl_ssl", dao=20.0))
    assert made["detector"].tolist() == ["dao", "dao"]
    assert [one.mean for one in made["auroc"]] == [80, 20]
    assert made["models"].tolist() == [[90, 70], [20]]
    assert made["poison"].isna().all()  # rows do not say whose model it is


def test_a_model_whose_attack_failed_does_not_count():
    made = lines(detected(0, dao=90.0), detected(1, asr=89.9, dao=10.0))
    assert made["models"].tolist() == [[90.0]]
    assert lines(detected(0, asr=20.0, dao=90.0)).empty


def test_each_way_of_running_a_detector_has_its_line():
    clean, raw = {"reference": "clean"}, {"features": "raw"}
    made = lines(
        detected(0, lid=9.0, clip_score=80.0),
        detected(0, given=clean, lid=88.0),
        detected(0, given={"reference": "group"}, lid=11.0),
        detected(0, given=raw, lid=40.0),
        detected(0, given=clean | raw, lid=97.0),
        detected(1, given=clean, lid=90.0),
    )
    by = made.set_index(["detector", "features", "reference"])["models"].to_dict()
    assert by == {
        ("lid", "unit", "group"): [10.0],  # of one seed
        ("lid", "unit", "clean"): [88.0, 90.0],
        ("lid", "raw", "group"): [40.0],
        ("lid", "raw", "clean"): [97.0],
        ("clip_score", "unit", "group"): [80.0],
    }


def test_objectives_are_compared_over_the_attacks_that_both_have_each_once():
    made = lines(
        detected(0, dao=90.0),
        detected(1, dao=70.0),
        detected(2, dao=74.0),
        detected(0, "mmcl_ssl", dao=30.0),
        detected(0, attack="blended", dao=60.0),
        detected(0, "mmcl_ssl", attack="blended", dao=50.0),
        detected(0, attack="stripes", dao=0.0),  # on one objective alone
        detected(0, attack="label", dao=0.0),
        detected(0, "mmcl_ssl", attack="label", asr=50.0, dao=0.0),  # failed on the other
        detected(0, attack="badnet", lid=1.0),
        detected(0, "siglip", lid=2.0),
    )
    (one,) = compared(made)
    assert one[:4] == ("dao", "unit", "group", 2)
    assert one.mean == {"mmcl": pytest.approx((78 + 60) / 2), "mmcl_ssl": 40}
    assert one.models == {"mmcl": [90, 70, 74, 60], "mmcl_ssl": [30, 50]}


@pytest.mark.parametrize(
    ("name", "reference", "models", "sides"),
    [
        ("k_distance", "group", ([90, 88], [14, 12]), (1, -1)),
        ("k_distance", "group", ([40, 90], [24, 14]), (0, 0)),  # not every model, by enough
        ("k_distance", "clean", ([40, 38], [24, 14]), (0, -1)),
        ("lid", "group", ([9, 8], [48, 50]), (0, 1)),
        ("isolation_forest", "group", ([30], [9]), (1, 0)),
        ("mine", "group", ([30], [65]), (-1, 1)),
    ],
)
def test_a_side_is_that_of_every_model_against_its_own_chance(name, reference, models, sides):
    by = dict(zip(("mmcl", "mmcl_ssl"), models, strict=True))
    assert Compared(name, "unit", reference, 1, {}, by).sides == sides


def test_the_share_of_poison_is_that_of_the_parameters_of_the_model(tiny):
    rows = detected(0, gmm=90.0).assign(scale="tiny", poisoned="train_mmcl")
    (line,) = found(rows).to_dict("records")
    assert 0 < line["poison"] < 1


def test_flagging_everything_has_the_f1_of_its_precision():
    share = pd.Series([0.02, 0.5])
    expected = [100 * 2 * p * 1 / (p + 1) for p in share]
    assert detection.flags_all(share).tolist() == pytest.approx(expected)
    assert detection.flags_all(pd.Series([math.nan])).isna().all()


def test_without_rows_there_is_nothing():
    assert found(pd.DataFrame()).empty
    assert compared(found(pd.DataFrame())) == []
