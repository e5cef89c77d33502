"""The arena's page: rows of ``arena_runs`` in; leaderboard, price curves and its sentence out."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from bdnb.analysis import arena, price
from bdnb.analysis.arena import CELL, OBJECTIVES, WAY
from bdnb.analysis.conclusions import CONTRAST
from bdnb.analysis.effect import relation
from bdnb.analysis.metrics import Spread
from bdnb.config.defence_facts import FACTS
from bdnb.report import sortable, style
from bdnb.report.interactive_figure import SCHEMA, InteractiveFigure
from bdnb.report.pages import NOTHING
from bdnb.report.style import NAMES, some
from bdnb.report.tables import FEW

SHOWN_AT = (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 25, 30, 40, 50, 60, 70, 80, 90, 100)
"""ASRs (percent) that the interactive price curves have a point at."""
WAYS = ("#117733", "#aa4499")
"""Colours of two ways, which no objective has."""


def entries(rows: pd.DataFrame) -> pd.DataFrame:
    """Return ``analysis.arena.entries`` by each defence's own blind rule; a reader's own: last."""
    if rows.empty:
        return pd.DataFrame()
    return arena.entries(rows, {name: facts.blind for name, facts in FACTS.items()})


def named(made: pd.DataFrame) -> pd.Series:
    """Return how each line's way of cleaning is called; the loss where a defence has several."""
    losses = made.groupby("defence")["loss"].nunique()
    return pd.Series(
        [
            way(defence, loss, several=losses[defence] > 1)
            for defence, loss in zip(made["defence"], made["loss"], strict=True)
        ],
        index=made.index,
        dtype=object,
    )


def way(defence: str, loss: str, *, several: bool = False) -> str:
    """Return how a way of cleaning is called. several: whether its loss has to be said, too."""
    words = NAMES.get(loss, loss)
    if defence == "cleanclip" and loss != "mmcl_ssl":
        return words if "+" in words else f"{words} alone"
    name = style.name("defence", defence).replace("_", " ")
    return f"{name}, {words}" if several and defence != "cleanclip" else name


def leaderboard(made: pd.DataFrame) -> HTML | Markdown:
    """Return the table of ``entries``, the most kept first; attack and objective can be chosen.

    A mean over fewer than ``FEW`` seeds has no interval.
    """
    if made.empty:
        return NOTHING
    lines = made.assign(way=named(made)).to_dict("records")
    frame = pd.DataFrame([_line(one) for one in lines])
    order = frame["kept, oracle, %"].map(lambda one: getattr(one, "mean", np.nan))
    frame = frame.loc[order.sort_values(ascending=False).index]
    none: Any = {"low": np.nan, "high": np.nan}
    shown = frame.map(
        lambda one: one._replace(**none) if isinstance(one, Spread) and one.n < FEW else one
    )
    return sortable.table(shown, ("attack", "objective"))


def _line(one: Mapping[Any, Any]) -> dict[str, Any]:
    nothing, edge = float("nan"), " (edge of its learning rates)" * (one.get("edge") is True)
    return {
        "way of cleaning": one["way"] + edge,
        "attack": _attack(one["attack"], one["route"]) + " (failed)" * bool(one["failed"]),
        "objective": NAMES.get(one["objective"], one["objective"]),
        "seeds": int(one["seeds"]),
        "kept, oracle, %": one.get("kept", nothing),
        "kept, blind, %": one.get("kept_blind", nothing),
        "blind costs": one.get("cost", nothing),
        "ASR before, %": one["asr_before"],
        f"lowest ASR at ≥ {arena.KEEPS:g} % kept": one.get("lowest_asr", nothing),
        "ASR, blind, %": one.get("asr_blind", nothing),
        "accuracy, blind, % of before": one.get("accuracy_blind", nothing),
        "control, %": one.get("control", nothing),
        "steps": int(one["steps"]),
        "rows": int(one["rows"]),
    }


