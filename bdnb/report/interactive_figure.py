"""The figure that a reader changes: rows in, an Altair chart out that needs no kernel or network.

JupyterLab draws it with its own Vega; in a page ``interactive_page`` does. The numbers are those of
``analysis.metrics``: best accuracy of each seed at ASR <= t, their mean and 95 % t-interval.
"""

import json
import math
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd
from IPython.display import Markdown

from bdnb.analysis.metrics import CLEANED, t_factor
from bdnb.report import style
from bdnb.report.figures import need
from bdnb.report.interactive_page import MIME
from bdnb.report.style import ACCURACY, ASR, LOSSES, RED, Mark
from bdnb.runs import elsewhere
from bdnb.runtime.errors import ConfigError

COLUMNS = ("run", "pretrain_objective", "loss", "lr", "seed", "epoch", "accuracy", "asr")
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
SHAPES = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down",
    "P": "cross", "X": "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z",
    "<": "triangle-left", ">": "triangle-right",
}  # fmt: skip
"""Matplotlib's markers in Vega."""
STAR = "M0,-1L.23,-.32L.95,-.31L.38,.12L.59,.81L0,.4L-.59,.81L-.38,.12L-.95,-.31L-.23,-.32Z"
HUES = {"loss": "cleaned with", "lr": "learning rate"}


