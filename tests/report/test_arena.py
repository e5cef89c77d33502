"""The arena's page: its table and its sentence."""

import pandas as pd
import pytest

from bdnb.report import arena, arena_curves, sortable
from tests.analysis.test_arena import BAD, CONTROL, COSTLY, GOOD, PAR, runs
from tests.chrome import Chrome, in_browser
from tests.report.test_interactive_figure import opened

BOTH = ("mmcl", "mmcl_ssl")


def of(first, second, **columns):
    ends = zip(BOTH, (first, second), strict=True)
    made = [runs(PAR, path, objective=objective, **columns) for objective, path in ends]
    made += [runs(CONTROL, BAD, objective=objective, **columns) for objective in BOTH]
    return pd.concat(made, ignore_index=True)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (GOOD, BAD, "1 (PAR) keeps more on MMCL models by over 5 points, none on MMCL + SSL"),
        (BAD, GOOD, "none keeps more on MMCL models by over 5 points, 1 (PAR) on MMCL + SSL"),
        (GOOD, GOOD, "and 2 (PAR; MMCL alone) as much on both"),
    ],
)
def test_the_sentence_follows_the_rows(first, second, said):
    found = arena.answer(arena.entries(of(first, second))).data
    assert "Of 2 ways of cleaning that were run on models of both objectives" in found
    assert said in found


def test_a_way_whose_best_lie_at_an_edge_is_said_to():
    rows = pd.concat([of(GOOD, BAD), runs(PAR, BAD, lr=1e-3)])
    found = arena.answer(arena.entries(rows)).data
    assert "1 (PAR, best at an edge of its learning rates) keeps more on MMCL" in found


def test_a_sentence_that_says_nothing_is_decided_says_so_plainly():
    rows = of(GOOD, BAD)
    two = rows[(rows["seed"] < 2) & (rows["defence"] == "par")]
    two.loc[(two["seed"] == 1) & (two["objective"] == "mmcl") & (two["epoch"] > 0), "accuracy"] = 0
    found = arena.answer(arena.entries(two)).data
    assert "**2 seeds of 1 attack decide nothing about the 1 way of cleaning compared" in found
    assert "only `badnet` has rows: of others nothing is known." in found
    found = arena.answer(arena.entries(two[two["seed"] == 0])).data
    assert "**1 seed of 1 attack decides nothing" in found
    found = arena.answer(arena.entries(rows[rows["defence"] == "par"])).data
    assert "Of 1 way of cleaning that was run on models of both" in found
    assert "None is shown to be better than MMCL alone" in found


def test_attacks_with_rows_are_named():
    both = pd.concat([of(GOOD, BAD), of(GOOD, BAD, attack="sig", seeds=(0,))])
    found = arena.answer(arena.entries(both)).data
    assert "*Attacks*: `badnet`; `sig` have rows." in found
    assert "(2 attacks with 4 seeds in all)" in found
    failed = pd.concat([of(GOOD, BAD), of(GOOD, BAD, attack="sig", asr=50.0)])
    found = arena.answer(arena.entries(failed)).data
    assert "*Attacks*: `badnet`; `sig` have rows." in found


def test_how_sure_the_answer_is_stands_in_it():
    found = arena.answer(arena.entries(pd.concat([of(GOOD, BAD), of(COSTLY, BAD, attack="sig")])))
    assert (
        "the rule was asked 4 times and decided 2; of these a plain 95 % interval decides none"
        in (found.data)
    )
    two = of(GOOD, BAD, seeds=(0, 1))
    assert "of these a plain 95 % interval decides 2." in arena.answer(arena.entries(two)).data
    none = arena.answer(arena.entries(of(GOOD, BAD, seeds=(0,)))).data
    assert "the rule was asked 4 times and decided 0.\n" in none


def test_ways_without_a_control_of_their_length_are_named():
    short = [runs(("clp", "mmcl"), GOOD, objective=one, steps=0) for one in BOTH]
    found = arena.answer(arena.entries(pd.concat([of(GOOD, BAD), *short]))).data
    assert "on one: 1 (PAR). No control of their length at its frozen setting: CLP." in found
    assert "No control" not in arena.answer(arena.entries(of(GOOD, BAD))).data


def test_what_keeps_most_says_over_how_many_attacks_and_whom_it_leaves_out():
    sig = [runs(("mine", "mmcl"), GOOD, objective=one, attack="sig") for one in BOTH]
    found = arena.answer(arena.entries(pd.concat([of(GOOD, COSTLY), *sig]))).data
    assert "most is kept on MMCL by PAR (100 %; next MMCL alone, 0 %) and on MMCL + SSL by" in found
    assert "by PAR (50 %; next MMCL alone, 0 %), in the mean over 1 attack" in found
    assert "on the 3 models of each objective that all 2 ways compared were run on, the" in found
    assert "tuned on among them. Of so few attacks no order is known." in found
    assert "in the mean over 1 attack, on the 3 models of each objective" in found
    assert "Left out of this comparison: mine (not tuned)." in found
    assert "Left out" not in arena.answer(arena.entries(of(GOOD, COSTLY))).data
    untuned = arena.answer(arena.entries(of(GOOD, BAD, attack="sig"))).data
    assert "No way was run on both objectives at the setting frozen for it." in untuned


def test_an_interval_over_two_seeds_is_not_shown():
    html = arena.leaderboard(arena.entries(runs(PAR, GOOD, seeds=(0, 1)))).data
    assert ">100.0<" in html
    assert " to " not in html.split("</style>")[1].split("<script>")[0]


