"""The interactive figure in a browser without a network: controls move it, its numbers hold."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bdnb.analysis import metrics
from bdnb.report import interactive_figure, interactive_page
from bdnb.report.style import NAMES, short, some
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator
from tests.chrome import Chrome, in_browser

OBJECTIVES, LOSSES, RATES, SEEDS = (
    ("mmcl", "mmcl_ssl"),
    ("mmcl_ssl", "ssl"),
    (3e-4, 1e-3),
    (0, 1, 2),
)


def made() -> pd.DataFrame:
    """Rows of 24 cleaning runs with five epochs each, drawn at random."""
    stream, frames = generator(0, "rows of a live figure"), []
    for number in range(24):
        objective, loss = OBJECTIVES[number % 2], LOSSES[number // 2 % 2]
        rate, seed = RATES[number // 4 % 2], SEEDS[number // 8]
        values = {"run": f"run {number}", "pretrain_objective": objective, "loss": loss}
        values |= {"lr": rate, "seed": seed, "epoch": np.arange(6)}
        values |= {"accuracy": 80 - 60 * stream.random(6) ** 2, "asr": 100 * stream.random(6) ** 2}
        frames.append(pd.DataFrame(values))
    return pd.concat(frames, ignore_index=True)


TEXTS = "[...document.querySelectorAll('.chart svg text')].map(e => e.textContent)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    folder = tmp_path_factory.mktemp("live")
    with Chrome(folder / "profile") as page:
        opened(page, folder, interactive_figure.explorer(made()).spec)
        yield page


def opened(page: Chrome, folder: Path, spec: dict) -> None:
    """Open a page that lies, as in a book, two folders below what all pages share."""
    script = folder / "_static" / interactive_page.SCRIPT
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(interactive_page.script())
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    text = f"{meta}<body>{interactive_page.html(spec)}</body>"
    place = folder / "results" / "laptop" / "page.html"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f'<!doctype html><html lang=en data-content_root="../../">{text}</html>')
    page.open(place.as_uri())
    page.wait("!!document.querySelector('.chart svg')")


def choose(page: Chrome, column: str, every: tuple, *values: object) -> None:
    """Leave only these values of a control ticked."""
    for i, value in enumerate(every):
        page.js(
            f"""(box => {{ if (box.checked != {str(value in values).lower()}) box.click(); }})
            (document.querySelector('input[name={column}_{i}]'))"""
        )


def move(page: Chrome, threshold: float) -> None:
    page.js(
        f"""(slider => {{ slider.value = {threshold};
        slider.dispatchEvent(new Event('input', {{bubbles: true}})); }})
        (document.querySelector('input[type=range]'))"""
    )


def expected(rows: pd.DataFrame, threshold: float) -> list[str]:
    """What stands above each panel, worked out by ``metrics``."""
    measure = partial(metrics.best_accuracy_at, threshold=threshold)
    found = []
    for _, own in rows.groupby("pretrain_objective"):
        spread = metrics.over_seeds(metrics.by_seed(own, measure), limits=(0.0, 100.0))
        told = f"no model at ASR ≤ {threshold:.1f} %"
        if spread.n:
            told = f"best at ASR ≤ {threshold:.1f} %: {spread.mean:.1f} %"
        if spread.low == spread.low:
            told += f" ({spread.low:.1f} to {spread.high:.1f})".replace("-", "−")
        without = f", {spread.missing} without" if spread.missing else ""
        seeds = own["seed"].nunique()
        models = some(len(metrics.candidates(own)), "model")
        found += [told, f"n = {models}, {some(seeds, 'seed')}{without}"]
    return found


@in_browser
@pytest.mark.browser
def test_the_numbers_are_those_of_python_whatever_is_chosen(page: Chrome) -> None:
    rows, every = made(), {"loss": ("mmcl_ssl", "ssl"), "lr": RATES, "seed": SEEDS}
    for threshold in (0, 2.5, 5, 20, 100):
        for losses, rates, seeds in (
            (LOSSES, RATES, SEEDS),
            (("ssl",), RATES, SEEDS),
            (LOSSES, (1e-3,), (0, 2)),
            (("mmcl_ssl",), (3e-4,), (1,)),
        ):
            for column, values in (("loss", losses), ("lr", rates), ("seed", seeds)):
                choose(page, column, every[column], *values)
            move(page, threshold)
            kept = rows[rows["loss"].isin(losses) & rows["lr"].isin(rates)]
            told = expected(kept[kept["seed"].isin(seeds)], threshold)
            page.wait(f"{json.dumps(told)}.every(words => {TEXTS}.includes(words))")


@in_browser
@pytest.mark.browser
def test_it_opens_in_the_state_that_the_text_is_about(tmp_path: Path) -> None:
    with Chrome(tmp_path / "profile") as page:
        opened(page, tmp_path, interactive_figure.explorer(made()).spec)
        ticked = "[...document.querySelectorAll('input[name^=loss]')].map(box => box.checked)"
        assert page.js(ticked) == [True, False]
        rows = made()
        told = expected(rows[rows["loss"] == "mmcl_ssl"], 5)
        assert set(told) <= set(page.js(TEXTS))
        assert {"pre-trained with MMCL", "pre-trained with MMCL + SSL"} <= set(page.js(TEXTS))


@in_browser
@pytest.mark.browser
def test_a_key_on_the_slider_changes_drawing_and_words(page: Chrome) -> None:
    move(page, 20)
    page.js("document.querySelector('input[type=range]').focus()")
    page.press("ArrowLeft", 37)
    page.wait(f"{TEXTS}.some(words => words.includes('ASR ≤ 19.5 %'))")


@in_browser
@pytest.mark.browser
def test_epochs_can_be_joined_and_colours_stand_for_the_learning_rate(page: Chrome) -> None:
    for column, values in (("loss", ("mmcl_ssl", "ssl")), ("lr", RATES), ("seed", SEEDS)):
        choose(page, column, values, *values)
    page.js("document.querySelector('input[name=paths]').click()")
    page.wait("document.querySelectorAll('.chart .mark-line path').length == 24")
    assert NAMES["ssl"] in page.js(TEXTS)
    page.js(
        """(menu => { menu.value = 'learning rate';
        menu.dispatchEvent(new Event('change', {bubbles: true})); })
        (document.querySelector('select'))"""
    )
    page.wait(f"{TEXTS}.includes({json.dumps(short(RATES[0]))})")
    assert NAMES["ssl"] not in page.js(TEXTS)


@in_browser
@pytest.mark.browser
def test_controls_and_drawing_have_names_and_nothing_is_asked_or_complained_of(
    page: Chrome,
) -> None:
    name = page.js("document.querySelector('[role=graphics-document]').ariaLabel")
    assert "Accuracy against attack success rate" in name
    unnamed = "[...document.querySelectorAll('input, select')].filter(e => !e.labels.length).length"
    assert page.js(unnamed) == 0
    assert page.errors == []
    assert page.requests == []


@in_browser
@pytest.mark.browser
def test_words_are_in_the_page_s_colour_so_that_dark_pages_show_them(page: Chrome) -> None:
    page.js("document.body.style.color = 'rgb(1, 2, 3)'")
    colours = "[...document.querySelectorAll('.chart svg text')].map(e => getComputedStyle(e).fill)"
    assert set(page.js(colours)) == {"rgb(1, 2, 3)"}


@in_browser
@pytest.mark.browser
def test_it_fits_a_phone(tmp_path: Path) -> None:
    with Chrome(tmp_path / "profile") as page:
        size = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
        page.call("Emulation.setDeviceMetricsOverride", **size)
        opened(page, tmp_path, interactive_figure.explorer(made()).spec)
        assert page.js("document.documentElement.scrollWidth") <= 360 * 1.01


def test_the_same_rows_make_the_same_bytes() -> None:
    first, second = (interactive_figure.explorer(made()).spec for _ in range(2))
    assert interactive_page.html(first) == interactive_page.html(second)


def test_a_notebook_keeps_what_jupyterlab_draws_and_a_page_none_of_the_script() -> None:
    figure = interactive_figure.explorer(made())
    assert set(figure._repr_mimebundle_()) == {interactive_page.MIME, "text/plain"}
    assert len(interactive_page.html(figure.spec)) < 100_000 < len(interactive_page.script())


def test_a_defence_of_one_s_own_has_a_box_and_a_colour_and_cleanclip_is_ticked() -> None:
    rows = made().assign(defence="cleanclip")
    own = rows.assign(defence="mine", run=rows["run"].astype(str) + "m")
    spec = interactive_figure.explorer(pd.concat([rows, own], ignore_index=True)).spec
    ticked = {p["bind"]["name"]: p["value"] for p in spec["params"] if "loss_" in p["name"]}
    on = [name for name, value in ticked.items() if value]
    assert on == ["cleaned with: CleanCLIP · MMCL + SSL "]
    assert "cleaned with: mine · MMCL + SSL " in ticked


def test_rows_that_lack_a_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="pretrain_objective"):
        interactive_figure.explorer(made().drop(columns="asr"))
    with pytest.raises(ConfigError, match="colour='run'"):
        interactive_figure.explorer(made(), colour="run")


def test_text_in_the_rows_cannot_end_the_script() -> None:
    rows = made().assign(loss="</script><b>")
    spec = interactive_figure.explorer(rows).spec
    assert "</script><b>" not in interactive_page.html(spec).replace("<\\/", "")
