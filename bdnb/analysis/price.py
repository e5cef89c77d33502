"""What cleaning costs: the share of its accuracy that a model keeps, by the ASR that is allowed.

In: rows of cleaning runs of one seed and one pre-training objective, epoch 0 the backdoored model.
Out: the price curve, the number made from it (kept accuracy), how much the test set's sampling
moves both, and the authors' own curves. The paper reads the curve at one point, ASR <= 5 %.
"""

import json
from collections.abc import Sequence
from importlib.resources import files

import numpy as np
import pandas as pd

from bdnb.analysis.metrics import (
    CLEANED,
    before,
    best_accuracy_at,
    by_seed,
    candidates,
    last_epoch,
    narrow,
    over_seeds,
    starts,
)

KEPT_AT = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
"""ASR thresholds (percent) that kept accuracy is the mean over. Fixed before the runs that it is
to judge; the rows shipped with the book are older."""
THRESHOLDS = tuple([t / 2 for t in range(40)] + [float(t) for t in range(20, 101)])
"""ASR thresholds (percent) that a curve is drawn at."""
AUTHORS = "analysis/authors_curves.json"


def curve(
    rows: pd.DataFrame, thresholds: Sequence[float] = THRESHOLDS, *, start: float | None = None
) -> np.ndarray:
    """The price curve: accuracy of the best candidate with ASR <= t, in percent of ``start``.

    rows: of one seed and objective. thresholds: (T,) percent. start: accuracy before cleaning
    (percent); that of epoch 0 of each candidate's run unless given. Out: (T,); 0 where no candidate
    is under t. Errors: ConfigError for rows without epoch 0 when no start is given.
    """
    rows = narrow(rows)
    models = candidates(rows)
    share = 100 * models["accuracy"] / (starts(rows) if start is None else start)
    return _curve(share.to_numpy(), models["asr"].to_numpy(), thresholds)


def _curve(share: np.ndarray, asr: np.ndarray, thresholds: Sequence[float]) -> np.ndarray:
    order = np.argsort(asr)
    best = np.maximum.accumulate(np.concatenate([[0.0], share[order]]))
    return best[np.searchsorted(asr[order], thresholds, side="right")]


def kept_accuracy(rows: pd.DataFrame, *, start: float | None = None) -> float:
    """Kept accuracy: the curve's mean over ``KEPT_AT``, in percent of the accuracy before.

    It has a value for every model, and moves little when one candidate does.
    """
    return float(curve(rows, KEPT_AT, start=start).mean())


def kept_at(rows: pd.DataFrame, threshold: float = CLEANED) -> float:
    """The curve at one threshold; at 5 % the paper's number (its Table 1 is this less 100)."""
    return float(curve(rows, [threshold])[0])


def groups(rows: pd.DataFrame, *, by: Sequence[str]) -> pd.DataFrame:
    """A line a group of runs: the columns ``by``, ``seeds``, and a ``Spread`` over seeds of each of

    accuracy_before, asr_before, kept (kept accuracy), kept_at_5, best_accuracy (at ASR <= 5 %; no
    value for a seed without such a model) and kept_last (kept accuracy of last epochs alone).
    """
    lines = []
    for names, own in rows.groupby(list(by), sort=False, dropna=False):
        share, percent = (0.0, most(own)), (0.0, 100.0)
        measures = {
            "accuracy_before": (lambda one: before(one).accuracy, percent),
            "asr_before": (lambda one: before(one).asr, percent),
            "kept": (kept_accuracy, share),
            "kept_at_5": (kept_at, share),
            "best_accuracy": (best_accuracy_at, percent),
            "kept_last": (_kept_last, share),
        }
        line = dict(zip(by, names, strict=True)) | {"seeds": own["seed"].nunique()}
        for name, (measure, limits) in measures.items():
            line[name] = over_seeds(by_seed(own, measure), limits=limits)
        lines.append(line)
    return pd.DataFrame(lines)


def most(rows: pd.DataFrame) -> float:
    """The largest share (percent) of its accuracy that a model could keep: all images right."""
    return float(1e4 / max(by_seed(rows, lambda one: before(one).accuracy).min(), 1e-9))


def _kept_last(rows: pd.DataFrame) -> float:
    return kept_accuracy(pd.concat([rows[rows["epoch"] == 0], last_epoch(rows)]))


def sampling_error(
    rows: pd.DataFrame, *, images: int, draws: int = 200, seed: int = 0
) -> dict[str, float]:
    """How much another draw of the test images would move the measures of one seed's rows.

    Accuracy and ASR of each candidate are drawn from binomials of so many images. Out: standard
    deviations of "kept" (kept accuracy) and "kept_at_5", in percent of the accuracy before.
    """
    models, start = candidates(rows), starts(rows).to_numpy()
    random = np.random.default_rng(seed)
    shares = models[["accuracy", "asr"]].to_numpy(dtype=float) / 100
    drawn = 100 * random.binomial(images, shares, (draws, *shares.shape)) / images
    curves = np.array([_curve(100 * one[:, 0] / start, one[:, 1], KEPT_AT) for one in drawn])
    at_5 = curves[:, KEPT_AT.index(int(CLEANED))]
    return {"kept": float(curves.mean(axis=1).std()), "kept_at_5": float(at_5.std())}


def authors_curves() -> pd.DataFrame:
    """Curves of the authors' published points: data, objective, loss, threshold, kept (percent).

    Computed from ``cleaning_plot_data_*.json`` of their repository, relative to Table 3.
    """
    text = files("bdnb").joinpath(AUTHORS).read_text(encoding="utf-8")
    lines = [
        (*name.split(" "), threshold, kept)
        for name, values in json.loads(text).items()
        for threshold, kept in zip(THRESHOLDS, values, strict=True)
    ]
    return pd.DataFrame(lines, columns=["data", "objective", "loss", "threshold", "kept"])


def authors_kept() -> dict[tuple[str, str, str], float]:
    """The authors' kept accuracy, by data, objective and cleaning loss."""
    curves = authors_curves()
    chosen = curves[curves["threshold"].isin(KEPT_AT)]
    means = chosen.groupby(["data", "objective", "loss"], as_index=False)["kept"].mean()
    return {(data, of, loss): kept for data, of, loss, kept in means.itertuples(index=False)}
