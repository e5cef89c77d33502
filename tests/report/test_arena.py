"""The arena's page: its table, its sentence, and which runs a reader's defence asks for."""

import json

import pandas as pd
import pytest

from bdnb.analysis import blind
from bdnb.analysis.arena import CELL
from bdnb.report import arena, arena_runs, arena_ways, sortable
from bdnb.runs import experiments
from bdnb.runtime.errors import ConfigError
from tests.analysis.test_arena import BAD, CONTROL, GOOD, PAR, runs
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
    assert "Only `badnet` has rows: of other attacks nothing is known." in found
    assert "None is shown to be better than MMCL alone" in found


def test_attacks_with_rows_are_named():
    both = pd.concat([of(GOOD, BAD), of(GOOD, BAD, attack="sig")])
    assert "Attacks with rows: `badnet`; `sig`." in arena.answer(arena.entries(both)).data


def test_an_interval_over_two_seeds_is_not_shown():
    html = arena.leaderboard(arena.entries(runs(PAR, GOOD, seeds=(0, 1)))).data
    assert ">100.0<" in html
    assert " to 100.0)" not in html


def test_what_stopping_blindly_costs_is_by_the_defences_own_rule():
    par = arena.answer(arena.entries(of(GOOD, BAD))).data  # its best accuracy is at its best epoch
    assert "costs 0 points on average, at most 0" in par
    last = of(GOOD, BAD).assign(defence="mine")  # the backdoor is back by its last epoch
    assert "costs 50 points on average, at most 100" in arena.answer(arena.entries(last)).data


def test_one_objective_alone_says_nothing_of_both():
    assert "was run on models of both" in arena.answer(arena.entries(runs(PAR, GOOD))).data
    assert "was run on models of both" in arena.answer(arena.entries(pd.DataFrame())).data


def test_the_table_has_an_entry_a_cell():
    html = arena.leaderboard(arena.entries(of(GOOD, BAD))).data
    assert html.count("<tr>") == 1 + 4
    assert "100.0 (100.0 to 100.0)" in html
    assert 'data-column="1"' in html


def test_each_blind_rule_has_words_for_the_epoch_that_it_keeps():
    assert set(arena_ways.BLIND) == set(blind.RULES)


def test_each_way_has_a_line_of_rule_knowledge_and_paper():
    both = arena_ways.ways(arena.entries(of(GOOD, BAD))).data
    assert len(both) == 2
    par = both.set_index("way of cleaning").loc["PAR"]
    assert "arXiv 2412.00727" in par["paper"]
    assert par["blind pick"].startswith("the most accurate epoch")
    assert par["knows"] == "clean pairs"
    assert par["runs"] == len(of(GOOD, BAD).query("defence == 'par'")["run"].unique())
    mine = arena_ways.ways(arena.entries(runs(("mine", "mmcl_ssl"), GOOD))).data.iloc[0]
    assert (mine["paper"], mine["knows"]) == ("yours", "not said")
    assert mine["blind pick"].startswith("the last epoch")
    assert "not tuned" not in par["blind pick"]
    other = arena_ways.ways(arena.entries(runs(PAR, GOOD, attack="sig"))).data.iloc[0]
    # Settings are frozen on BadNet.
    assert other["blind pick"] == "the most accurate epoch, not tuned"
    assert "Nothing" in arena_ways.ways(pd.DataFrame()).data


def test_an_attack_that_failed_stands_there_without_numbers():
    made = arena.entries(pd.concat([runs(PAR, GOOD, asr=50.0), runs(PAR, GOOD, attack="sig")]))
    html = arena.leaderboard(made).data
    assert "badnet (failed)" in html
    assert "attack failed: badnet on MMCL" in arena.missing(made).data
    assert arena.leaderboard(made.iloc[:1]).data.count("–") >= 6


def test_what_is_missing_is_said():
    made = pd.concat([of(GOOD, BAD), runs(PAR, GOOD, attack="sig", seeds=(0,))])
    found = arena.missing(arena.entries(made)).data
    assert "MMCL alone: no run of sig on MMCL" in found
    assert "PAR: fewer than 3 seeds of sig on MMCL" in found
    assert "no attack failed" in arena.missing(arena.entries(of(GOOD, BAD))).data


def test_what_is_planned_and_was_not_run_is_said():
    made = arena.entries(of(GOOD, BAD))
    lines = [("par", "mmcl", "badnet", True), ("clp", "mmcl", "badnet", False)]
    lines += [("", "", "sig", True), ("par", "mmcl", "sig", False)]
    plan = [(way, loss, attack, "scratch", "mmcl", ran) for way, loss, attack, ran in lines]
    planned = pd.DataFrame(plan, columns=["defence", "loss", *CELL, "ran"])
    found = arena.missing(made, planned).data
    assert "2 of 4 planned runs are there" in found
    assert "Ways not run yet: CLP. Models not cleaned yet: sig on MMCL." in found
    assert "planned" not in arena.missing(made, planned[planned["ran"]]).data


