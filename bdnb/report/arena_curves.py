"""The arena's price curves of any two ways of cleaning, to be chosen: rows in, one figure out."""

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import Markdown

from bdnb.analysis import price
from bdnb.analysis.arena import CELL, GATE
from bdnb.report.arena import attack_name, named
from bdnb.report.interactive_figure import SCHEMA, InteractiveFigure
from bdnb.report.style import NAMES

SHOWN_AT = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
"""ASRs (percent) that the interactive price curves have a point at."""
WAYS = ("#117733", "#aa4499")
"""Colours of two ways, which no objective has."""


def curves(rows: pd.DataFrame) -> InteractiveFigure | Markdown:
    """Return the price curves of any two ways side by side, attack and ways to be chosen."""
    points = _points(rows) if len(rows) else pd.DataFrame()
    if points.empty:
        return Markdown(f"*No model with an ASR of {GATE:g} % or more was cleaned yet.*")
    ways, attacks = list(points["way"].unique()), list(points["attack"].unique())
    chosen = {"attack": attacks, "first": ways, "second": ways}
    params = [
        alt.param(name, value=values[-1 if name == "second" else 0],
                  bind=alt.binding_select(options=values, name=f"{name} "))
        for name, values in chosen.items()
    ]  # fmt: skip
    wanted = "datum.attack == attack && (datum.way == first || datum.way == second)"
    ink = {"labelColor": "currentColor", "titleColor": "currentColor"}
    chart = (
        alt.Chart(alt.Data(values=points.to_dict("records")))
        .transform_filter(wanted)
        .mark_line(interpolate="step-after", strokeWidth=2.5)
        .encode(
            alt.X("asr:Q", title="ASR allowed (%)", scale=alt.Scale(type="log", domain=[1, 100])),
            alt.Y("kept:Q", title="accuracy kept (% of that before)"),
            alt.Color("way:N", title=None, scale=alt.Scale(range=list(WAYS))),
            alt.StrokeDash("way:N", title=None),
            tooltip=["way:N", "asr:Q", "kept:Q", "seeds:N"],
        )
        .properties(width=300, height=250)
        .facet(facet=alt.Facet("objective:N", title=None), columns=2)
        .properties(description="Price curves of two ways of cleaning, a panel for each objective.")
        .add_params(*params)
        .configure(background="transparent")
        .configure_axis(**ink, gridColor="currentColor", gridOpacity=0.15)
        .configure_legend(**ink, orient="bottom")
        .configure_header(labelColor="currentColor", labelAnchor="start")
    )
    return InteractiveFigure(chart.to_dict() | {"$schema": SCHEMA})


def _points(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean price curves over the seeds that the attack succeeded on."""
    frames = []
    for names, own in rows.assign(way=named(rows)).groupby([*CELL, "way"], sort=False):
        attack, route, objective, way = map(str, names)
        start = own[own["epoch"] == 0].groupby("seed")["asr"].mean()
        seeds = start.index[start >= GATE]
        made = [price.curve(own[own["seed"] == seed], SHOWN_AT) for seed in seeds]
        if made:
            about = {
                "attack": attack_name(attack, route),
                "objective": NAMES.get(objective, objective),
            }
            about |= {"way": way, "seeds": str(len(made))}
            kept = np.mean(made, axis=0).round(1)
            frames.append(pd.DataFrame({"asr": SHOWN_AT, "kept": kept}).assign(**about))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
