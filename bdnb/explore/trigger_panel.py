"""The desk's panel for one picture: a trigger on it, and what the models say before and after.

A desk (``panels.Desk``) in, a widget out.
"""

import inspect
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Protocol

import ipywidgets as widgets
import numpy as np

from bdnb.evaluate import predictions
from bdnb.explore import explore_figures, loaded_models, user_files
from bdnb.explore.controls import Checkpoint, Who, control, panel
from bdnb.explore.loaded_models import PLACES, Subject
from bdnb.poison.triggers import TRIGGERS
from bdnb.runtime.errors import ConfigError

PICTURE = "your picture"


class Given(Checkpoint, Protocol):
    """What the desk says besides: a picture and classes of one's own; empty where none are."""

    image: str
    classes: list[str]


class Look:
    """Controls for run, epoch, image and trigger; they follow one another where they must."""

    def __init__(self, desk: Given) -> None:
        self.desk, self.who = desk, Who(desk)
        sets = self.who.chosen.sets()
        names = [*[PICTURE] * bool(desk.image), *sets]
        most = max(len(one) for one in sets.values()) - 1
        self.images = control(widgets.Dropdown, "images", options=names)
        self.number = control(widgets.IntSlider, "image", max=most)
        self.upload = widgets.FileUpload(accept="image/*", description="or a picture of yours")
        self.trigger = control(widgets.Dropdown, "trigger", options=list(TRIGGERS))
        self.size = control(widgets.IntSlider, "size, pixels", min=1, max=64)
        self.place = control(widgets.Dropdown, "place", options=PLACES)
        self.chance = control(widgets.IntSlider, "draw anew", max=20)
        self.follow()
        self.who.run.observe(self.follow, "value")
        self.trigger.observe(self.offer, "value")
        self.upload.observe(self.take, "value")
        self.panel = panel(
            self.drawn,
            run=self.who.run,
            epoch=self.who.epoch,
            images=self.images,
            number=self.number,
            upload=self.upload,
            trigger=self.trigger,
            size=self.size,
            place=self.place,
            chance=self.chance,
        )

    def follow(self, _: object = None) -> None:
        """Start at the attack of the run that was chosen."""
        subject = self.who.chosen
        self.size.max = subject.side
        self.size.value, self.trigger.value = subject.size, subject.attack.trigger
        self.offer()

    def offer(self, _: object = None) -> None:
        """Leave only those controls usable that the trigger has."""
        takes = inspect.signature(TRIGGERS[self.trigger.value]).parameters
        self.size.disabled, self.place.disabled = "size" not in takes, "place" not in takes

    def take(self, _: object = None) -> None:
        """Turn to the picture that was uploaded."""
        self.images.options = [PICTURE, *(n for n in self.images.options if n != PICTURE)]
        self.images.value = PICTURE

    def picture(
        self, subject: Subject, images: str, number: int, upload: Sequence[dict]
    ) -> tuple[np.ndarray, str]:
        """The image (3, S, S) that is chosen, and its class; "" for one's own."""
        if images == PICTURE:
            file = bytes(upload[0]["content"]) if upload else Path(self.desk.image)
            return user_files.picture(file, side=subject.side, name=PICTURE), ""
        sets = subject.sets()
        if images not in sets:
            raise ConfigError(f"{images}: not a set of this run's data; it has {', '.join(sets)}")
        chosen = sets[images]
        number = min(number, len(chosen) - 1)
        return np.array(chosen.images[number]), chosen.classnames[chosen.labels[number]]

    def drawn(
        self,
        run: str,
        epoch: int,
        images: str,
        number: int,
        upload: Sequence[dict],
        trigger: str,
        size: int,
        place: str,
        chance: int,
    ) -> str:
        """The picture without and with the trigger, and each model's five classes for both."""
        subject = self.who.subject(run, epoch)
        plain, truth = self.picture(subject, images, number, upload)
        stamp = subject.stamp(trigger, size=min(size, subject.side), place=place)
        pair = np.stack(
            [plain, loaded_models.stamped(stamp, plain[None], [f"explore/{chance}"])[0]]
        )
        target = subject.attack.target if subject.known else ""
        names = self.desk.classes or next(iter(subject.sets().values())).classnames
        names = [*names, *[target] * bool(target and target not in names)]
        said = {
            title: predictions.top(model, pair, names, templates=subject.attack.templates)
            for title, model in subject.models.items()
        }
        titles = (f"as it is{f': {truth}' * bool(truth)}", f"with {trigger}")
        pictures = dict(zip(titles, pair, strict=True))
        figure = explore_figures.says(pictures, said, target=target, truth=truth)
        heard = "; ".join(
            f"{title}: {' and with the trigger '.join(one[0][0] for one in two)}"
            for title, two in said.items()
        )
        note = f"Red and hatched: the target, {escape(target)}. " * bool(target)
        note += "✓: the true class."
        return (
            explore_figures.html(figure, f"What the models say first. {heard}") + f"<p>{note}</p>"
        )
