"""Paragraphs on where ours differ from the paper: their places, their numbers, and none missing."""

import math
import re

import pandas as pd
import pytest

from bdnb.analysis import conclusions
from bdnb.report import explanations, regimes
from bdnb.runs import experiments, shipped
from bdnb.runtime.errors import ConfigError
from tests.analysis.test_conclusions import CLEAN, COSTLY, STRONG, WEAK, runs


@pytest.fixture
def rows():
    return pd.concat([runs(WEAK, COSTLY), runs(STRONG, COSTLY)], ignore_index=True)


@pytest.fixture
def shipped_rows(tmp_path, monkeypatch):
    """Rows that are shipped with the book: a scale's name -> those of training and of cleaning."""

    def rows_of(scale):
        shipped.unpack(scale, tmp_path)
        monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
        return experiments.rows_of_scale(scale)

    return rows_of


@pytest.fixture
def cleaned(shipped_rows):
    """CleanCLIP with its own loss at ``laptop``, all studies."""
    _, rows = shipped_rows("laptop")
    return rows[(rows["defence"] == "cleanclip") & (rows["loss"] == "mmcl_ssl")]


def write(scale, text):
    path = shipped.folder(scale) / "why.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_each_difference_has_its_numbers_and_its_paragraph(fresh, rows):
    write("tiny", "# Title\n\n## C1\nOurs is {C1.ours:.0f}, of {C1.n} seeds.\n\n## C9\nUnused.\n")
    said = explanations.differences(rows, pd.DataFrame(), "tiny").data
    assert "**C1, does not hold.** CleanCLIP cleans MMCL models" in said
    assert "Ours is -50, of 3 seeds." in said
    assert "≤ 5 %" in said
    assert "Unused" not in said
    assert "**C2" not in said


def test_without_a_difference_it_says_so(fresh):
    said = explanations.differences(runs(WEAK, CLEAN), pd.DataFrame(), "tiny").data
    assert "No conclusion that has rows here differs" in said
    assert (
        "No conclusion that has rows" in explanations.differences(pd.DataFrame(), rows, "tiny").data
    )


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("## C16\nText", "section C16"),
        ("## C1\nText\n## C1\nText", "section C1"),
        ("## C1\n{C1.price}", "C1.ours"),
        ("## C1\n{C77.ours}", "C1.ours"),
        ("## C1\n{C1.ours", "C1.ours"),
    ],
)
def test_a_section_or_placeholder_that_is_none_is_named(fresh, rows, text, named):
    write("tiny", text)
    with pytest.raises(ConfigError, match=re.escape(named)):
        explanations.differences(rows, pd.DataFrame(), "tiny")


@pytest.mark.parametrize("scale", shipped.scales())
def test_what_is_written_on_shipped_rows_is_on_their_differences_and_types_no_number(
    scale, shipped_rows
):
    texts = explanations.paragraphs(scale)
    train, clean = shipped_rows(scale)
    judged = conclusions.verdicts(clean, train).set_index("id")
    differ = set(judged.index[judged["verdict"] == "does not hold"])
    assert texts.keys() >= differ
    assert not [name for name in texts if judged.loc[name, "verdict"] == "holds"]
    said = explanations.differences(clean, train, scale).data
    assert all(f"**{name}, " in said for name in texts)
    assert not re.search(r"\bnan\b|\binf\b", said)
    for text in texts.values():
        assert not re.search(r"(?<![\w.{])\d", re.sub(r"\{[^}]*\}|\bC\d+|`[^`]*`", "", text))


def test_what_is_said_of_mmcl_alone_is_so(shipped_rows):
    _, rows = shipped_rows("laptop")
    alone = rows[(rows["study"] == "main") & (rows["loss"] == "mmcl")]
    lowest = pd.concat([conclusions.asr_kept(p)(alone) for p in (WEAK, STRONG)])
    assert (lowest < 50).sum() >= 2
    assert (lowest > 90).sum() >= 2
    assert alone["lr"].nunique() == 1


def test_what_is_said_of_fine_tuning_is_so(cleaned):
    weak, strong = (
        conclusions.change(f"train_finetune_{o}")(cleaned) for o in ("mmcl", "mmcl_ssl")
    )
    assert (pd.concat([weak, strong]) < -10).all()
    assert (len(weak), (strong < weak).sum()) == (3, 2)


