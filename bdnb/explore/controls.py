"""The exploring notebook's building blocks: controls, panels that draw anew, whom to question.

A function from the controls' values to HTML in, a widget out.
"""

from collections.abc import Callable
from html import escape
from typing import Any, Protocol, TypeAlias

import ipywidgets as widgets
from IPython.display import Markdown

from bdnb.explore import loaded_models, recorded_runs
from bdnb.explore.loaded_models import Subject
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError

YOURS = "your checkpoint"
WIDE = widgets.Layout(width="44em", max_width="98%")
Shown: TypeAlias = "widgets.VBox | Markdown"


class Checkpoint(Protocol):
    """What the desk says of a checkpoint of one's own; empty where there is none."""

    checkpoint: str
    model: str
    scale: str


def control(kind: Callable[..., Any], description: str, **options: Any) -> Any:
    """A control in the desk's width; it reports a value once it has been let go."""
    if "continuous_update" in kind.class_trait_names():  # type: ignore[attr-defined]
        options = {"continuous_update": False} | options
    style = {"description_width": "7em"}
    return kind(description=description, layout=WIDE, style=style, **options)


def unless_empty(make: Callable[[], widgets.VBox]) -> Shown:
    """The panel, or in words what is missing for it."""
    try:
        return make()
    except ConfigError as error:
        return Markdown(escape(str(error), quote=False))


def panel(draw: Callable[..., str], **controls: Any) -> widgets.VBox:
    """Controls above what ``draw`` makes of their values, drawn anew whenever one changes.

    draw: values by the controls' names -> HTML. A ConfigError of it is shown in its place.
    """
    shown = widgets.HTML()

    def redraw(_: object = None) -> None:
        try:
            shown.value = draw(**{name: one.value for name, one in controls.items()})
        except ConfigError as error:
            shown.value = f'<p role="alert">{escape(str(error))}</p>'

    for one in controls.values():
        one.observe(redraw, "value")
    redraw()
    return widgets.VBox([*controls.values(), shown])


class Who:
    """The two controls that choose whom to question: a run, and which of its epochs."""

    def __init__(self, desk: Checkpoint) -> None:
        self.desk, self.found = desk, _with_weights(needed=not desk.checkpoint)
        names = [YOURS] * bool(desk.checkpoint) + list(self.found)
        likely = [n for n in names if n == YOURS or "cleanclip mmcl_ssl" in n]
        first = next(iter(likely + [n for n in names if n.startswith("clean")]), names[0])
        self.run = control(widgets.Dropdown, "run", options=names, value=first)
        self.epoch = control(widgets.SelectionSlider, "after epoch", options=[0])
        self.fit()
        self.run.observe(self.fit, "value")

    def fit(self, _: object = None) -> None:
        """Offer the epochs whose weights the run has kept, the last one chosen."""
        kept = [0] if self.run.value == YOURS else list(self.found[self.run.value].weights())
        if tuple(self.epoch.options) != tuple(kept):
            self.epoch.options = kept
            self.epoch.value = kept[-1]

    @property
    def chosen(self) -> Subject:
        """The models of what the controls say. Errors: ConfigError."""
        return self.subject(self.run.value, self.epoch.value)

    def subject(self, run: str, epoch: int) -> Subject:
        """The models of a run after an epoch. Errors: ConfigError."""
        if run == YOURS:
            desk = self.desk
            return loaded_models.of_checkpoint(desk.checkpoint, desk.model, desk.scale)
        kept = self.found[run].weights()
        # The run is told before its epochs are: until they fit, the last one stands in.
        return loaded_models.of_run(self.found[run], epoch if epoch in kept else list(kept)[-1])


def _with_weights(*, needed: bool) -> dict[str, Run]:
    try:
        found = {name: run for name, run in recorded_runs.recorded().items() if run.weights()}
    except ConfigError:
        if needed:
            raise
        return {}
    if needed and not found:
        raise ConfigError(
            "no run has kept its weights: `papermill notebooks/clean.ipynb OUT.ipynb` makes one "
            "that does, and the poisoned model that it starts from"
        )
    return found
