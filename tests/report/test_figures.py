"""Figures show what the rows say: points, stars, rings, counts."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from bdnb.analysis import metrics
from bdnb.report import figures, images, panels
from bdnb.runtime.errors import ConfigError


def cleaning(
    objective: str, loss: str, lr: float, points: list[tuple[float, float]]
) -> pd.DataFrame:
    """One cleaning run's rows from (asr, accuracy) of epochs 0, 1, ..."""
    asr, accuracy = zip(*points, strict=True)
    columns = {"run": f"{objective} {loss} {lr}", "pretrain_objective": objective, "loss": loss}
    columns |= {"lr": lr, "seed": 0, "epoch": range(len(points)), "asr": asr, "accuracy": accuracy}
    return pd.DataFrame(columns)


@pytest.fixture
def rows() -> pd.DataFrame:
    return pd.concat(
        [
            cleaning("mmcl", "mmcl_ssl", 1e-3, [(95, 70), (4, 68), (3, 69.5)]),
            cleaning("mmcl", "ssl", 1e-4, [(95, 70), (40, 60), (1, 50)]),
            cleaning("mmcl_ssl", "mmcl_ssl", 1e-3, [(94, 71), (60, 70), (30, 69)]),
        ]
    )


def start(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[rows["epoch"] == 0]


def points(axes: Axes, colour: str | None = None) -> set[tuple[float, float]]:
    """Places of a panel's markers, of one edge or face colour if given."""
    found = set()
    for drawn in (c for c in axes.collections if isinstance(c, PathCollection)):
        looks = [*drawn.get_facecolor(), *drawn.get_edgecolor()]
        if colour is None or colour in {to_hex(look) for look in looks}:
            found |= {(float(x), float(y)) for x, y in np.asarray(drawn.get_offsets())}
    for line in (one for one in axes.lines if one.get_marker() not in ("None", "", None)):
        if colour in (None, to_hex(line.get_color())):
            found |= {(float(x), float(y)) for x, y in line.get_xydata()}
    return found


def texts(figure: Figure) -> str:
    drawn = [t.get_text() for axes in figure.axes for t in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    legends = [t.get_text() for one in figure.legends for t in (one.get_title(), *one.texts)]
    return "\n".join([*drawn, *titles, *legends])


def test_scatter_has_a_point_for_every_epoch_and_a_panel_for_every_objective(rows) -> None:
    figure = figures.scatter(rows, start(rows))
    mmcl, mmcl_ssl = figure.axes
    assert {(4, 68), (3, 69.5), (40, 60), (1, 50)} <= points(mmcl)
    assert {(60, 70), (30, 69)} <= points(mmcl_ssl)
    assert mmcl.get_xlim() == mmcl_ssl.get_xlim()
    assert mmcl.get_ylim() == mmcl_ssl.get_ylim()


def test_rows_under_one_index_are_drawn_once(rows) -> None:
    assert rows.index.has_duplicates
    axes = figures.scatter(rows, start(rows)).axes[1]
    drawn = [line for line in axes.lines if line.get_marker() not in ("None", "")]
    assert [len(line.get_xydata()) for line in drawn] == [2]
    assert drawn[0].get_linestyle() == "None"


def test_scatter_stars_the_poisoned_model_and_rings_the_best_cleaned_one(rows) -> None:
    mmcl, mmcl_ssl = figures.scatter(rows, start(rows)).axes
    assert points(mmcl, figures.RED) == {(95, 70), (3, 69.5)}
    assert points(mmcl_ssl, figures.RED) == {(94, 71)}


def test_scatter_says_n_and_when_nothing_was_cleaned(rows) -> None:
    words = texts(figures.scatter(rows, start(rows)))
    assert "n = 4 models, 2 runs, 1 seed" in words
    assert "no model at ASR ≤ 5 %" in words
    assert "best at ASR ≤ 5 %: 69.5 %" in words
    assert "cleaned with" in words


def test_every_seed_has_a_ring_and_the_title_has_their_mean(rows) -> None:
    one = rows[rows["run"] == "mmcl mmcl_ssl 0.001"]
    two = one.assign(seed=1, run="other", accuracy=one["accuracy"] - 10)
    both = pd.concat([one, two])
    figure = figures.scatter(both, start(one))
    assert points(figure.axes[0], figures.RED) == {(95, 70), (3, 69.5), (3, 59.5)}
    spread = metrics.over_seeds([69.5, 59.5], limits=(0.0, 100.0))
    assert spread.high == 100
    interval = f"({spread.low:.1f} to {spread.high:.1f})"
    assert f"best at ASR ≤ 5 %: 64.5 % {interval}" in texts(figure)


def test_an_interval_wider_than_the_axis_does_not_stretch_it(rows) -> None:
    one = rows[rows["run"] == "mmcl mmcl_ssl 0.001"]
    both = pd.concat([one, one.assign(seed=1, run="other", accuracy=one["accuracy"] - 10)])
    low, high = figures.scatter(both, start(one)).axes[0].get_ylim()
    assert low > 50
    assert high < 75


def test_another_defence_is_told_apart_from_cleanclip(rows) -> None:
    other = rows.assign(defence="wise_ft", run=rows["run"] + " wise", accuracy=rows["accuracy"] + 1)
    both = pd.concat([rows.assign(defence="cleanclip"), other])
    figure = figures.scatter(both, start(rows))
    assert {"CleanCLIP · SSL", "wise_ft · SSL"} <= set(texts(figure).split("\n"))
    assert points(figure.axes[0], figures.RED) == {(95, 70), (3, 69.5)}  # CleanCLIP's, not 70.5
    apart = panels.trajectories(both[both["loss"] == "mmcl_ssl"], start(rows))
    assert len(apart.axes) == 4
    assert "cleaned with wise_ft · MMCL + SSL" in texts(apart)


def test_a_panel_without_asr_says_so(rows) -> None:
    unknown = rows.assign(asr=rows["asr"].where(rows["pretrain_objective"] == "mmcl"))
    for figure in (
        figures.scatter(unknown, start(rows)),
        panels.trajectories(unknown, start(rows)),
    ):
        titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
        assert "ASR not measured" in titles[1]
        assert "ASR not measured" not in titles[0]


def test_trajectories_grow_with_the_epoch(rows) -> None:
    mmcl, _ = panels.trajectories(rows[rows["loss"] == "mmcl_ssl"], start(rows)).axes
    drawn = [c for c in mmcl.collections if len(np.asarray(c.get_offsets())) == 2]
    assert drawn
    assert all(first < second for first, second in (c.get_sizes() for c in drawn))


def test_training_stars_the_kept_epochs_of_each_objective_on_both_curves() -> None:
    rows = pd.DataFrame(
        {"epoch": [0, 1, 2], "seed": 0, "accuracy": [1, 50, 60], "asr": [0, 80, 90]}
    )
    both = pd.concat([rows.assign(objective=one, run=one) for one in ("mmcl", "mmcl_ssl")])
    kept = both[(both["epoch"] == 1) & (both["objective"] == "mmcl")]
    clean = kept.assign(run="trained without poison", asr=0)  # has no curve here, and no star
    kept = pd.concat([kept, clean])
    figure = figures.training(both, kept)
    assert points(figure.axes[0], figures.RED) == {(1, 50), (1, 80)}
    assert points(figure.axes[1], figures.RED) == set()
    assert "MMCL + SSL; n = 1 seed" in texts(figure)
    assert len(figure.legends[0].get_texts()) == 3


def test_rows_without_a_column_are_refused_by_its_name(rows) -> None:
    with pytest.raises(ConfigError, match="no column asr"):
        figures.scatter(rows.drop(columns="asr"), start(rows))


def test_gallery_and_contact_sheet_show_every_image() -> None:
    pixels = np.zeros((5, 3, 8, 8), np.uint8)
    shown = images.gallery(pixels, ["a"] * 5, ["banana"] * 5)
    assert sum(len(axes.images) for axes in shown.axes) == 5
    assert shown.axes[4].get_xlabel() == "backdoor: banana"
    assert shown.axes[4].get_title(loc="left") == "true: a"
    sheet = images.contact_sheet(pixels, ["t"] * 5)
    assert sum(len(axes.images) for axes in sheet.axes) == 5


def test_captions_of_prices_are_shown_as_they_are(tmp_path) -> None:
    shown = images.gallery(np.zeros((1, 3, 8, 8), np.uint8), ["a $x_{$ shirt"], ["$5 or $6_"])
    shown.savefig(tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").is_file()


def test_figures_are_the_same_bytes_twice(rows, tmp_path) -> None:
    figures.style()
    written = []
    for name in ("a.svg", "b.svg"):
        figures.scatter(rows, start(rows)).savefig(tmp_path / name, metadata={"Date": None})
        written.append((tmp_path / name).read_bytes())
    assert written[0] == written[1]


def test_a_tenth_of_a_point_of_accuracy_does_not_fill_the_axis(rows) -> None:
    flat = rows.assign(accuracy=2.0 + rows["accuracy"] / 1000)
    for figure in (figures.scatter(flat, start(flat)), panels.trajectories(flat, start(flat))):
        low, high = figure.axes[0].get_ylim()
        assert high - low == pytest.approx(10)


def test_letters_are_at_least_nine_pixels_in_a_page_of_700(rows) -> None:
    figures.style()
    for figure in (
        figures.scatter(rows, start(rows)),
        panels.trajectories(rows, start(rows)),
        panels.learning_rates(rows, "mmcl"),
    ):
        scale = min(1, 700 / (96 * figure.get_figwidth()))
        sizes = [text.get_fontsize() for text in figure.findobj(Text) if text.get_text()]
        assert min(sizes) * 96 / 72 * scale >= 9