def test_what_is_said_of_vits_is_so(cleaned):
    weak, strong = (conclusions.change(f"train_vit_{o}")(cleaned) for o in ("mmcl", "mmcl_ssl"))
    assert (pd.concat([weak, strong]) < -10).all()
    contrast = sorted(weak - strong)
    assert contrast[2] > 5
    assert all(abs(points) < 2 for points in contrast[:2])
    before = cleaned[cleaned["epoch"] == 0].groupby("poisoned")["accuracy"]
    assert before.max()[["train_vit_mmcl", "train_vit_mmcl_ssl"]].max() < 50
    assert before.min()[[WEAK, STRONG]].min() > 60


def test_what_is_said_of_label_consistent_poison_is_so(cleaned):
    weak, strong = (conclusions.change(f"train_label_{o}")(cleaned) for o in ("mmcl", "mmcl_ssl"))
    assert len(weak) == 3
    assert (strong < weak).all()
    assert (weak < -10).all()


def test_what_is_said_of_the_rebound_is_so(cleaned):
    back = conclusions.rebound_contrast(STRONG, WEAK)(cleaned[cleaned["study"] == "main"])
    assert (back > 0).mean() > 0.5
    assert not (back > 0).all()


def test_what_is_said_of_poisons_is_so(cleaned):
    left = cleaned[(cleaned["study"] == "nonideal") & (cleaned["poisons"] > 0)]
    fewest = left[left["poisons"] == left["poisons"].min()]
    assert fewest["lr"].nunique() == 2
    main = cleaned[cleaned["study"] == "main"]
    none = main[main["lr"].isin(fewest["lr"]) & main["seed"].isin(fewest["seed"])]
    for name in (WEAK, STRONG):
        assert (conclusions.change(name)(none) > -math.inf).all()
        assert (conclusions.change(name)(fewest) > -math.inf).sum() == 1
    for some in (fewest, none):
        start = some[some["epoch"] == 0].groupby(["poisoned", "seed"])["asr"].mean()
        kept = conclusions.asr_kept(WEAK)(some)
        assert kept.to_dict() == pytest.approx(start[WEAK].to_dict())
    rises = conclusions.poisons_hurt(STRONG)(cleaned)
    assert (rises > 0).any()
    assert not (rises > 0).all()


def test_what_is_said_of_twice_the_data_is_so(cleaned):
    twice = conclusions.change(STRONG)(cleaned[cleaned["study"] == "twice_data"])
    once = conclusions.change(STRONG)(cleaned[cleaned["study"] == "main"])[twice.index]
    assert (twice > once).all()


def test_what_is_said_of_five_times_the_epochs_is_so(cleaned):
    more = cleaned[cleaned["study"] == "more_epochs"]
    five = conclusions.change(STRONG)(more)
    usual = cleaned[(cleaned["study"] == "main") & cleaned["lr"].isin(more["lr"])]
    assert more["lr"].nunique() == 1
    assert len(five) == 3
    assert (five[five > -math.inf] < -10).sum() == 2
    assert (conclusions.change(STRONG)(usual) == -math.inf).all()


def test_what_is_said_of_the_search_is_so(shipped_rows):
    _, clean = shipped_rows("search")
    found = regimes.compare(regimes.settings(clean)).set_index("setting")
    longer = found.loc["c50_longer", ["change_mmcl", "change_mmcl_ssl"]]
    assert (longer >= 0).all()
    assert (found.loc["c50_longer", ["asr_before_mmcl", "asr_before_mmcl_ssl"]] > 90).all()
    changes = found[["change_mmcl", "change_mmcl_ssl"]]
    before = found[["asr_before_mmcl", "asr_before_mmcl_ssl"]]
    for less in ("c50_rare", "c50_small"):
        assert (before.loc[less] < before.loc["c50"]).all()
        assert (changes.loc["c50"] < changes.loc[less]).all()
        assert (changes.loc[less] < 0).all()
        assert found.loc[less, "seeds"] == 1
    back = found["rebound_mmcl_ssl"] - found["rebound_mmcl"]
    assert back.idxmax() == "c150_long"
    assert found["train_epochs"].astype(int).idxmax() == "c150_long"
