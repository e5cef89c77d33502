"""What the arena's lines say together, on hand-made rows: units, what is shared, and ranks."""

import pandas as pd
import pytest

from bdnb.analysis import arena, arena_across
from tests.analysis.test_arena import BAD, CONTROL, COSTLY, GOOD, PAR, runs

CLP = ("clp", "mmcl")
BOTH = arena.OBJECTIVES


def lines(*frames):
    return arena.entries(pd.concat(frames, ignore_index=True), {})


def on_both(way, first, second, **columns):
    ends = zip(BOTH, (first, second), strict=True)
    return pd.concat([runs(way, path, objective=one, **columns) for one, path in ends])


def across(*frames):
    return arena_across.across(lines(*frames)).set_index("defence").loc["par"]


def of_both(first, second):
    attacks = ("badnet", "sig")
    made = [on_both(PAR, first, second, attack=attack) for attack in attacks]
    made += [on_both(CONTROL, BAD, BAD, attack=attack) for attack in attacks]
    return lines(*made)


@pytest.mark.parametrize(
    ("first", "second", "side", "level", "gains"),
    [
        (GOOD, BAD, "mmcl", False, ("mmcl",)),
        (BAD, GOOD, "mmcl_ssl", False, ("mmcl_ssl",)),
        (GOOD, GOOD, "", False, ("mmcl", "mmcl_ssl")),
    ],
)
def test_what_holds_across_objectives_is_decided_over_attacks(first, second, side, level, gains):
    made = of_both(first, second)
    line = arena_across.across(made).set_index("defence").loc["par"]
    assert (line["side"], line["level"], line["gains"]) == (side, level, gains)
    assert (line["attacks"], line["seeds"], line["contrast"].n) == (2, 6, 2)


def test_what_the_rule_decides_is_counted_and_so_is_what_a_plain_interval_decides():
    made = arena_across.across(of_both(GOOD, BAD)).set_index("defence")
    assert tuple(made.loc["par", ["asked", "plain"]]) == (3, 2)  # a side and a gain, both plain
    assert tuple(made.loc["cleanclip", ["asked", "plain"]]) == (1, 0)  # no control of itself


def test_an_answer_that_the_plain_interval_does_not_give_is_not_counted_as_plain():
    """Gaps of 100 and 50: their interval spans 5, whereas the rule lowers the first of them."""
    attacks = {"badnet": GOOD, "sig": COSTLY}
    line = across(*[on_both(PAR, first, BAD, attack=name) for name, first in attacks.items()])
    assert line["side"] == "mmcl"
    assert line["contrast"].low < 5
    assert (line["asked"], line["plain"]) == (1, 0)


def test_three_seeds_of_one_attack_show_a_tie():
    line = across(on_both(PAR, GOOD, GOOD))
    assert line["level"]
    assert line["plain"] == 1
    assert (line["attacks"], line["seeds"], line["contrast"].n) == (1, 3, 3)


def test_two_seeds_do_not_show_a_tie():
    line = across(on_both(PAR, GOOD, GOOD, seeds=range(2)))
    assert not line["level"]
    assert not line["side"]


def test_each_attack_counts_once_however_many_seeds_it_has():
    many, one = on_both(PAR, GOOD, BAD), on_both(PAR, COSTLY, BAD, attack="sig", seeds=(0,))
    line = across(many, one)
    assert line["mmcl"] == pytest.approx(75)
    assert line["contrast"].mean == pytest.approx(75)
    assert (line["contrast"].n, line["seeds"]) == (2, 4)


def test_an_attack_with_a_path_that_differs_leaves_it_open_however_many_seeds_agree():
    many, one = on_both(PAR, GOOD, BAD), on_both(PAR, BAD, BAD, attack="sig", seeds=(0,))
    control = [on_both(CONTROL, BAD, BAD, attack=attack) for attack in ("badnet", "sig")]
    line = across(many, one, *control)
    assert line["side"] == ""
    assert line["gains"] == ()


