"""The sentence under a page's question: its numbers by hand, and what it says of a verdict."""

import math

import pandas as pd

from bdnb.analysis import conclusions
from bdnb.report import answers, scoreboard
from tests.analysis.test_conclusions import CLEAN, COSTLY, STRONG, WEAK, runs


def cleaned(weak=CLEAN, strong=COSTLY) -> pd.DataFrame:
    made = runs(WEAK, weak).assign(pretrain_objective="mmcl")
    return pd.concat([made, runs(STRONG, strong).assign(pretrain_objective="mmcl_ssl")])


def test_the_headline_says_what_both_keep_their_difference_and_the_verdict():
    said = answers.cleaned(cleaned()).data
    kept = conclusions.verdicts(cleaned()).set_index("id")["ours"]
    assert f"pre-trained with MMCL keeps **{kept['C1']:.1f} %** of its accuracy" in said
    assert f"pre-trained with MMCL + SSL keeps **{kept['C2']:.1f} %** of its accuracy" in said
    assert f"The difference is **{kept['C0']:.1f} points** (3 seeds" in said
    assert "The pre-training objective decides what cleaning costs here." in said
    assert said.endswith("Models pre-trained with MMCL are cleaned at no cost.**")
    alike = answers.cleaned(cleaned(strong=CLEAN)).data
    assert "The MMCL + SSL model does not pay 5 points more for it here." in alike
    costly = answers.cleaned(cleaned(weak=COSTLY)).data
    assert costly.endswith("are not cleaned for free here.**")
    turned = answers.cleaned(cleaned(weak=COSTLY, strong=CLEAN)).data
    assert "It is the MMCL model that pays more for it here." in turned


def test_the_headline_of_one_model_has_no_difference():
    said = answers.cleaned(cleaned().query("poisoned == @WEAK")).data
    assert "The difference" not in said
    assert "Nothing is recorded" in answers.cleaned(pd.DataFrame()).data


def test_models_of_one_objective_are_told_apart_and_can_be_left_out():
    label = runs("train_label_mmcl", COSTLY).assign(pretrain_objective="mmcl")
    both = pd.concat([cleaned(), label])
    said = answers.cleaned(both).data
    assert f"the model pre-trained with MMCL (`{WEAK}`) keeps" in said
    assert "the one pre-trained with MMCL (`train_label_mmcl`) keeps" in said
    assert answers.cleaned(both, [WEAK, STRONG]).data == answers.cleaned(cleaned()).data


def test_a_model_whose_asr_is_not_known_has_no_price():
    assert "ASR not measured" in answers.cleaned(cleaned().assign(asr=math.nan)).data


def test_plain_cleaning_of_the_main_study_makes_table_2():
    mixed = pd.concat([cleaned(), cleaned().assign(study="nonideal")])
    mixed = pd.concat([mixed, cleaned().assign(defence="deep_cluster")])
    assert len(answers.main_study(mixed)) == len(cleaned())
    assert answers.main_study(pd.DataFrame()).empty


def test_trained_models_are_compared_with_those_without_poison():
    kept = pd.DataFrame(
        {
            "experiment": ["train_mmcl", "train_mmcl_ssl", "train_clean"],
            "objective": ["mmcl", "mmcl_ssl", "mmcl"],
            "asr": [98.0, 96.0, 0.2],
            "accuracy": [66.0, 67.0, 70.0],
            "seed": 0,
            "pairs": 0,
            "epochs": 6,
        }
    )
    said = answers.trained(kept).data
    assert said.startswith("**The backdoor takes** (mean of 1 seed). MMCL: ASR 98.0 %")
    assert "Trained as long without poison, accuracy is 70.0 % (1 seed)." in said
    shorter = answers.trained(kept.assign(pairs=[0, 0, 1000], epochs=[6, 6, 1])).data
    assert "without poison" not in shorter  # as at scale quick
    assert "does not take in every model" in answers.trained(kept.assign(asr=[98.0, 9.0, 0])).data
    assert "Nothing is recorded" in answers.trained(pd.DataFrame()).data
    assert "mine: ASR 97.0 %" in answers.trained(kept.assign(objective="mine")).data


def test_of_runs_that_ever_are_clean_those_that_end_so_are_counted_by_objective():
    rows = pd.DataFrame(
        {
            "run": ["a", "a", "b", "b"],
            "pretrain_objective": "mmcl",
            "seed": 0,
            "epoch": [0, 1, 0, 1],
            "accuracy": 60.0,
            "asr": [90.0, 4.0, 90.0, 40.0],
        }
    )
    start = "**Of the runs that have an epoch at ASR ≤ 5 %, these end so: "
    assert answers.stopped(rows).data.startswith(f"{start}1 of 1 pre-trained with MMCL.**")
    back = pd.concat([rows, rows[:1].assign(epoch=2, asr=60.0)], ignore_index=True)
    said = answers.stopped(back).data
    assert said.startswith(f"{start}0 of 1 pre-trained with MMCL.**")
    assert "In the mean of all runs, 2 pre-trained with MMCL, ASR ends 28.0 points above" in said
    other = rows[2:].assign(run="c", pretrain_objective="mmcl_ssl")
    both = pd.concat([rows, other])
    assert "1 of 1 pre-trained with MMCL; 0 of 0" in answers.stopped(both).data
    assert answers.stopped(rows[2:]).data.startswith("**None of 1 run has an epoch at ASR ≤ 5 %")
    assert "no backdoor" not in answers.stopped(rows).data
    assert "had a backdoor" in answers.stopped(rows.assign(asr=1.0)).data
    assert "Nothing is recorded" in answers.stopped(pd.DataFrame()).data


