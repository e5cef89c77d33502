"""Paragraphs on where ours differ from the paper: their places, their numbers, and none missing."""

import math
import re

import pandas as pd
import pytest

from bdnb import experiments, frontier, regimes, shipped, why
from bdnb.configs import ConfigError
from tests.test_frontier import CLEAN, COSTLY, STRONG, WEAK, runs


@pytest.fixture
def rows():
    return pd.concat([runs(WEAK, COSTLY), runs(STRONG, COSTLY)], ignore_index=True)


def write(scale, text):
    path = shipped.folder(scale) / "why.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_each_difference_has_its_numbers_and_its_paragraph(fresh, rows):
    write("tiny", "# Title\n\n## C1\nOurs is {C1.ours:.0f}, of {C1.n} seeds.\n\n## C9\nUnused.\n")
    said = why.differences(rows, pd.DataFrame(), "tiny").data
    assert "**C1, does not hold.** CleanCLIP cleans MMCL models" in said
    assert "Ours is -50, of 3 seeds." in said
    assert "≤ 5 %" in said
    assert "Unused" not in said
    assert "**C2" not in said


def test_without_a_difference_it_says_so(fresh):
    said = why.differences(runs(WEAK, CLEAN), pd.DataFrame(), "tiny").data
    assert "No conclusion that has rows here differs" in said
    assert "No conclusion that has rows" in why.differences(pd.DataFrame(), rows, "tiny").data


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
        why.differences(rows, pd.DataFrame(), "tiny")


@pytest.mark.parametrize("scale", shipped.scales())
def test_what_is_written_on_shipped_rows_is_on_their_differences_and_types_no_number(
    scale, tmp_path, monkeypatch
):
    texts = why.paragraphs(scale)
    shipped.unpack(scale, tmp_path)
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    train, clean = experiments.rows_of_scale(scale)
    judged = frontier.verdicts(clean, train).set_index("id")
    differ = set(judged.index[judged["verdict"] == "does not hold"])
    assert texts.keys() >= differ
    assert not [name for name in texts if judged.loc[name, "verdict"] == "holds"]
    said = why.differences(clean, train, scale).data
    assert all(f"**{name}, " in said for name in texts)
    assert not re.search(r"\bnan\b|\binf\b", said)
    for text in texts.values():
        assert not re.search(r"(?<![\w.{])\d", re.sub(r"\{[^}]*\}|\bC\d+|`[^`]*`", "", text))


def test_what_the_paragraphs_say_of_single_seeds_is_so(tmp_path, monkeypatch):
    shipped.unpack("laptop", tmp_path)
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    _, rows = experiments.rows_of_scale("laptop")
    ideal = rows[(rows["study"] == "main") & (rows["defence"] == "cleanclip")]
    alone = ideal[ideal["loss"] == "mmcl"]
    lowest = pd.concat([frontier.asr_kept(p)(alone) for p in ("train_mmcl", "train_mmcl_ssl")])
    assert (lowest < 50).sum() >= 2
    assert (lowest > 90).sum() >= 2
    assert alone["lr"].nunique() == 1
    both = ideal[ideal["loss"] == "mmcl_ssl"]
    back = frontier.rebound_contrast("train_mmcl_ssl", "train_mmcl")(both)
    assert (back > 0).mean() > 0.5
    assert not (back > 0).all()
    five = frontier.change("train_mmcl_ssl")(rows[rows["study"] == "more_epochs"])
    assert (five > -30).any()
    assert (five == -math.inf).any()


def test_what_the_paragraph_says_of_poisons_is_so(tmp_path, monkeypatch):
    shipped.unpack("laptop", tmp_path)
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    _, rows = experiments.rows_of_scale("laptop")
    rows = rows[(rows["defence"] == "cleanclip") & (rows["loss"] == "mmcl_ssl")]
    fewest, none = frontier._fewest(rows), frontier._ideal(rows)
    assert fewest["lr"].nunique() == 2
    for name in ("train_mmcl", "train_mmcl_ssl"):
        assert (frontier.change(name)(none) > -math.inf).all()
        assert (frontier.change(name)(fewest) > -math.inf).sum() == 1
    for some in (fewest, none):
        weak = some[some["poisoned"] == "train_mmcl"]
        start = weak[weak["epoch"] == 0].set_index("seed")["accuracy"]
        kept = weak[weak["accuracy"] >= 0.9 * weak["seed"].map(start.groupby(level=0).first())]
        assert set(kept["epoch"]) == {0}
    rises = frontier.poisons_hurt("train_mmcl_ssl")(rows)
    assert (rises > 0).any()
    assert not (rises > 0).all()


def test_what_the_paragraphs_say_of_the_search_is_so(tmp_path, monkeypatch):
    shipped.unpack("search", tmp_path)
    monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
    _, clean = experiments.rows_of_scale("search")
    found = regimes.compare(regimes.settings(clean)).set_index("setting")
    longer = found.loc["c50_longer", ["change_mmcl", "change_mmcl_ssl"]]
    assert (longer >= 0).all()
    assert (found.loc["c50_longer", ["asr_before_mmcl", "asr_before_mmcl_ssl"]] > 90).all()
    back = found["rebound_mmcl_ssl"] - found["rebound_mmcl"]
    assert back.idxmax() == "c150_long"
    assert found["train_epochs"].astype(int).idxmax() == "c150_long"
