"""One image, any trigger on it, and what the models answer: settings in, widget out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import Markdown

from bdnb.evaluate import predictions
from bdnb.explore import explore_figures, loaded_models, user_files
from bdnb.explore.controls import NO_TRIGGER, Settings, control, model_controls, shown
from bdnb.explore.loaded_models import Loaded
from bdnb.runtime.errors import ConfigError

YOUR_IMAGE = "your image"
SETS = ("val", "unseen")
"""Labelled sets that every data set of ours has."""


def trigger_panel(settings: Settings) -> widgets.VBox:
    """Return the panel. Errors: ConfigError when there is no model to ask."""
    controls, load = model_controls(settings)
    images = control(
        widgets.Dropdown, "images", options=[*[YOUR_IMAGE] * bool(settings.image), *SETS]
    )
    upload = widgets.FileUpload(accept="image/*", description="or an image of yours")

    def take(_: object = None) -> None:
        images.options = [YOUR_IMAGE, *SETS]
        images.value = YOUR_IMAGE

    upload.observe(take, "value")
    own = {"images": images, "number": control(widgets.IntSlider, "image", max=999)}
    own |= {"upload": upload, "chance": control(widgets.IntSlider, "draw anew", max=20)}

    def draw(
        run: str, epoch: int, images: str, number: int, upload: Any, chance: int, **given: Any
    ) -> Iterator[object]:
        loaded = load(run, epoch)
        if images == YOUR_IMAGE:
            file = bytes(upload[0]["content"]) if upload else Path(settings.image)
            plain, truth = user_files.image(file, side=loaded.side, name=YOUR_IMAGE), ""
        else:
            plain, truth = _of_set(loaded, images, number)
        key = f"explore/{chance}"
        yield from answered(loaded, plain, truth, settings.classes, key=key, **given)

    return shown(draw, controls | own)


def _of_set(loaded: Loaded, name: str, number: int) -> tuple[np.ndarray, str]:
    """An image (3, S, S) of a labelled set, and its class."""
    sets = loaded.sets()
    if name not in sets:
        raise ConfigError(f"{name}: not a set of this run's data; it has {', '.join(sets)}")
    number %= len(sets[name])
    return np.array(sets[name].images[number]), sets[name].classnames[sets[name].labels[number]]


def answered(
    loaded: Loaded,
    plain: np.ndarray,
    truth: str,
    classes: Sequence[str],
    *,
    trigger: str,
    size: int,
    place: str,
    target: str,
    key: str,
) -> Iterator[object]:
    """Yield a figure of an image without and with the trigger, and a line of what was answered.

    plain: (3, S, S) uint8. truth: its class, if that is known. classes: to choose among; none:
    those of the data. key: what random triggers are drawn for. Errors: ConfigError.
    """
    images = {f"as it is{f': {truth}' if truth else ''}": plain}
    if trigger != NO_TRIGGER:
        stamp = loaded_models.stamp(loaded, trigger, size=size, place=place)
        images[f"with {trigger}"] = stamp(torch.from_numpy(plain[None].copy()), [key]).numpy()[0]
    names = list(classes or next(iter(loaded.sets().values())).classnames)
    names += [target] * bool(target and target not in names)
    stacked, templates = np.stack(list(images.values())), loaded.attack.templates
    answers = {
        title: predictions.top(model, stacked, names, templates=templates)
        for title, model in loaded.models.items()
    }
    yield explore_figures.answers(images, answers, target=target, truth=truth)
    first = [f"{t}: {', then '.join(one[0][0] for one in a)}" for t, a in answers.items()]
    marks = f"Red and hatched: the target, {target}. " if target else ""
    yield Markdown(f"Nearest class: {'; '.join(first)}. {marks}✓: the true class.")
