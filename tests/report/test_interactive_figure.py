"""The live figure in a browser without a network: controls move it, its numbers are metrics'."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pandas as pd
import pytest

from bdnb.analysis import metrics
from bdnb.report import interactive_figure
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


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    folder = tmp_path_factory.mktemp("live")
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    text = f"{meta}<body>{interactive_figure.explorer(made()).data}</body>"
    (folder / "page.html").write_text(f"<!doctype html><html lang=en>{text}</html>")
    with Chrome(folder / "profile") as page:
        page.open((folder / "page.html").as_uri())
        yield page


def best(page: Chrome, objective: str) -> float:
    value = page.js(f"document.querySelector('[data-objective={objective}] output').dataset.best")
    return float(value) if value else float("nan")


def choose(page: Chrome, control: str, *values: object) -> None:
    """Leave only these values of a control ticked."""
    page.js(
        f"""document.querySelectorAll('[data-of={control}] input').forEach(box =>
        {{ if (box.checked != {[str(v) for v in values]}.includes(box.value)) box.click(); }})"""
    )


def move(page: Chrome, threshold: float) -> None:
    page.js(
        f"""(slider => {{ slider.value = {threshold};
        slider.dispatchEvent(new Event('input', {{bubbles: true}})); }})
        (document.querySelector('.bdnb-live input[type=range]'))"""
    )


@in_browser
@pytest.mark.browser
def test_the_number_is_that_of_metrics_whatever_is_chosen(page: Chrome) -> None:
    rows = made()
    for threshold in (0, 2.5, 5, 20, 100):
        for losses, rates, seeds in (
            (LOSSES, RATES, SEEDS),
            (("ssl",), RATES, SEEDS),
            (LOSSES, (1e-3,), (0, 2)),
            (("mmcl_ssl",), (3e-4,), (1,)),
        ):
            for control, values in (("loss", losses), ("lr", rates), ("seed", seeds)):
                choose(page, control, *values)
            move(page, threshold)
            kept = rows[rows["loss"].isin(losses) & rows["lr"].isin(rates)]
            kept = kept[kept["seed"].isin(seeds)]
            measure = partial(metrics.best_accuracy_at, threshold=threshold)
            for objective, own in kept.groupby("pretrain_objective"):
                spread = metrics.over_seeds(metrics.by_seed(own, measure))
                assert best(page, objective) == pytest.approx(spread.mean, nan_ok=True)
                words = page.js(f"document.querySelector('[data-objective={objective}]').innerText")
                assert f"n = {len(metrics.candidates(own))} models" in words
                if spread.n > 1:
                    said = f"interval {spread.low:.1f} % to {spread.high:.1f} %"
                    assert said in words


@in_browser
@pytest.mark.browser
def test_a_key_on_the_slider_changes_drawing_and_words(page: Chrome) -> None:
    for control, values in (("loss", LOSSES), ("lr", RATES), ("seed", SEEDS)):
        choose(page, control, *values)
    move(page, 20)
    page.js("document.querySelector('.bdnb-live input[type=range]').focus()")
    before = page.js("document.querySelector('.bdnb-live .panels').innerHTML")
    page.press("ArrowLeft", 37)
    after = page.js("document.querySelector('.bdnb-live .panels').innerHTML")
    assert before != after
    assert "ASR ≤ 19.5 %" in after


@in_browser
@pytest.mark.browser
def test_an_objective_can_be_hidden_and_epochs_joined(page: Chrome) -> None:
    shown = "[...document.querySelectorAll('.bdnb-live figure')].filter(f => !f.hidden).length"
    choose(page, "pretrain_objective", "mmcl")
    assert page.js(shown) == 1
    choose(page, "pretrain_objective", *OBJECTIVES)
    assert page.js(shown) == 2
    page.js("document.querySelector('.bdnb-live form > fieldset:last-child input').click()")
    assert page.js("document.querySelectorAll('.bdnb-live polyline').length") == 24


@in_browser
@pytest.mark.browser
def test_every_drawing_has_a_name_and_nothing_is_asked_or_complained_of(page: Chrome) -> None:
    names = page.js("[...document.querySelectorAll('svg[role=img]')].map(e => e.ariaLabel)")
    assert len(names) == 2
    assert all("Accuracy against attack success rate" in name for name in names)
    assert page.errors == []
    assert page.requests == []


@in_browser
@pytest.mark.browser
def test_it_fits_a_phone(page: Chrome) -> None:
    page.call(
        "Emulation.setDeviceMetricsOverride",
        width=360,
        height=700,
        deviceScaleFactor=1,
        mobile=True,
    )
    assert page.js("document.documentElement.scrollWidth") <= 360 * 1.01


def test_the_same_rows_make_the_same_bytes() -> None:
    assert interactive_figure.explorer(made()).data == interactive_figure.explorer(made()).data


def test_rows_that_lack_a_column_are_refused() -> None:
    with pytest.raises(ConfigError, match="pretrain_objective"):
        interactive_figure.explorer(made().drop(columns="asr"))
    with pytest.raises(ConfigError, match="colour='run'"):
        interactive_figure.explorer(made(), colour="run")


def test_text_in_the_rows_cannot_end_the_script() -> None:
    rows = made().assign(loss="</script><b>")
    assert "</script><b>" not in interactive_figure.explorer(rows).data.replace("<\\/", "")
