"""Poisoned pairs in the space of embeddings, before cleaning and after it.

Rows of cleaning runs in; the weights that these runs kept are read; a Matplotlib figure out.
"""

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


def figure(rows: pd.DataFrame, *, count: int = 150) -> Figure | None:
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
