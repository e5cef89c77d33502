"""Controls of ``notebooks/explore.ipynb``, and what is drawn under them.

``shown``: controls and a function of their values in, a widget out. ``model_controls``: which
model, and which trigger.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets
from IPython.display import Markdown, display
from IPython.utils.capture import capture_output

from bdnb.explore import loaded_models, recorded_runs
from bdnb.explore.loaded_models import Loaded
from bdnb.poison.triggers import TRIGGERS
from bdnb.runs.records import Run
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError

YOURS = "your checkpoint"
NO_TRIGGER = "none"
WIDE = widgets.Layout(width="44em", max_width="98%")
PLACES = (
    "random", "middle", "top_left", "top_right", "bottom_left", "bottom_right", "four_corners"
)  # fmt: skip
"""Where a patch may be put, for triggers that are patches."""


@dataclass(frozen=True)
class Settings:
    """The notebook's parameters: files of the user's, and the scale whose data goes with them."""

    scale: str = "quick"
    image: str = ""
    folder: str = ""
    checkpoint: str = ""
    model: str = ""
    classes: tuple[str, ...] = ()


def control(kind: Callable[..., Any], description: str, **options: Any) -> Any:
    """Return a control of the notebook's width; it reports a value once it has been let go."""
    if "continuous_update" in kind.class_trait_names():  # type: ignore[attr-defined]
        options = {"continuous_update": False} | options
    style = {"description_width": "7em"}
    return kind(description=description, layout=WIDE, style=style, **options)


def shown(
    draw: Callable[..., Iterable[object]], controls: Mapping[str, widgets.Widget]
) -> widgets.VBox:
    """Return controls above what ``draw`` makes of their values, anew whenever one changes.

    draw: values by the controls' names -> what to display. Its ConfigError is said in its place.
    """

    out = widgets.Output()

    def drawn(_: object = None) -> None:
        # Set as a whole: while an Output collects by itself, papermill can wait for ever.
        with capture_output() as made:
            try:
                display(*draw(**{name: one.value for name, one in controls.items()}))
            except (ConfigError, FloatingPointError) as error:
                display(Markdown(escape(str(error), quote=False)))
        out.outputs = tuple(
            {"output_type": "display_data", "data": one.data, "metadata": one.metadata or {}}
            for one in made.outputs
        )

    for one in controls.values():
        one.observe(drawn, "value")
    drawn()
    return widgets.VBox([*controls.values(), out])


def model_controls(
    settings: Settings,
) -> tuple[dict[str, widgets.Widget], Callable[[str, int], Loaded]]:
    """Return controls for run, epoch, trigger, size, place and target, and the loader of a run.

    They depend on no model: one that cannot be loaded is said where it would be drawn, and another
    can be chosen. The trigger starts as the attack's; at none where nobody said what that was.
    Errors: ConfigError when there is neither a checkpoint nor a run with weights.
    """
    found = _with_weights(needed=not settings.checkpoint)
    names = [YOURS] * bool(settings.checkpoint) + list(found)
    likely = [n for n in names if n == YOURS or "cleanclip mmcl_ssl" in n]
    kept = {name: list(run.weights()) for name, run in found.items()} | {YOURS: [0]}
    first = (likely or names)[0]
    made: dict[str, Any] = {
        "run": control(widgets.Dropdown, "run", options=names, value=first),
        "epoch": control(widgets.SelectionSlider, "after epoch", options=kept[first]),
        "trigger": control(widgets.Dropdown, "trigger", options=[NO_TRIGGER, *TRIGGERS]),
        "size": control(widgets.IntSlider, "size, pixels", min=1, max=64),
        "place": control(widgets.Dropdown, "place", options=PLACES),
        "target": control(widgets.Text, "target"),
    }

    def load(run: str, epoch: int) -> Loaded:
        if run == YOURS:
            return loaded_models.of_checkpoint(settings.checkpoint, settings.model, settings.scale)
        # A run is chosen before its epochs are: until they follow, its last one stands in.
        epoch = epoch if epoch in kept[run] else kept[run][-1]
        return loaded_models.of_run(found[run], epoch)

    def follow(_: object = None) -> None:
        run = made["run"].value
        if list(made["epoch"].options) != kept[run]:
            made["epoch"].options = kept[run]
        made["epoch"].value = kept[run][-1]
        try:
            loaded = load(run, kept[run][-1])
        except ConfigError:  # said by what is drawn
            return
        attack, size = loaded.attack, loaded.attack.trigger_size
        size = attack.trigger_options.get("size", size)
        made["trigger"].options = [NO_TRIGGER, *plugins.of_run(TRIGGERS, attack.code)]
        made["size"].max = loaded.side
        made["size"].value = round(size * loaded.side) if size < 1 else int(size)
        place = attack.trigger_options.get("place")
        made["place"].value = place if place in PLACES else PLACES[0]
        made["trigger"].value = attack.trigger if loaded.known else NO_TRIGGER
        made["target"].value = attack.target if loaded.known else ""

    def offer(_: object = None) -> None:
        trigger = TRIGGERS.get(made["trigger"].value)
        takes = inspect.signature(trigger).parameters if trigger else {}
        made["size"].disabled, made["place"].disabled = "size" not in takes, "place" not in takes

    follow()
    offer()
    made["run"].observe(follow, "value")
    made["trigger"].observe(offer, "value")
    return made, load


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
            "that does, and the backdoored model that it starts from"
        )
    return found
