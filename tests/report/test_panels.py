"""Grids of panels show a panel a rate, and the star where the paper's rule points."""

import pandas as pd
import pytest

from bdnb.report import panels
from bdnb.runtime.errors import ConfigError


def way(lr: float, seed: int, points: list[tuple[float, float]]) -> pd.DataFrame:
    asr, accuracy = zip(*points, strict=True)
    about = {"run": f"{lr} {seed}", "pretrain_objective": "mmcl", "lr": lr, "seed": seed}
    epochs = range(len(points))
    return pd.DataFrame(about | {"epoch": epochs, "asr": asr, "accuracy": accuracy})


def test_every_rate_has_its_panel_and_n_is_told():
    points = [(95.0, 70.0), (40.0, 60.0), (4.0, 65.0)]
    rows = pd.concat([way(lr, seed, points) for lr in (1e-3, 1e-4, 1e-5) for seed in (0, 1)])
    figure = panels.learning_rates(rows, "mmcl")
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_visible()]
    assert titles == [f"learning rate {lr}" for lr in ("1e-5", "1e-4", "1e-3")]
    assert "n = 6 runs, 2 seeds" in figure.get_suptitle()
    with pytest.raises(ConfigError, match="no rows of models pre-trained with SSL"):
        panels.learning_rates(rows, "ssl")


def screened(shrink: float, perturb: float, accuracy: float, asr: float) -> dict[str, object]:
    about = {"defence": "screen", "epoch": 1, "seed": 0, "accuracy": accuracy, "asr": asr}
    return about | {"option_shrink": shrink, "option_perturb": perturb}


def test_screening_stars_the_model_that_is_cleaned():
    rows = pd.DataFrame(
        [
            screened(0.5, 0.1, 30, 10),
            screened(0.9, 0.1, 60, 40),
            screened(0.5, 0.2, 10, 5),
            screened(0.9, 0.2, 20, 9),
            {"defence": "shrink_perturb", "epoch": 1, "picked_shrink": 0.5, "picked_perturb": 0.1},
        ]
    )
    figure = panels.screening(rows)
    assert figure is not None
    for axes in figure.axes[:2]:
        ((x, y),) = axes.collections[-1].get_offsets()
        assert (int(x), int(y)) == (0, 0)


def test_there_is_no_figure_where_nothing_was_screened():
    assert panels.screening(pd.DataFrame({"defence": ["cleanclip"], "epoch": [1]})) is None