def test_the_plan_is_the_scale_s_and_what_was_run_counts(tiny):
    planned = arena_runs.planned("tiny")
    assert {"", "cleanclip"} <= set(planned["defence"])
    listed = [one for made in experiments.of_scale("tiny").values() for one in made]
    assert len(planned) == len({experiments.folder(one) for one in listed})
    ran = {experiments.folder(one) for one in listed if experiments.recorded(one)}
    assert planned["ran"].sum() == len(ran)


def test_a_loss_is_named_where_a_defence_has_several():
    made = pd.concat([runs(("l2", loss), GOOD) for loss in BOTH])
    assert set(arena.named(made)) == {"l2, MMCL", "l2, MMCL + SSL"}
    assert set(arena.named(runs(("my_own", "mmcl"), GOOD))) == {"my own"}


def test_two_ways_are_drawn_side_by_side_and_values_can_be_chosen():
    spec = arena.curves(of(GOOD, BAD)).spec
    chosen = {one["name"]: one["value"] for one in spec["params"]}
    assert chosen == {"attack": "badnet", "first": "PAR", "second": "MMCL alone"}
    points = pd.DataFrame(spec["data"]["values"])
    at = points[(points["asr"] == 5) & (points["way"] == "PAR")].set_index("objective")["kept"]
    assert at.to_dict() == {"MMCL": 100, "MMCL + SSL": 0}
    json.dumps(spec)


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


def test_a_readers_defence_is_asked_for_wherever_cleanclip_was_run(tiny):
    asked = arena_runs.asked("tiny", {"scale": "tiny", "defence": "mine", "code": "mine.py"})
    assert [(one.defence, one.poisoned) for one in asked] == [
        ("mine", "train_mmcl"),
        ("mine", "train_mmcl_ssl"),
    ]
    assert {one.code for one in asked} == {"mine.py"}
    fewer = arena_runs.asked(
        "tiny", {"defence": "par", "lr": [1e-3, 1e-4], "poisoned": "train_mmcl", "loss": "mmcl"}
    )
    assert [(one.lr, one.loss) for one in fewer] == [(1e-3, "mmcl"), (1e-4, "mmcl")]
    assert arena_runs.asked("tiny", {"scale": "tiny"}) == []
    missing = sum(not experiments.recorded(one) for one in experiments.needs(fewer[0]))
    models = "1 model" if missing else "0 models"  # another test may have trained it
    said = arena_runs.costs("tiny", fewer).data
    assert f"2 of 2 runs to do, and {models} to train first: about" in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"code": "mine.py"}, "without a defence"),
        ({"defence": "par", "pairs": 3}, "pairs: unknown"),
        ({"defence": "par", "seed": 99}, "no such run"),
        ({"defence": "par", "lr": -1.0}, "lr"),
    ],
)
def test_what_no_run_can_have_is_refused(tiny, given, said):
    with pytest.raises(ConfigError, match=said):
        arena_runs.asked("tiny", given)


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
        opened(page, tmp_path, arena.curves(rows).spec)
        page.wait("document.querySelectorAll('.chart svg .mark-line path').length == 4")
        assert page.js("document.querySelectorAll('form select').length") == 3
        page.picture(tmp_path / "picture.png")
        assert (page.errors, page.requests) == ([], [])


def test_what_only_measures_and_what_comes_after_cleaning_is_no_way_of_cleaning(monkeypatch):
    about = {"poisoned": "train_mmcl", "defence": "cleanclip", "loss": "mmcl", "study": "main"}
    kinds = {"clean_control": {}, "clean_rebound": {"study": "rebound"}}
    kinds |= {f"clean_{name}": {"defence": name} for name in ("swap", "detect")}
    frame = pd.DataFrame(
        [about | more | {"experiment": e, "run": e, "epoch": 1} for e, more in kinds.items()]
    )
    monkeypatch.setattr(arena_runs.anywhere, "rows_of_scale", lambda _: (pd.DataFrame(), frame))
    ways = arena_runs.rows("arena")
    assert ways["experiment"].tolist() == ["clean_control"]
    assert ways[CELL].to_numpy().tolist() == [["badnet", "scratch", "mmcl"]]
    others = arena_runs.rows("arena", measured=True)["experiment"]
    assert others.tolist() == ["clean_rebound", "clean_swap", "clean_detect"]
    planned = arena_runs.planned("arena").query("attack == 'badnet' and objective == 'mmcl'")
    control = planned[(planned["defence"] == "cleanclip") & (planned["loss"] == "mmcl")]
    assert len(control) == 6  # three rates, two seeds; rebound's runs stand by themselves