def answer(made: pd.DataFrame) -> Markdown:
    """Say what holds across pre-training objectives and what does not, from ``entries``."""
    both = arena.across(made) if len(made) else made
    if both.empty:
        return Markdown("**No way of cleaning was run on models of both objectives yet.**")
    edge = both["edge"].map({True: ", best at an edge of its learning rates", False: ""})
    both = both.assign(way=named(both) + edge)

    def names(mask: pd.Series) -> str:
        found = both["way"][mask]
        return f"{len(found)} ({'; '.join(found)})" if len(found) else "none"

    good, ways = made[~made["failed"]], f"{some(len(both), 'way')} of cleaning"
    attacks = list(dict.fromkeys(map(_attack, good["attack"], good["route"])))
    tried = f"{some(int(good['seeds'].max()), 'seed')} of {some(len(attacks), 'attack')}"
    listed = "; ".join(f"`{one}`" for one in attacks)
    undecided, weak = ~both["level"] & (both["side"] == ""), both["side"] == "mmcl"
    first = (
        f"{tried} decide nothing about the {ways} compared: for none is it known whether it keeps "
        f"more of the accuracy of MMCL models or of MMCL + SSL models."
        if undecided.all()
        else f"Of {ways} that were run on models of both objectives ({tried}), "
        f"{names(weak)} keep{'s' * bool(weak.sum() < 2)} more on MMCL models by over {CONTRAST:g} "
        f"points, {names(both['side'] == 'mmcl_ssl')} on MMCL + SSL models, and "
        f"{names(both['level'])} as much on both; of {undecided.sum()} it is not decided."
    )
    words = [f"**{first}**"]
    alone = f"Only {listed} has rows: of other attacks nothing is known."
    words.append(alone if len(attacks) == 1 else f"Attacks with rows: {listed}.")
    gains = both["gains"].map(len)
    words.append(
        f"Better than MMCL alone with no more steps, on both objectives: {names(gains == 2)}; on "
        f"one: {names(gains == 1)}."
        if gains.any()
        else "None is shown to be better than MMCL alone with no more steps."
    )
    words_of = dict(zip(made[WAY].itertuples(index=False, name=None), named(made), strict=True))
    tops = [arena.best(made, objective) for objective in OBJECTIVES]
    told = [
        f"{words_of[top[:2]]} on {NAMES[objective]} ({top[2]:.0f} %)"
        for objective, top in zip(OBJECTIVES, tops, strict=True)
        if top
    ]
    words.append(f"In the mean over seeds, most is kept by {' and by '.join(told)}.")
    found = relation(both["mmcl"], both["mmcl_ssl"])
    if not np.isnan(found.rho):
        words.append(
            f"The order of ways on one objective goes with that on the other by a rank correlation "
            f"of {found.rho:+.2f} (p = {found.p:.3f})."
        )
    words.append(
        f"Stopping blindly costs {good['cost'].mean():.0f} points on average, at most "
        f"{good['cost'].max():.0f}."
    )
    return Markdown(" ".join(words))


def missing(made: pd.DataFrame, planned: pd.DataFrame | None = None) -> Markdown:
    """Say which attacks failed, and which ways of cleaning lack which cells.

    planned: of ``arena_runs.planned``; its ways and cells without any run are named, too.
    """
    if made.empty:
        return NOTHING
    made = made.assign(cell=[_cell(*cell) for cell in made[CELL].itertuples(index=False)])
    cells, seeds, lines = list(made["cell"].unique()), int(made["seeds"].max()), []
    for way, own in made.assign(way=named(made)).groupby("way", sort=False):
        lacks = [cell for cell in cells if cell not in set(own["cell"])]
        few = list(own.loc[(own["seeds"] < seeds) & ~own["failed"], "cell"])
        said = [f"no run of {'; '.join(lacks)}"] * bool(lacks)
        said += [f"fewer than {some(seeds, 'seed')} of {'; '.join(few)}"] * bool(few)
        lines += [f"- {way}: {'; '.join(said)}"] * bool(said)
    if failed := list(made.loc[made["failed"], "cell"].unique()):
        lines.append(f"- ASR before under {arena.GATE:g} %, attack failed: {'; '.join(failed)}")
    if planned is not None and not planned["ran"].all():
        lines.append(
            f"- {planned['ran'].sum()} of {len(planned)} planned runs are there. {_idle(planned)}"
        )
    return Markdown("\n".join(lines) or "No cell is missing, and no attack failed.")


def _idle(planned: pd.DataFrame) -> str:
    """Which planned ways of cleaning, and models that they are planned for, have no run at all."""
    cleaning = planned[planned["defence"] != ""]
    cells = [_cell(*one) for one in cleaning[CELL].itertuples(index=False)]
    groups = {"Ways not run yet": list(named(cleaning)), "Models not cleaned yet": cells}
    said = []
    for words, kinds in groups.items():
        ran = {kind for kind, done in zip(kinds, cleaning["ran"], strict=True) if done}
        left = sorted(set(kinds) - ran)
        said += [f"{words}: {'; '.join(left)}."] * bool(left)
    return " ".join(said)


def _cell(attack: str, route: str, objective: str) -> str:
    return f"{_attack(attack, route)} on {NAMES.get(objective, objective)}"


def _attack(attack: str, route: str) -> str:
    return attack if route == "scratch" else f"{attack} ({route})"


def curves(rows: pd.DataFrame) -> InteractiveFigure | Markdown:
    """Return the price curves of any two ways side by side, attack and ways to be chosen."""
    points = _points(rows) if len(rows) else pd.DataFrame()
    if points.empty:
        return Markdown(f"*No model with an ASR of {arena.GATE:g} % or more was cleaned yet.*")
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
        seeds = start.index[start >= arena.GATE]
        made = [price.curve(own[own["seed"] == seed], SHOWN_AT) for seed in seeds]
        if made:
            about = {"attack": _attack(attack, route), "objective": NAMES.get(objective, objective)}
            about |= {"way": way, "seeds": str(len(made))}
            kept = np.mean(made, axis=0).round(1)
            frames.append(pd.DataFrame({"asr": SHOWN_AT, "kept": kept}).assign(**about))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()