class InteractiveFigure:
    """A Vega-Lite chart that notebooks keep as such. spec: the chart, as JSON."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.spec = spec

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        return {MIME: self.spec, "text/plain": self.spec["description"]}


def explorer(
    rows: pd.DataFrame, *, colour: str = "loss", paths: bool = False
) -> InteractiveFigure | Markdown:
    """Accuracy against ASR, with controls for threshold, loss, learning rate, seed and colour.

    rows: a line an epoch of a cleaning run, epoch 0 included, with columns run,
    pretrain_objective, loss, lr, seed, epoch, accuracy, asr (percent). It opens with CleanCLIP's
    loss (MMCL + SSL) ticked, where that is there. colour: "loss" or "lr", which colours and shapes
    tell apart at first. paths: join each run's epochs at first. A sentence where no row has an ASR.
    Errors: ConfigError for missing columns, no rows, or another colour.
    """
    need(rows, *COLUMNS)
    if colour not in HUES:
        raise ConfigError(f"colour={colour!r}: expected {' or '.join(HUES)}")
    if elsewhere.unmeasured(rows):
        return Markdown(f"*{elsewhere.NOT_MEASURED}, so there is nothing to draw against it.*")
    points = rows.dropna(subset=["accuracy", "asr"]).drop_duplicates(["run", "epoch"])
    if "defence" in points and points["defence"].nunique() > 1:
        points = points.assign(loss=style.cleanings(points))
    # Four digits tell 5 % from the next share of 50,000 images, and are half of what rows have.
    points = (
        points[list(COLUMNS)]
        .sort_values(["pretrain_objective", "run", "epoch"])
        .round({"accuracy": 4, "asr": 4})
    )
    losses = [v for v in LOSSES if v in set(points["loss"])]
    losses += sorted(set(points["loss"]) - set(losses))
    values: dict[str, list[Any]] = {"loss": losses}
    values |= {name: sorted(points[name].unique().tolist()) for name in ("lr", "seed")}
    chart = _chart(_named(points), values, colour, paths)
    # The version that JupyterLab has; nothing here is newer.
    return InteractiveFigure(chart.to_dict() | {"$schema": SCHEMA})


def _named(points: pd.DataFrame) -> pd.DataFrame:
    """The points with values in words, and runs by number: a page carries them all."""
    objectives = [elsewhere.trained(v, style.NAMES) for v in points["pretrain_objective"]]
    return points.assign(
        pretrain_objective=objectives,
        run=pd.factorize(points["run"])[0],
        loss=[style.name("loss", v) for v in points["loss"]],
        lr=[style.short(v) for v in points["lr"]],
        seed=points["seed"].astype(str),
    )


def _chart(
    points: pd.DataFrame, values: Mapping[str, list[Any]], colour: str, paths: bool
) -> alt.FacetChart:
    slider = alt.binding_range(min=0, max=100, step=0.5, name="a model counts as cleaned at ASR ≤ ")
    menu = alt.binding_select(options=list(HUES.values()), name="colour and shape ")
    lines = alt.binding_checkbox(name="join the epochs of a run ")
    params = [
        alt.param("threshold", value=CLEANED, bind=slider),
        alt.param("hue", value=HUES[colour], bind=menu),
        alt.param("paths", value=paths, bind=lines),
    ]
    ticked = []
    for column, found in values.items():
        words = [style.name(column, value) for value in found]
        main = {style.NAMES["mmcl_ssl"], style.cleaning("cleanclip", "mmcl_ssl")} & set(words)
        first = main if column == "loss" and main else set(words)
        boxes = {f"{column}_{i}": word for i, word in enumerate(words)}
        for key, word in boxes.items():
            box = alt.binding_checkbox(name=f"{style.TITLES[column]}: {word} ")
            params.append(alt.param(key, value=word in first, bind=box))
        on = ", ".join(f"{key} ? {json.dumps(word)} : null" for key, word in boxes.items())
        ticked.append(f"indexof([{on}], datum.{column}) >= 0")
    base = (
        alt.Chart()
        .transform_filter(" && ".join(ticked))
        .transform_calculate(hue=f"hue == {json.dumps(HUES['lr'])} ? datum.lr : datum.loss")
        .encode(
            x=alt.X("asr:Q", title=ASR, scale=alt.Scale(domain=[-3, 103], nice=False)),
            y=alt.Y(
                "accuracy:Q", title=ACCURACY, scale=alt.Scale(domain=_tens(points["accuracy"]))
            ),
        )
    )
    longest = int(points["seed"].nunique())
    rates = [style.short(lr) for lr in values["lr"]]
    layers = _marks(base, _looks(values), rates, int(points["epoch"].max()))
    layers += _answer(base, longest)
    described = (
        "Accuracy against attack success rate of cleaned models, a panel for each pre-training "
        "objective. Controls choose the threshold of ASR, losses, learning rates and seeds; above "
        "each panel stands the best accuracy at the threshold, mean over seeds."
    )
    return (
        alt.layer(*layers, data=alt.Data(values=points.to_dict("records")))
        .properties(width=300, height=270)
        .facet(facet=alt.Facet("pretrain_objective:N", title=None), columns=2)
        .properties(description=described)
        .add_params(*params)
        .configure(**json.loads(Path(__file__).with_suffix(".json").read_text("utf-8")))
    )


def _tens(accuracy: pd.Series) -> list[float]:
    """The vertical axis: the tens below and above all points, whatever is chosen."""
    low, high = float(accuracy.min()), float(accuracy.max())
    return [max(0.0, 10 * math.floor((low - 1) / 10)), min(100.0, 10 * math.ceil((high + 2) / 10))]


def _looks(values: Mapping[str, Sequence[Hashable]]) -> dict[str, Mark]:
    """The colour and shape of each loss and learning rate, by its words."""
    return {
        style.name(column, value): look
        for column in HUES
        for value, look in style.palette(column, values[column]).items()
    }


def _marks(
    base: alt.Chart, looks: Mapping[str, Mark], rates: Sequence[str], last: int
) -> list[alt.Chart]:
    """The points after each epoch, the paths that join them, and the backdoored models."""
    words = list(looks)
    colours = alt.Scale(domain=words, range=[look.colour for look in looks.values()])
    shapes = alt.Scale(domain=words, range=[SHAPES[look.marker] for look in looks.values()])
    losses = [word for word in words if word not in rates]
    shown = f"hue == {json.dumps(HUES['lr'])} ? {json.dumps(rates)} : {json.dumps(losses)}"
    legend = alt.Legend(title=None, values=alt.ExprRef(shown))
    colour = alt.Color("hue:N", scale=colours, legend=legend)
    shape = alt.Shape("hue:N", scale=shapes, legend=legend)
    details = [alt.Tooltip(f"{name}:N") for name in ("loss", "lr", "seed", "epoch")]
    details += [alt.Tooltip(f"{name}:Q", format=".1f") for name in ("accuracy", "asr")]
    size = f"paths ? 20 + 90 * datum.epoch / {last} : 50"
    after = (
        base.transform_filter("datum.epoch > 0")
        .transform_calculate(size=size)
        .mark_point(filled=True, opacity=0.8)
        .encode(colour, shape, alt.Size("size:Q", scale=None), tooltip=details)
    )
    paths = base.mark_line(strokeWidth=1.2, opacity=0.6).encode(
        colour, detail="run:N", order="epoch:O"
    )
    paths = paths.transform_filter("paths")
    start = base.transform_filter("datum.epoch == 0").mark_point(filled=True, fill=RED, opacity=1)
    ring = base.transform_filter("datum.epoch == 0").mark_point(size=330, stroke="currentColor")
    start = start.encode(shape=alt.value(STAR), size=alt.value(110), tooltip=details)
    limit = alt.Chart().transform_aggregate(n="count()")
    limit = limit.transform_calculate(at="threshold", left="-3")
    shade = limit.mark_rect(opacity=0.1, color="currentColor").encode(x="left:Q", x2="at:Q")
    line = limit.mark_rule(strokeDash=[5, 4], color="currentColor").encode(x="at:Q")
    return [shade, line, paths, after, ring, start]


def _answer(base: alt.Chart, seeds: int) -> list[alt.Chart]:
    """Each seed's best model at the threshold, ringed, and their mean with its t-interval."""
    panel = "pretrain_objective"
    best = (
        base.transform_filter("datum.epoch > 0 && datum.asr <= threshold")
        .transform_window(
            place="row_number()",
            sort=[alt.SortField("accuracy", "descending"), alt.SortField("asr", "ascending")],
            groupby=[panel, "seed"],
        )
        .transform_filter("datum.place == 1")
    )
    rings = best.mark_point(size=230, stroke=RED, strokeWidth=2.5, filled=False)
    factors = [t_factor(n) if n > 1 else 0.0 for n in range(seeds + 1)]
    half = f"{factors}[datum.n] * datum.deviation"
    summary = (
        "datum.n == 0 ? 'no model at ASR ≤ ' + format(threshold, '.1f') + ' %' : "
        "'best at ASR ≤ ' + format(threshold, '.1f') + ' %: ' + format(datum.mean, '.1f') + ' %' "
        "+ (datum.n > 1 ? ' (' + format(max(datum.mean - datum.half, 0), '.1f') + ' to ' "
        "+ format(min(datum.mean + datum.half, 100), '.1f') + ')' : '')"
    )
    counts = (
        "'n = ' + datum.models + (datum.models == 1 ? ' model, ' : ' models, ')"
        " + datum.seeds + (datum.seeds == 1 ? ' seed' : ' seeds')"
        " + (datum.n < datum.seeds ? ', ' + (datum.seeds - datum.n) + ' without' : '')"
    )
    spread = (
        base.transform_filter("datum.epoch > 0")
        .transform_calculate(under="datum.asr <= threshold ? datum.accuracy : null")
        .transform_aggregate(best="max(under)", models="count()", groupby=[panel, "seed"])
        .transform_aggregate(
            mean="mean(best)", deviation="stdev(best)", n="valid(best)", seeds="count()",
            models="sum(models)", groupby=[panel],
        )
        .transform_calculate(half=half)
        .transform_calculate(summary=summary, counts=counts)
    )  # fmt: skip
    lines = [
        spread.mark_text(align="left", baseline="bottom", dy=dy).encode(
            x=alt.value(0), y=alt.value(0), text=field
        )
        for dy, field in ((-22, "summary:N"), (-6, "counts:N"))
    ]
    bar = spread.transform_filter("datum.n > 1").transform_calculate(at="threshold", left="-3")
    mean = bar.mark_rule(color=RED, strokeWidth=4).encode(x="left:Q", x2="at:Q", y="mean:Q")
    return [rings, mean, *lines]
