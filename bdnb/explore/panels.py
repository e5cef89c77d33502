"""The panels of ``notebooks/explore.ipynb``, one function a cell: choose, move, type, and see.

What a cell cannot show it says in words, with what to run or to change.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any, ParamSpec

import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.config import parameters
from bdnb.evaluate import predictions
from bdnb.explore import explore_figures, loaded_models, recorded_runs, user_files
from bdnb.explore.controls import NO_TRIGGER, Settings, control, model_controls, shown
from bdnb.explore.loaded_models import Loaded
from bdnb.report import images as images_of
from bdnb.report.tables import styled
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError

RETRIEVED_FROM = 500
"""Images of a set that a caption is compared with: seconds even for a large model on a CPU."""
SHARES = {"no image": 0, "every tenth image": 10, "every image": 1}
YOUR_IMAGE = "your image"
SETS = ("val", "unseen")
"""Labelled sets that every data set of ours has."""
Given = ParamSpec("Given")


def settings(namespace: Mapping[str, Any]) -> Settings:
    """Return a notebook's parameters. Errors: ConfigError for one that does not fit."""
    given = parameters.from_notebook(namespace)
    made = parameters.make(Settings, given, where="explore.ipynb")
    parameters.scale_folder(made.scale)
    return made


def _or_words(make: Callable[Given, Any]) -> Callable[Given, Any]:
    """The same function, which says a ConfigError instead of raising it."""

    @wraps(make)
    def made(*args: Given.args, **kwargs: Given.kwargs) -> Any:
        try:
            return make(*args, **kwargs)
        except ConfigError as error:
            return Markdown(escape(str(error), quote=False))

    return made


@_or_words
def runs() -> Styler:
    """Return what is recorded, a line a run; or what to run when nothing is."""
    return styled(recorded_runs.table())


@_or_words
def trajectory() -> widgets.VBox:
    """Choose a run and move along its epochs."""
    found = recorded_runs.recorded()
    run = control(widgets.Dropdown, "run", options=list(found))
    epoch = control(widgets.IntSlider, "epoch", value=0, min=0, max=0)

    def fit(_: object = None) -> None:
        with suppress(ConfigError, IndexError):  # gone since: said by what is drawn
            epoch.max = int(found[run.value].rows()[-1]["epoch"])

    def draw(run: str, epoch: int) -> Iterator[object]:
        yield explore_figures.of_runs({"": recorded_runs.rows(found[run])}, epoch)

    fit()
    run.observe(fit, "value")
    return shown(draw, {"run": run, "epoch": epoch})


