"""Widgets of ``notebooks/explore.ipynb``: choose, move, type, and see the figure change.

A ``Desk`` holds the notebook's parameters; each of its methods is one cell. What a cell cannot
show it says in words, with what to run or to change.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.config import parameters
from bdnb.data.labelled import LabelledSet
from bdnb.evaluate import predictions
from bdnb.explore import explore_figures, loaded_models, recorded_runs, user_files
from bdnb.explore.controls import Shown, Who, control, panel, unless_empty
from bdnb.explore.trigger_panel import Look
from bdnb.runs.elsewhere import NOT_MEASURED
from bdnb.runtime.errors import ConfigError

PARAMETERS: dict[str, type] = {
    "scale": str,
    "image": str,
    "folder": str,
    "checkpoint": str,
    "model": str,
}
PARAMETERS |= {"classes": list}
RETRIEVED_FROM = 500
"""Images of a set that a caption is compared with: seconds even for a large model on a CPU."""
SHARES = {"no image": 0, "every tenth image": 10, "every image": 1}


def open_desk(namespace: Mapping[str, Any]) -> "Desk":
    """The desk with a notebook's parameters. Errors: ConfigError for one that does not fit."""
    given = parameters.from_notebook(namespace)
    for name, value in given.items():
        if name not in PARAMETERS:
            known = ", ".join(PARAMETERS)
            raise ConfigError(f"explore.ipynb: {name!r} is not a parameter; it takes: {known}")
        if not isinstance(value, PARAMETERS[name]):
            raise ConfigError(
                f"explore.ipynb: {name}={value!r}: expected a {PARAMETERS[name].__name__}"
            )
    parameters.scale_folder(given.get("scale", "quick"))
    return Desk(**given)


@dataclass
class Desk:
    """What the notebook was given: files of one's own, and the scale whose data goes with them."""

    scale: str = "quick"
    image: str = ""
    folder: str = ""
    checkpoint: str = ""
    model: str = ""
    classes: list[str] = field(default_factory=list)

    def runs(self) -> Styler | Markdown:
        """What is recorded, a line a run; or what to run when nothing is."""
        try:
            table = recorded_runs.table()
        except ConfigError as error:
            return Markdown(str(error))
        return table.style.hide(axis="index").format(precision=1)

    def trajectory(self) -> Shown:
        """Choose a run and move along its epochs."""
        return unless_empty(self._trajectory)

    def _trajectory(self) -> widgets.VBox:
        found = recorded_runs.recorded()
        run = control(widgets.Dropdown, "run", options=list(found))
        epoch = control(widgets.IntSlider, "epoch", value=0, min=0, max=0)

        def fit(_: object = None) -> None:
            epoch.max = int(found[run.value].rows()[-1]["epoch"])

        def draw(run: str, epoch: int) -> str:
            rows = recorded_runs.rows(found[run])
            alt = f"{run}: its way through accuracy and attack success rate, epoch {epoch} ringed"
            return explore_figures.html(explore_figures.way(rows, epoch), alt)

        fit()
        run.observe(fit, "value")
        return panel(draw, run=run, epoch=epoch)

    def compare(self) -> Shown:
        """Two runs on the same axes, and the parameters in which they differ."""
        return unless_empty(self._compare)

    def _compare(self) -> widgets.VBox:
        found = recorded_runs.recorded()
        names = list(found)

        def draw(first: str, second: str) -> str:
            chosen = {"A": found[first], "B": found[second]}
            rows = {label: recorded_runs.rows(run) for label, run in chosen.items()}
            alt = f"Accuracy and attack success rate of {first} (A) and {second} (B)"
            return explore_figures.html(explore_figures.versus(rows), alt) + _table(
                recorded_runs.differences(chosen)
            )

        pair = {"first": names[0], "second": names[len(names) // 2]}
        made = {
            name: control(widgets.Dropdown, f"run {letter}", options=names, value=value)
            for letter, (name, value) in zip("AB", pair.items(), strict=True)
        }
        return panel(draw, **made)

    def look(self) -> Shown:
        """Any image with any trigger, its size and place, and what the models say of it."""
        return unless_empty(lambda: Look(self).panel)

    def retrieve(self) -> Shown:
        """Type a caption, and see which images it retrieves."""
        return unless_empty(self._retrieve)

    def _retrieve(self) -> widgets.VBox:
        who = Who(self)
        kept: dict[tuple[int, str, int], Any] = {}

        def draw(run: str, epoch: int, images: str, trigger_on: str, caption: str) -> str:
            subject = who.subject(run, epoch)
            chosen, every = subject.sets()[images], SHARES[trigger_on]
            pixels = np.array(chosen.images[:RETRIEVED_FROM])
            if every:
                keys = [f"{images}/{key}" for key in chosen.keys[: len(pixels) : every]]
                pixels[::every] = loaded_models.stamped(subject.stamp(), pixels[::every], keys)
            rows = {}
            for title, model in subject.models.items():
                place = (id(model), images, every)
                if place not in kept:
                    kept[place] = predictions.seen(model, pixels)
                found = predictions.retrieve(model, caption, kept[place])
                words = [chosen.classnames[chosen.labels[i]] for i in found.places]
                lines = [f"{c:.2f} {w}" for c, w in zip(found.cosines, words, strict=True)]
                rows[title] = (pixels[found.places], lines)
            figure = explore_figures.retrieved(
                rows, f"“{caption}” among n = {len(pixels)} images: cosine, true class"
            )
            return explore_figures.html(
                figure, f"The images nearest to {caption}: " + _listed(rows)
            )

        return panel(
            draw,
            run=who.run,
            epoch=who.epoch,
            images=control(widgets.Dropdown, "images", options=list(who.chosen.sets())),
            trigger_on=control(widgets.Dropdown, "trigger on", options=list(SHARES)),
            caption=control(widgets.Text, "caption", value="a photo of a banana"),
        )

    def own_folder(self) -> Shown:
        """Accuracy and ASR of a run's models on a labelled folder of one's own."""
        if not self.folder:
            return Markdown("Name a folder of yours in the first cell: one folder a class in it.")
        return unless_empty(self._own_folder)

    def _own_folder(self) -> widgets.VBox:
        who = Who(self)

        def draw(run: str, epoch: int) -> str:
            subject = who.subject(run, epoch)
            mine = user_files.folder(Path(self.folder), side=subject.side)
            told = (
                "" if subject.known else f"<p>{NOT_MEASURED}: nobody said what the attack was.</p>"
            )
            return _table(loaded_models.measured(subject, mine)) + told + _left_out(mine)

        return panel(draw, run=who.run, epoch=who.epoch)


def _table(frame: pd.DataFrame) -> str:
    style = "<style>.bdnb-table :is(th, td) { padding: 0.1em 0.8em; text-align: left }</style>"
    text = frame.to_html(index=False, float_format="{:.1f}".format, border=0, classes="bdnb-table")
    return style + text


def _left_out(mine: LabelledSet) -> str:
    first = "; ".join(f"{key}: {why}" for key, why in list(mine.bad.items())[:3])
    return f"<p>{len(mine.bad)} left out: {escape(first)}</p>" if mine.bad else ""


def _listed(rows: Mapping[str, tuple[np.ndarray, list[str]]]) -> str:
    return "; ".join(f"{model}: {', '.join(lines)}" for model, (_, lines) in rows.items())
