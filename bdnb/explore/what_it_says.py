"""What models say of an image before cleaning and after it, without the trigger and with it.

Rows of cleaning runs in; the weights that these runs kept are read; a Matplotlib figure out.
"""

from itertools import compress
from operator import attrgetter

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bdnb.explore.poisoned_pairs import chosen
from bdnb.report.style import RED, name
from bdnb.runs import elsewhere

seen_as = attrgetter("data", "trigger", "trigger_size", "trigger_options", "resize", "target")
"""Of a training run's parameters, those that make a triggered image and the answer wanted of it."""


def figure(rows: pd.DataFrame, *, count: int = 6) -> Figure | None:
    """The first test images of ``count`` classes at most, and what the models call them.

    rows: of cleaning runs, a line an epoch. A column an image, without and with the trigger; under
    it a line for each of ``poisoned_pairs.chosen`` before and after cleaning, the target in red;
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