def test_only_settings_and_seeds_that_both_cells_have_are_compared():
    shared = on_both(PAR, COSTLY, BAD, seeds=range(2))
    more = [runs(PAR, GOOD, lr=1e-3), runs(PAR, GOOD, seeds=(2,), objective="mmcl_ssl", lr=1e-4)]
    line = across(shared, *more)
    assert (line["mmcl"], line["mmcl_ssl"]) == (pytest.approx(50), 0)
    assert (line["contrast"].mean, line["seeds"]) == (pytest.approx(50), 2)


def test_cells_that_share_no_setting_or_are_of_one_objective_are_not_compared():
    apart = [runs(PAR, GOOD), runs(PAR, GOOD, lr=1e-3, objective="mmcl_ssl")]
    assert arena_across.across(lines(*apart)).empty
    assert arena_across.across(lines(runs(PAR, GOOD))).empty


def test_what_keeps_most_is_by_the_frozen_setting():
    par = [on_both(PAR, COSTLY, COSTLY), on_both(PAR, BAD, GOOD, lr=1e-3)]
    found = arena_across.ranking(lines(*par, on_both(CLP, GOOD[:2], BAD)))
    ways = found.ways.set_index("defence")
    assert ways.loc["par", list(BOTH)].tolist() == pytest.approx([50, 50])  # not the other rate
    assert ways.loc["clp", list(BOTH)].tolist() == pytest.approx([100, 0])
    assert (found.attacks, found.left_out) == ((("badnet", "scratch"),), {})


def test_what_keeps_most_is_over_the_attacks_that_all_ways_were_run_on():
    par = [on_both(PAR, GOOD, GOOD), on_both(PAR, BAD, BAD, attack="sig")]
    clp = [on_both(CLP, COSTLY, COSTLY), runs(CLP, COSTLY, attack="sig")]
    found = arena_across.ranking(lines(*par, *clp))
    ways = found.ways.set_index("defence")
    assert found.attacks == (("badnet", "scratch"),)  # CLP lacks sig on the other objective
    assert ways["mmcl"].to_dict() == pytest.approx({"par": 100, "clp": 50})
    clp += [runs(CLP, COSTLY, attack="sig", objective="mmcl_ssl", seeds=(0,))]
    found = arena_across.ranking(lines(*par, *clp))
    assert [attack for attack, _ in found.attacks] == ["badnet", "sig"]
    assert found.ways.set_index("defence")["mmcl"].to_dict() == pytest.approx(
        {"par": 50, "clp": 50}
    )


def test_what_keeps_most_is_over_the_seeds_that_all_ways_were_run_on():
    par = [on_both(PAR, COSTLY, COSTLY, seeds=(0,)), on_both(PAR, GOOD, GOOD, seeds=(1, 2))]
    clp = on_both(CLP, COSTLY, COSTLY, seeds=(0,))
    ways = arena_across.ranking(lines(*par, clp)).ways.set_index("defence")
    assert ways["mmcl"].to_dict() == pytest.approx({"par": 50, "clp": 50})


def test_ways_that_are_not_compared_are_named_with_the_reason():
    mine, once = ("mine", "mmcl"), ("once", "mmcl")
    made = [on_both(PAR, GOOD, GOOD), on_both(mine, GOOD, GOOD, attack="sig"), runs(once, GOOD)]
    found = arena_across.ranking(lines(*made))
    assert found.ways["defence"].tolist() == ["par"]
    assert found.left_out == {mine: "not tuned", once: "run on no such model"}


def test_where_no_way_was_tuned_none_keeps_most():
    both = [on_both(way, GOOD, BAD, attack="sig") for way in (PAR, CONTROL)]
    found = arena_across.ranking(lines(*both))
    assert found.ways.empty
    assert set(found.left_out.values()) == {"not tuned"}
    failed = [on_both(way, GOOD, BAD, asr=20.0) for way in (PAR, CONTROL)]
    assert arena_across.ranking(lines(*failed)).ways.empty
    assert arena_across.across(lines(*failed)).empty


def test_an_edge_in_any_cell_is_said():
    rates = [on_both(PAR, *ends, lr=lr) for lr, ends in ((3e-4, (BAD, GOOD)), (1e-3, (GOOD, BAD)))]
    assert across(*rates)["edge"]
    assert not across(rates[0])["edge"]