def test_what_stopping_blindly_costs_is_by_the_defences_own_rule():
    par = arena.answer(arena.entries(of(BAD, GOOD))).data  # its best accuracy is at its best epoch
    assert "costs 0 points on average, at most 0" in par
    mine = pd.concat([runs(("mine", "mmcl"), GOOD, objective=objective) for objective in BOTH])
    last = arena.answer(arena.entries(mine)).data  # the backdoor is back by its last epoch
    assert "costs 100 points on average, at most 100 (1 line of the table" in last


def test_what_stopping_blindly_costs_is_of_lines_with_all_settings_and_not_of_those_tuned_on():
    mine = ("mine", "mmcl")
    both = [runs(mine, GOOD, lr=lr) for lr in (3e-4, 1e-3)]
    both += [runs(mine, COSTLY, objective="mmcl_ssl")]
    found = arena.answer(arena.entries(pd.concat(both))).data
    assert "What picking blindly costs is not known: the table has no line with all" in found
    both += [runs(mine, COSTLY, objective="mmcl_ssl", lr=1e-3)]
    found = arena.answer(arena.entries(pd.concat(both))).data
    assert "costs 0 points on average, at most 0 (1 line of the table" in found


def test_one_objective_alone_says_nothing_of_both():
    assert (
        "can be compared across objectives yet" in arena.answer(arena.entries(runs(PAR, GOOD))).data
    )
    assert (
        "can be compared across objectives yet" in arena.answer(arena.entries(pd.DataFrame())).data
    )


def test_the_table_has_an_entry_a_cell():
    html = arena.leaderboard(arena.entries(of(GOOD, BAD))).data
    assert html.count("<tr>") == 1 + 4
    assert "100.0 (100.0 to 100.0)" in html
    assert 'data-column="1"' in html


def test_a_line_says_how_many_settings_it_has_and_where_they_were_tuned():
    rows = [runs(PAR, GOOD), runs(PAR, BAD, lr=1e-3), runs(PAR, GOOD, attack="sig")]
    rows += [runs(("clp", "mmcl"), GOOD, attack="sig"), runs(PAR, GOOD, attack="no", asr=20.0)]
    html = arena.leaderboard(arena.entries(pd.concat(rows))).data
    assert html.count("(tuned here)") == 2  # in the cell and in its key to sort by
    assert "PAR (edge) (tuned here)" in html
    assert ">CLP (not tuned)<" in html
    assert ">PAR<" in html
    assert html.count(">1 of 2<") == 2
    assert html.count(">2 of 2<") == html.count(">1 of 1<") == 1


def test_an_attack_that_failed_stands_there_without_numbers():
    made = arena.entries(pd.concat([runs(PAR, GOOD, asr=50.0), runs(PAR, GOOD, attack="sig")]))
    html = arena.leaderboard(made).data
    assert "badnet (failed)" in html
    assert arena.leaderboard(made.iloc[:1]).data.count("–") >= 6


def test_a_loss_is_named_where_a_defence_has_several():
    made = pd.concat([runs(("l2", loss), GOOD) for loss in BOTH])
    assert set(arena.named(made)) == {"l2, MMCL", "l2, MMCL + SSL"}
    assert set(arena.named(runs(("my_own", "mmcl"), GOOD))) == {"my own"}
    assert set(arena.named(runs(("drop", ""), GOOD))) == {"trained anew without suspects"}


def test_a_column_sorts_by_its_numbers_not_by_their_words():
    made = arena.entries(runs(PAR, GOOD, seeds=(0, 1)))
    frame = pd.DataFrame({"kept": made["kept"], "x": [1234.5], "y": [float("nan")], "z": ["<b>"]})
    frame = frame.assign(whole=[1260], part=[29.0])
    html = sortable.table(frame, ["z"]).data
    assert 'data-sort="100' in html
    assert 'data-sort="1234.5">1,234.5<' in html
    assert ">1,260<" in html
    assert ">29.0<" in html
    assert 'data-sort="">–<' in html
    assert "<option>&lt;b&gt;</option>" in html
    assert "<b>" not in html


@in_browser
@pytest.mark.browser
def test_the_table_sorts_and_filters_and_two_curves_are_drawn_offline(tmp_path):
    rows = of(GOOD, BAD)
    page_html = arena.leaderboard(arena.entries(rows)).data
    (tmp_path / "table.html").write_text(f'<meta charset="utf-8">{page_html}')
    shown = "[...document.querySelectorAll('tbody tr')].filter(r => !r.hidden)"
    column = "[...document.querySelectorAll('th')].findIndex(h => h.innerText.startsWith('kept'))"
    kept = f"{shown}.map(r => +r.cells[{column}].dataset.sort)"
    with Chrome(tmp_path / "profile") as page:
        page.open((tmp_path / "table.html").as_uri())
        head = f"document.querySelectorAll('th button')[{column}]"
        page.js(f"{head}.click(), {head}.click()")
        assert page.js(kept) == pytest.approx([0, 0, 0, 100])
        page.js(f"{head}.click()")
        assert page.js(kept) == pytest.approx([100, 0, 0, 0])
        menu = "document.querySelectorAll('select')[1]"
        page.js(f"{menu}.value = 'MMCL', {menu}.dispatchEvent(new Event('change'))")
        assert page.js(kept) == pytest.approx([100, 0])
        assert (page.errors, page.requests) == ([], [])
        opened(page, tmp_path, arena_curves.curves(rows).spec)
        page.wait("document.querySelectorAll('.chart svg .mark-line path').length == 4")
        assert page.js("document.querySelectorAll('form select').length") == 3
        page.picture(tmp_path / "picture.png")
        assert (page.errors, page.requests) == ([], [])
