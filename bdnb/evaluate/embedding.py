"""Where poisoned pairs lie in the space of embeddings, before cleaning and after it.

Rows of cleaning runs in; the weights that these runs kept are read; a Matplotlib figure out.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from bdnb.evaluate import predictions
from bdnb.evaluate.benchmark import evaluating, text_features
from bdnb.explore import recorded_runs
from bdnb.models import Model
from bdnb.report.figures import COLOURS, NAMES, RED
from bdnb.runs.records import Run, runs_folder
from bdnb.training import attacks
from bdnb.training.attacks import Examples


class Seen(NamedTuple):
    """Unit features (N, D) of poisoned pairs in one model."""

    images: Tensor
    triggered: Tensor
    captions: Tensor
    backdoor_captions: Tensor

    @property
    def pull(self) -> float:
        """Mean cosine of triggered image and attacker's caption, less that with the true one."""
        to_attacker = (self.triggered * self.backdoor_captions).sum(dim=1)
        return float((to_attacker - (self.triggered * self.captions).sum(dim=1)).mean())


LOOKS = {
    "images": ("image as it is", COLOURS[0], "o"),
    "triggered": ("the same image, triggered", RED, "^"),
    "captions": ("its true caption", COLOURS[2], "s"),
    "backdoor_captions": ("the attacker's caption", COLOURS[1], "P"),
}
"""What is drawn: words, colour, shape."""


def seen(model: Model, pairs: Examples) -> Seen:
    """The features of pairs, each image with and without trigger, each caption of both kinds."""
    with evaluating(model):
        texts = [text_features(model, one) for one in (pairs.captions, pairs.backdoor_captions)]
    images = [predictions.seen(model, one.numpy()) for one in (pairs.images, pairs.triggered)]
    return Seen(*images, *texts)


def chosen(rows: pd.DataFrame) -> list[Run]:
    """For each pre-training objective the CleanCLIP run (MMCL + SSL) that ends at the lowest ASR.

    Of those whose last weights and poisoned model are kept; where none is of MMCL + SSL, of any.
    """
    found = []
    for _, own in rows.groupby("pretrain_objective"):
        whole = own[own["loss"] == "mmcl_ssl"]
        found += _lowest(whole) or _lowest(own)
    return found


def _lowest(rows: pd.DataFrame) -> list[Run]:
    last = rows.loc[rows.groupby("run")["epoch"].idxmax()].sort_values("asr")
    runs = [Run(runs_folder() / name) for name in last["run"]]
    kept = [
        r
        for r in runs
        if r.rows()[-1]["epoch"] in recorded_runs.weights(r) and recorded_runs.origin(r)
    ]
    return kept[:1]


def poisoned_pairs(rows: pd.DataFrame, *, count: int = 150) -> Figure | None:
    """Poisoned pairs before and after the run of each objective that ends at the lowest ASR.

    The plane is that of the first two principal components of both models' features together, the
    mean of images and the mean of captions each taken away (the two lie apart in any CLIP).
    rows: of cleaning runs. None, with a line that says so, when no run has kept its weights.
    """
    runs = chosen(rows)
    if not runs:
        print("No run here has kept its last weights, so there is nothing to embed with.")
        return None
    figure = Figure(figsize=(9, 4.1 * len(runs)), layout="constrained")
    cells = figure.subplots(len(runs), 2, squeeze=False, sharex="row", sharey="row")
    for (left, right), run in zip(cells, runs, strict=True):
        pairs = attacks.examples(recorded_runs.attack(run), count=count)
        kept, origin, last = recorded_runs.weights(run), recorded_runs.origin(run), run.rows()[-1]
        made = [seen(recorded_runs.model(str(p)), pairs) for p in (origin, kept[last["epoch"]])]
        words = NAMES.get(run.manifest["about"]["pretrain_objective"], "?")
        first = f"{words}, poisoned\nASR {run.rows()[0]['asr']:.1f} %"
        second = f"after cleaning, epoch {last['epoch']} at rate {run.manifest['config']['lr']:g}"
        second += f"\nASR {last['asr']:.1f} %"
        for axes, points, one, title in zip(
            (left, right), planes(made), made, (first, second), strict=True
        ):
            draw(axes, points)
            n = len(one.images)
            axes.set_title(f"{title}, pull {one.pull:+.2f}, n = {n} pairs", loc="left", size=11)
        left.set(ylabel="second component")
        for axes in (left, right):
            axes.set(xlabel="first component")
    marks = cells[0][0].get_legend_handles_labels()
    figure.legend(*marks, loc="outside lower center", ncols=2, frameon=False)
    return figure


def planes(models: list[Seen]) -> list[dict[str, np.ndarray]]:
    """Each model's features (N, 2) in the plane that all of them share, by their names."""
    centred = []
    for one in models:
        image, text = one.images.mean(dim=0), one.captions.mean(dim=0)
        middle = {"images": image, "triggered": image, "captions": text}
        middle["backdoor_captions"] = text
        whole = {name: (part - middle[name]).cpu() for name, part in one._asdict().items()}
        centred.append({name: part.numpy().astype(np.float64) for name, part in whole.items()})
    every = np.concatenate([part for one in centred for part in one.values()])
    axes = np.linalg.svd(every - every.mean(axis=0), full_matrices=False)[2][:2]
    # The sign of a component is arbitrary: what is largest points up.
    axes *= np.sign(axes[np.arange(2), np.abs(axes).argmax(axis=1)])[:, None]
    return [{name: part @ axes.T for name, part in one.items()} for one in centred]


def draw(axes: Axes, points: dict[str, np.ndarray]) -> None:
    """Each kind of point in its colour and shape."""
    for name, (words, colour, marker) in LOOKS.items():
        x, y = points[name].T
        axes.scatter(x, y, s=26, color=colour, marker=marker, alpha=0.6, lw=0, label=words)
