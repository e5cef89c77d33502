"""Paragraphs on where ours differ from the paper: their places, their numbers, and none missing."""

import math
import re
from functools import partial

import pandas as pd
import pytest

from bdnb.analysis import arms, conclusions
from bdnb.analysis.metrics import by_seed
from bdnb.analysis.price import kept_accuracy, kept_at
from bdnb.report import compare_settings, scoreboard
from bdnb.runs import results, shipped
from bdnb.runtime.errors import ConfigError
from tests.analysis.test_conclusions import COSTLY, STRONG, WEAK, runs


@pytest.fixture
def rows():
    return pd.concat([runs(WEAK, COSTLY), runs(STRONG, COSTLY)], ignore_index=True)


@pytest.fixture
def shipped_rows(tmp_path, monkeypatch):
    """Rows that are shipped with the book: a scale's name -> those of training and of cleaning."""

    def rows_of(scale):
        shipped.unpack(scale, tmp_path)
        monkeypatch.setenv("BDNB_RUNS", str(tmp_path))
        return results.rows_of_scale(scale)

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


def test_each_paragraph_has_its_numbers(fresh, rows):
    write("tiny", "# Title\n\n## C1\nOurs is {C1.ours:.0f}, of {C1.n} seeds.\n\n## C9\nOther.\n")
    judged = conclusions.verdicts(rows)
    said = scoreboard.paragraphs("tiny", judged)
    assert said == {"C1": "Ours is 50, of 3 seeds.", "C9": "Other."}
    assert scoreboard.paragraphs("tiny", judged[judged["id"] != "C9"]) == {"C1": said["C1"]}
    assert scoreboard.paragraphs("quick", judged) == {}


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
        scoreboard.paragraphs("tiny", conclusions.verdicts(rows))


@pytest.mark.parametrize("scale", shipped.scales())
def test_what_is_written_on_shipped_rows_is_on_their_differences_and_types_no_number(
    scale, shipped_rows
):
    train, clean = shipped_rows(scale)
    made = conclusions.verdicts(clean, train)
    texts, judged = scoreboard.paragraphs(scale, made), made.set_index("id")
    differ = set(judged.index[judged["verdict"] == "does not hold"])
    if texts:
        assert texts.keys() >= differ
    assert not [name for name in texts if judged.loc[name, "verdict"] == "holds"]
    assert not re.search(r"\bnan\b|\binf\b", " ".join(texts.values()))


def test_no_number_is_typed_in_what_is_written():
    for path in shipped.folder("").glob("*/why.md"):
        _, text = path.read_text("utf-8").split("\n## ", 1)
        assert not re.search(r"(?<![\w.{])\d", re.sub(r"\{[^}]*\}|\bC\d+|`[^`]*`", "", text))


def kept(rows, name):
    return by_seed(rows[rows["poisoned"] == name], kept_accuracy)


def alike(rows, other):
    """Plain cleaning of the main study at the seeds and rates of other rows."""
    main = rows[rows["study"] == "main"]
    return main.merge(other[["seed", "lr"]].drop_duplicates())


def test_what_is_said_of_the_contrast_is_so(cleaned):
    main = cleaned[cleaned["study"] == "main"]
    weak, strong = (main[main["poisoned"] == name] for name in (WEAK, STRONG))
    shares = [partial(kept_at, threshold=t) for t in (4, 5, 7)]
    at_4, at_5, at_7 = ((by_seed(weak, one) - by_seed(strong, one)).mean() for one in shares)
    assert at_4 < 0 < at_5
    assert at_7 < 0


def test_what_is_said_of_the_losses_alone_is_so(shipped_rows):
    _, rows = shipped_rows("laptop")
    main = rows[rows["study"] == "main"]
    alone = {loss: main[main["loss"] == loss] for loss in ("mmcl", "ssl")}
    assert all(own["lr"].nunique() == 1 for own in alone.values())
    assert (kept(alone["mmcl"], WEAK) == 0).mean() > 0.5
    disagree = kept(alone["mmcl"], STRONG)
    assert disagree.min() < 10
    assert disagree.max() > 50
    for name in (WEAK, STRONG):
        assert kept(alone["ssl"], name).max() < 25
        own = alone["ssl"][alone["ssl"]["poisoned"] == name]
        assert by_seed(own, conclusions.lowest_asr).max() < 20


def test_what_is_said_of_a_larger_rate_is_so(cleaned):
    main = cleaned[(cleaned["study"] == "main") & (cleaned["poisoned"] == STRONG)]
    assert kept(main, STRONG).mean() < 75
    assert arms.at_edge(main)


def test_what_is_said_of_what_did_nothing_or_everything_is_so(shipped_rows):
    _, rows = shipped_rows("laptop")
    cluster = rows[(rows["defence"] == "deep_cluster") & (rows["epoch"] > 0)]
    assert (cluster["loss_deep_cluster"] > 0.96 * math.log(150)).all()
    l2 = rows[(rows["defence"] == "heavy_regularisation") & (rows["epoch"] > 0)]
    penalty = l2["loss_l2"] * l2["option_weight"]
    ratio = (penalty / (l2["loss_total"] - penalty)).groupby(l2["run"]).median()
    assert ratio.min() > 10
    screen = rows[(rows["defence"] == "screen") & (rows["epoch"] > 0)]
    assert sorted(screen["option_shrink"].unique())[-2:] == [0.9, 1.0]
    assert screen.loc[screen["option_shrink"] <= 0.9, "accuracy"].max() < 3
    tried = conclusions.verdicts(rows).set_index("id").loc[["C10", "C11", "C12"], "verdict"]
    assert tried.str.startswith("cannot tell here").all()


def test_what_is_said_of_twice_the_data_is_so(cleaned):
    twice = cleaned[cleaned["study"] == "twice_data"]
    once = alike(cleaned, twice)
    assert (kept(twice, STRONG) > kept(once, STRONG)).all()
    assert (kept(twice, STRONG) > kept(once, WEAK)).all()


def test_what_is_said_of_five_times_the_epochs_is_so(cleaned):
    more = cleaned[cleaned["study"] == "more_epochs"]
    assert more["lr"].nunique() == 1
    assert (kept(more, STRONG) > kept(alike(cleaned, more), STRONG)).all()


def test_what_is_said_of_the_search_is_so(shipped_rows):
    _, clean = shipped_rows("search")
    made = compare_settings.compare(compare_settings.settings(clean))
    found = made.set_index("setting").loc["c50_longer"]
    assert found["kept_mmcl"] > 100 > found["kept_mmcl_ssl"] + 5
    assert found["asr_before_mmcl"] > 90
    assert found["asr_before_mmcl_ssl"] > 90
    assert found["seeds"] == 1