@_or_words
def compare() -> widgets.VBox:
    """Two runs on the same axes, and the parameters in which they differ."""
    found = recorded_runs.recorded()
    names = list(found)

    def draw(**chosen: str) -> Iterator[object]:
        both = {label: found[name] for label, name in chosen.items()}
        yield explore_figures.of_runs({k: recorded_runs.rows(run) for k, run in both.items()})
        yield styled(recorded_runs.differences(both))

    first = {"A": names[0], "B": names[len(names) // 2]}
    made = {
        k: control(widgets.Dropdown, f"run {k}", options=names, value=v) for k, v in first.items()
    }
    return shown(draw, made)


@_or_words
def trigger(given: Settings) -> widgets.VBox:
    """Any image with any trigger, its size and place, and what the models say of it."""
    controls, load = model_controls(given)
    images = control(widgets.Dropdown, "images", options=[*[YOUR_IMAGE] * bool(given.image), *SETS])
    upload = widgets.FileUpload(accept="image/*", description="or an image of yours")

    def take(_: object = None) -> None:
        images.options = [YOUR_IMAGE, *SETS]
        images.value = YOUR_IMAGE

    upload.observe(take, "value")
    own = {"images": images, "number": control(widgets.IntSlider, "image", max=999)}
    own |= {"upload": upload, "chance": control(widgets.IntSlider, "draw anew", max=20)}

    def draw(
        run: str, epoch: int, images: str, number: int, upload: Any, chance: int, **other: Any
    ) -> Iterator[object]:
        loaded = load(run, epoch)
        if images == YOUR_IMAGE:
            file = bytes(upload[0]["content"]) if upload else Path(given.image)
            plain, truth = user_files.image(file, side=loaded.side, name=YOUR_IMAGE), ""
        else:
            plain, truth = _of_set(loaded, images, number)
        key = f"explore/{chance}"
        yield from _answered(loaded, plain, truth, given.classes, key=key, **other)

    return shown(draw, controls | own)


def _of_set(loaded: Loaded, name: str, number: int) -> tuple[np.ndarray, str]:
    """An image (3, S, S) of a labelled set, and its class."""
    sets = loaded.sets()
    if name not in sets:
        raise ConfigError(f"{name}: not a set of this run's data; it has {', '.join(sets)}")
    number %= len(sets[name])
    return np.array(sets[name].images[number]), sets[name].classnames[sets[name].labels[number]]


def _answered(
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
    """A figure of an image (3, S, S) uint8 without and with the trigger, and a line of answers.

    truth: its class, if that is known. classes: to choose among; none: those of the data. key: what
    random triggers are drawn for.
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


@_or_words
def retrieve(given: Settings) -> widgets.VBox:
    """Type a caption, and see which images it retrieves."""
    controls, load = model_controls(given)
    own = {
        "images": control(widgets.Dropdown, "images", options=SETS),
        "trigger_on": control(widgets.Dropdown, "trigger on", options=list(SHARES)),
        "caption": control(widgets.Text, "caption", value="a photo of a banana"),
    }

    def draw(
        run: str, epoch: int, trigger: str, size: int, place: str, target: str,
        images: str, trigger_on: str, caption: str,
    ) -> Iterator[object]:  # fmt: skip
        loaded, every = load(run, epoch), SHARES[trigger_on]
        chosen = loaded.sets().get(images)
        if chosen is None:
            raise ConfigError(f"{images}: not a set of this run's data")
        pixels = np.array(chosen.images[:RETRIEVED_FROM])
        if every and trigger != NO_TRIGGER:
            keys = [f"{images}/{key}" for key in chosen.keys[: len(pixels) : every]]
            stamp = loaded_models.stamp(loaded, trigger, size=size, place=place)
            pixels[::every] = stamp(torch.from_numpy(pixels[::every].copy()), keys).numpy()
        found, words = [], []
        for model in loaded.models.values():
            near = predictions.retrieve(model, caption, predictions.seen(model, pixels))
            found.append(pixels[near.places])
            for index, cosine in zip(near.places, near.cosines, strict=True):
                words.append(f"{cosine:.2f} {chosen.classnames[chosen.labels[index]]}")
        columns, titles = len(found[0]), list(loaded.models)
        yield Markdown(f"“{escape(caption)}” among n = {len(pixels)} images: cosine, true class")
        yield images_of.contact_sheet(np.concatenate(found), words, columns, titles)

    return shown(draw, controls | own)


@_or_words
def folder(given: Settings) -> widgets.VBox:
    """Accuracy and ASR of a run's models on a labelled folder of the user's."""
    if not given.folder:
        raise ConfigError("Name a folder of yours in the first cell: one folder a class in it.")
    controls, load = model_controls(given)

    def draw(
        run: str, epoch: int, trigger: str, size: int, place: str, target: str
    ) -> Iterator[object]:
        loaded = load(run, epoch)
        mine = user_files.folder(Path(given.folder), side=loaded.side)
        attacked = trigger != NO_TRIGGER and bool(target)
        stamp = loaded_models.stamp(loaded, trigger, size=size, place=place) if attacked else None
        yield styled(loaded_models.measured(loaded, mine, trigger=stamp, target=target))
        if not loaded.known:
            which = f"ASR of {trigger}, chosen above" if attacked else elsewhere.NOT_MEASURED
            hint = "" if attacked else " Choose a trigger and a target."
            yield Markdown(f"{which}: nobody said what attacked this model.{hint}")
        if mine.bad:
            first = "; ".join(f"{key}: {why}" for key, why in list(mine.bad.items())[:3])
            yield Markdown(f"{len(mine.bad)} left out: {escape(first)}")

    return shown(draw, controls)
