"""What the weights that runs kept show: answers to images, and poisoned pairs among embeddings.

Before cleaning and after it. Rows of cleaning runs in, and the weights are read; a Matplotlib
figure out.
"""

from itertools import compress
from operator import attrgetter

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdnb.analysis.metrics import CLEANED
from bdnb.report.style import COLOURS, RED, name, short, some
from bdnb.runs import elsewhere
from bdnb.runs.records import Run, runs_folder

MARKS = {
    "images": ("image as it is", COLOURS[0], "o"),
    "triggered": ("the same image, triggered", RED, "^"),
    "captions": ("its true caption", COLOURS[4], "s"),
    "backdoor_captions": ("the attacker's caption", COLOURS[1], "P"),
}
"""What is drawn: words, colour, shape."""
seen_as = attrgetter("data", "trigger", "trigger_size", "trigger_options", "resize", "target")
"""Of a training run's parameters, those that make a triggered image and the answer wanted of it."""


def chosen(rows: pd.DataFrame) -> list[Run]:
    """For each pre-training objective the CleanCLIP run (MMCL + SSL) that ends best.

    That is the most accurate of those that end at an ASR of at most 5 %, or, where none does, the
    one at the lowest ASR. Only runs whose last weights and backdoored model are kept; where none is
    of MMCL + SSL, of any.
    """
    found = []
    for _, own in rows.groupby("pretrain_objective"):
        whole = own[(own["loss"] == "mmcl_ssl") & (own["defence"] == "cleanclip")]
        found += _best(whole) or _best(own)
    return found


def _best(rows: pd.DataFrame) -> list[Run]:
    last = rows.loc[rows.groupby("run")["epoch"].idxmax()]
    order = last.assign(above=last["asr"].clip(lower=CLEANED)).sort_values(
        ["above", "accuracy"], ascending=[True, False]
    )
    runs = [Run(runs_folder() / name) for name in order["run"]]
    kept = [r for r in runs if (own := r.rows()) and own[-1]["epoch"] in r.weights() and r.origin()]
    return kept[:1]


def what_it_says(rows: pd.DataFrame, *, count: int = 6) -> Figure | None:
    """The first test images of ``count`` classes at most, and what the models call them.

    rows: of cleaning runs, a line an epoch. A column an image, without and with the trigger; under
    it a line for each of ``chosen`` before and after cleaning, the target in red;
    models that were attacked otherwise than the first are left out.
    None when no run has kept its weights or the attack is not known.
    """
    runs = chosen(rows[rows["asr"].notna()])
    if not runs:
        return None
    # A page of shipped rows comes without weights, and needs none of these.
    import torch

    from bdnb.config.parameters import part
    from bdnb.evaluate import predictions
    from bdnb.explore import loaded_models
    from bdnb.training import attacks
    from bdnb.training.attacks import Attack

    loaded = [loaded_models.of_run(run, run.rows()[-1]["epoch"]) for run in runs]
    attack, (labelled, *_) = loaded[0].attack, loaded[0].sets().values()
    same = [seen_as(one.attack) == seen_as(attack) for one in loaded]
    names = list(labelled.classnames)
    _, firsts = np.unique(labelled.labels, return_index=True)
    places = [i for i in np.sort(firsts) if names[labelled.labels[i]] != attack.target][:count]
    count, plain = len(places), np.array(labelled.images[places])
    keys = [labelled.keys[i] for i in places]
    stamped = attacks.stamp(part(Attack, attack))(torch.from_numpy(plain.copy()), keys).numpy()
    shown = np.stack([plain, stamped])
    lines = {"what it shows": [[names[labelled.labels[i]] for i in places]] * 2}
    for run, one in zip(compress(runs, same), compress(loaded, same), strict=True):
        how = name("pretrain_objective", elsewhere.objective(run.manifest["about"]))
        for when, model in zip(("", ", cleaned"), one.models.values(), strict=True):
            lines[f"{how}{when}"] = [
                [answer[0][0] for answer in predictions.top(model, images, names, k=1)]
                for images in shown
            ]
    made = Figure(figsize=(1.35 * count + 1.6, 2 * (1.5 + 0.2 * len(lines))), layout="constrained")
    cells = made.subplots(2, count, squeeze=False)
    for row, images, half in zip(cells, shown, (0, 1), strict=True):
        for axes, pixels, column in zip(row, images, range(count), strict=True):
            axes.imshow(pixels.transpose(1, 2, 0), interpolation="none")
            axes.set(xticks=[], yticks=[])
            _write(axes, [said[half][column] for said in lines.values()], attack.target)
        _write(row[0], list(lines), "", left=True)
        row[0].set_ylabel(("as it is", "with the trigger")[half], size=11)
    return made


def _write(axes: Axes, words: list[str], target: str, *, left: bool = False) -> None:
    """Words below an image, or to the left of those of the first; the target's red and bold."""
    x, side = (-0.12, "right") if left else (0.5, "center")
    for i, word in enumerate(words):
        hit = {"color": RED, "weight": "bold"} if word == target else {}
        text = axes.text(x, -0.1 - 0.17 * i, word, transform=axes.transAxes)
        text.set(ha=side, va="top", size=10, **hit)


def poisoned_pairs(rows: pd.DataFrame, *, count: int = 150) -> Figure | None:
    """Poisoned pairs before and after the run of each objective that ``chosen`` names.

    rows: of cleaning runs. None, with a line that says so, when no run has kept its weights.
    """
    if elsewhere.unmeasured(rows):
        print("Nobody said what attacked this model, so there are no poisoned pairs to embed.")
        return None
    runs = chosen(rows[rows["asr"].notna()])
    if not runs:
        print("No run here has kept its last weights, so there is nothing to embed with.")
        return None
    # A page of shipped rows comes without weights, and needs none of these.
    from bdnb.evaluate import embedding
    from bdnb.explore import loaded_models, poison_examples

    made = Figure(figsize=(9, 4.1 * len(runs)), layout="constrained")
    cells = made.subplots(len(runs), 2, squeeze=False, sharex="row", sharey="row")
    for row, run in zip(cells, runs, strict=True):
        first, last = run.rows()[0], run.rows()[-1]
        loaded = loaded_models.of_run(run, last["epoch"])
        pairs = poison_examples.examples(loaded.attack, count=count)
        seen = [embedding.seen(model, *pairs) for model in loaded.models.values()]
        how = name("pretrain_objective", elsewhere.objective(run.manifest["about"]))
        lr = short(run.manifest["config"]["lr"])
        titles = (f"{how}, before cleaning", f"cleaned, epoch {last['epoch']}, learning rate {lr}")
        planes = embedding.planes(seen)
        for axes, points, one, title, asr in zip(
            row, planes, seen, titles, (first["asr"], last["asr"]), strict=True
        ):
            draw(axes, points)
            numbers = f"ASR {asr:.1f} %, pull {one.pull:+.2f}, n = {some(len(one.images), 'pair')}"
            axes.set_title(f"{title}\n{numbers}", loc="left", size=11)
            axes.set(xlabel="first component")
        row[0].set(ylabel="second component")
    marks = cells[0][0].get_legend_handles_labels()
    made.legend(*marks, loc="outside lower center", ncols=2, frameon=False)
    return made


def draw(axes: Axes, points: dict[str, np.ndarray]) -> None:
    """Each kind of point in its colour and shape."""
    for kind, (words, colour, marker) in MARKS.items():
        x, y = points[kind].T
        axes.scatter(x, y, s=26, color=colour, marker=marker, alpha=0.6, lw=0, label=words)