def test_additions_are_counted_by_what_they_buy():
    tried = runs(STRONG, CLEAN).assign(pretrain_objective="mmcl_ssl", study="twice_data")
    said = answers.defended(pd.concat([cleaned(), tried])).data
    assert said.startswith("**Of 1 addition to CleanCLIP, 1 buys the MMCL + SSL model 5 points")
    assert "or more (twice the cleaning data).**" in said
    little = runs(STRONG, COSTLY).assign(pretrain_objective="mmcl_ssl", study="twice_data")
    said = answers.defended(pd.concat([cleaned(), little])).data
    assert "none is shown to buy" in said
    assert "; 1 does not (twice the cleaning data).**" in said
    assert "Nothing is recorded" in answers.defended(cleaned()).data


def test_the_scoreboard_has_a_line_a_conclusion_with_a_dot_a_seed():
    made = conclusions.verdicts(cleaned())
    html = scoreboard.board(made).data
    assert html.count('<div class="verdict ') == 17
    first = html.partition("<b>C0</b>")[2].partition("<b>C1</b>")[0]
    assert first.count("<circle") == 3
    assert 'href="clean.html"' in first
    assert "href" not in scoreboard.board(made, links=False).data
    words = [html.partition(f"<b>{name}</b>")[0].rpartition('class="word">')[2] for name in made.id]
    assert all(
        word.startswith(f"{scoreboard.MARKS[verdict.partition(' (')[0]][0]} ")
        for word, verdict in zip(words, made["verdict"], strict=True)
    )


def test_a_seed_beyond_the_axis_is_told_by_its_own_number():
    made = conclusions.verdicts(cleaned(weak=[(90, 50), (1, 6)]).assign(loss="ssl"))
    line = scoreboard.board(made[made["id"] == "C4"]).data
    assert "by seed: +80.0, " in line  # it keeps 10 %, and the edge is 90 %
    assert 'cx="104.0"' in line  # at the end of the axis


def test_the_number_shown_is_that_of_the_claim_that_decides():
    def shown(weak, tried):
        own = runs(STRONG, tried).assign(pretrain_objective="mmcl_ssl", study="twice_data")
        made = conclusions.verdicts(pd.concat([cleaned(weak=weak), own]))
        line = scoreboard.board(made[made["id"] == "C13"]).data
        return line.partition('data-name="ours">')[2].partition("</span>")[0]

    # It buys nothing, but the MMCL model keeps no more; then it buys a lot.
    second = "kept accuracy, MMCL with plain CleanCLIP minus MMCL + SSL with it: 0.0 points"
    assert shown(COSTLY, COSTLY).startswith(second)
    assert shown(CLEAN, CLEAN).startswith(
        "kept accuracy, with the best of its settings minus with plain"
    )


def test_the_tally_counts_every_conclusion_once():
    said = scoreboard.tally(conclusions.verdicts(cleaned())).data
    told = said.removeprefix("Of the paper's 16 conclusions: ").removeprefix("**none holds**; ")
    assert sum(int(part.split("**")[1].split()[0]) for part in told.split(";")) == 16
    alone = conclusions.verdicts(cleaned())
    assert "**1 holds** (C1)" in scoreboard.tally(alone[alone["id"] == "C1"]).data
    assert "**none holds**" not in said
    none = scoreboard.tally(conclusions.verdicts(cleaned(weak=COSTLY, strong=CLEAN))).data
    assert "**none holds**" in none
    assert "✓" not in none


def test_a_page_s_board_is_of_the_conclusions_about_its_models():
    vit = cleaned().replace({"poisoned": {WEAK: "train_vit_mmcl", STRONG: "train_vit_mmcl_ssl"}})
    html = scoreboard.of_models(vit).data
    assert "<b>C6</b>" in html
    assert html.count("<b>C") == 1
    assert "None of the paper" in scoreboard.of_models(cleaned().assign(poisoned="mine.pt")).data


def test_a_conclusion_is_judged_by_the_first_scale_that_has_rows_for_it(monkeypatch):
    vit = cleaned().replace({"poisoned": {WEAK: "train_vit_mmcl", STRONG: "train_vit_mmcl_ssl"}})
    made = {"big": cleaned(), "small": pd.concat([cleaned(strong=CLEAN), vit])}
    monkeypatch.setattr(scoreboard.results, "rows_of_scale", lambda one: (None, made[one]))
    judged = scoreboard.judged(["big", "small"]).set_index("id")
    assert judged.loc[["C0", "C6", "C9"], "scale"].tolist() == ["big", "small", "big"]
    assert judged.loc["C0", "verdict"] == "holds"


def test_both_models_are_told_at_the_seeds_that_both_have():
    more = runs(WEAK, COSTLY, seeds=(3, 4)).assign(pretrain_objective="mmcl")
    assert answers.cleaned(pd.concat([cleaned(), more])).data == answers.cleaned(cleaned()).data


def test_runs_that_are_not_finished_are_not_told():
    rows = cleaned().assign(finished="yes")
    begun = rows[rows["epoch"] == 0].assign(run="begun", finished=None)
    both = pd.concat([rows, begun])
    assert answers.stopped(both).data == answers.stopped(rows).data
    assert answers.cleaned(both).data == answers.cleaned(rows).data


def test_a_backdoor_takes_in_each_model_or_not_in_every():
    about = {"experiment": "train_mmcl", "objective": "mmcl", "pairs": 9, "epochs": 1}
    kept = pd.DataFrame({"seed": [0, 1, 2], "asr": [100.0, 100, 0], "accuracy": 60.0}).assign(
        **about
    )
    assert "**The backdoor does not take in every model**" in answers.trained(kept).data
    assert "**The backdoor takes**" in answers.trained(kept[:2]).data
