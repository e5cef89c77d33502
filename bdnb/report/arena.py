"""The arena's page: rows of ``arena_runs`` in; leaderboard and its sentence out."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML, Markdown

from bdnb.analysis import arena, arena_across
from bdnb.analysis.arena import OBJECTIVES, WAY
from bdnb.analysis.conclusions import CONTRAST
from bdnb.analysis.effect import relation
from bdnb.analysis.metrics import Spread
from bdnb.config.defence_facts import FACTS
from bdnb.report import sortable, style
from bdnb.report.pages import NOTHING
from bdnb.report.style import NAMES, some
from bdnb.report.tables import FEW

ORDERED = 3
"""Attacks that it takes to say which way keeps most."""


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
    nothing, tuned = float("nan"), one.get("tuned")
    edge = " (edge)" * (one.get("edge") is True)
    where = " (not tuned)" * (tuned is False) + " (tuned here)" * bool(one["tuning"] and tuned)
    return {
        "way of cleaning": one["way"] + edge + where,
        "attack": attack_name(one["attack"], one["route"]) + " (failed)" * bool(one["failed"]),
        "objective": NAMES.get(one["objective"], one["objective"]),
        "seeds": int(one["seeds"]),
        "settings": f"{one['settings']} of {one['settings_anywhere']}",
        "kept, oracle, %": one.get("kept", nothing),
        "kept, frozen, %": one.get("kept_frozen", nothing),
        "kept, blind, %": one.get("kept_blind", nothing),
        "blind costs": one.get("cost", nothing),
        "ASR before, %": one["asr_before"],
        f"lowest ASR at ≥ {arena.KEEPS:g} % kept": one.get("lowest_asr", nothing),
        "ASR, blind, %": one.get("asr_blind", nothing),
        "accuracy, blind, % of before": one.get("accuracy_blind", nothing),
        "control, frozen, %": one.get("control", nothing),
        "steps": int(one["steps"]),
        "rows": int(one["rows"]),
    }


def answer(made: pd.DataFrame) -> Markdown:
    """Say what holds across pre-training objectives and what does not, from ``entries``."""
    both = arena_across.across(made) if len(made) else made
    if both.empty:
        return Markdown(
            "**No way of cleaning can be compared across objectives yet**: that takes one that was "
            "run on backdoored models of both, at a setting in common."
        )
    names, good = _names(made), made[~made["failed"]]
    attacks = list(dict.fromkeys(map(attack_name, made["attack"], made["route"])))
    listed = "; ".join(f"`{one}`" for one in attacks)
    points = {
        "Attacks": f"only {listed} has rows: of others nothing is known."
        if len(attacks) == 1
        else f"{listed} have rows.",
        "How sure": _sure(both),
        "Control": _gains(both, good, names),
        "Most kept": _most(arena_across.ranking(made), names),
        "Blind stopping": _blind_cost(good),
    }
    told = [f"- *{name}*: {words}" for name, words in points.items()]
    return Markdown("\n".join([f"**{_contrasts(both, names)}**", "", *told]))


def _names(made: pd.DataFrame) -> dict[tuple[str, str], str]:
    return dict(zip(_ways(made), named(made), strict=True))


def _ways(lines: pd.DataFrame) -> list[tuple[str, str]]:
    return list(lines[WAY].itertuples(index=False, name=None))


def _listed(both: pd.DataFrame, names: Mapping[tuple[str, str], str]) -> str:
    """How many ways these are, and which."""
    edge = both["edge"].map({True: ", best at an edge of its learning rates", False: ""})
    found = [names[way] + note for way, note in zip(_ways(both), edge, strict=True)]
    return f"{len(found)} ({'; '.join(found)})" if found else "none"


def _contrasts(both: pd.DataFrame, names: Mapping[tuple[str, str], str]) -> str:
    """On which objective each way keeps more."""
    ways, tried = f"{some(len(both), 'way')} of cleaning", _tried(both)
    weak, strong = both[both["side"] == "mmcl"], both[both["side"] == "mmcl_ssl"]
    were, one = "was" if len(both) == 1 else "were", tried.startswith("1 ")
    undecided = len(both) - len(weak) - len(strong) - both["level"].sum()
    if undecided == len(both):
        return (
            f"{tried} decide{'s' * one} nothing about the {ways} compared: for none is it known "
            "whether it keeps more of the accuracy of MMCL models or of MMCL + SSL models."
        )
    return (
        f"Of {ways} that {were} run on models of both objectives ({tried}), "
        f"{_listed(weak, names)} keep{'s' * (len(weak) < 2)} more on MMCL models by over "
        f"{CONTRAST:g} points, {_listed(strong, names)} on MMCL + SSL models, and "
        f"{_listed(both[both['level']], names)} as much on both; of {undecided} it is not decided."
    )


def _tried(both: pd.DataFrame) -> str:
    """How many attacks and seeds ways were compared on."""
    attacks, seeds = (_span(both[f"{thing}s"], thing) for thing in ("attack", "seed"))
    alone = both["attacks"].max() == 1
    return f"{seeds} of 1 attack" if alone else f"{attacks} with {seeds} in all"


def _span(numbers: pd.Series, thing: str) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return f"{low} to " * (low < high) + some(high, thing)


def _sure(both: pd.DataFrame) -> str:
    """How often the rule was asked, and how many of its answers a plain interval gives, too."""
    asked, plain = int(both["asked"].sum()), int(both["plain"].sum())
    decided = int((both["side"] != "").sum() + both["level"].sum() + both["gains"].map(len).sum())
    words = f"the rule was asked {some(asked, 'time')} and decided {decided}"
    if decided:
        words += (
            f"; of these a plain 95 % interval decides {plain or 'none'}. The rule decides more "
            "readily than that (see *How to read this book*), the oftener asked the more by luck"
        )
    return words + "."


def _gains(both: pd.DataFrame, good: pd.DataFrame, names: Mapping[tuple[str, str], str]) -> str:
    """Which ways are better than the control, and which have none."""
    gains = both["gains"].map(len)
    words = (
        f"Better than MMCL alone with no more steps, on both objectives: "
        f"{_listed(both[gains == 2], names)}; on one: {_listed(both[gains == 1], names)}."
        if gains.any()
        else "None is shown to be better than MMCL alone with no more steps."
    )
    beside = {way for way, one in zip(_ways(good), good["control"], strict=True) if one.n}
    alone = "; ".join(names[way] for way in _ways(both) if way not in beside)
    return words + f" No control of their length at its frozen setting: {alone}." * bool(alone)


def _most(found: arena_across.Ranking, names: Mapping[tuple[str, str], str]) -> str:
    """What keeps most on each objective, whether the order is the same, and who is left out."""
    ways = found.ways
    left = "; ".join(f"{names[way]} ({why})" for way, why in found.left_out.items())
    left_out = f" Left out of this comparison: {left}." * bool(left)
    if ways.empty:
        return f"No way was run on both objectives at the setting frozen for it.{left_out}"
    told = []
    for objective in OBJECTIVES:
        best = ways.sort_values(objective, ascending=False, kind="stable")[:2]
        (top, most), *others = zip(_ways(best), best[objective], strict=True)
        after = "".join(f"; next {names[way]}, {share:.0f} %" for way, share in others)
        told.append(f"on {NAMES[objective]} by {names[top]} ({most:.0f} %{after})")
    words = (
        f"At its frozen setting most is kept {' and '.join(told)}, in the mean over "
        f"{some(len(found.attacks), 'attack')}, on the {some(found.models, 'model')} of each "
        f"objective that all {some(len(ways), 'way')} compared were run on"
    )
    words += ", the MMCL model that settings were tuned on among them." * found.tuned_on
    words += "." * (not found.tuned_on)
    if len(found.attacks) < ORDERED:
        words += " Of so few attacks no order is known."
    order = relation(ways["mmcl"], ways["mmcl_ssl"])
    if not np.isnan(order.rho):
        words += (
            " Their order on one objective goes with that on the other by a rank correlation of "
            f"{order.rho:+.2f} ({order.chance})."
        )
    return words + left_out


def _blind_cost(good: pd.DataFrame) -> str:
    """What picking blindly costs where neither the settings nor the tuning make it look small."""
    fair = good[good["whole"] & ~good["tuning"]]
    which = "with all settings of the way, outside the cell that it was tuned in"
    if fair.empty:
        return f"What picking blindly costs is not known: the table has no line {which}."
    costs, nothing = fair["cost"], int((fair["kept"].map(lambda one: one.mean) == 0).sum())
    said = (
        f"Picking blindly costs {costs.mean():.0f} points on average, at most {costs.max():.0f} "
        f"({some(len(fair), 'line')} of the table {which}"
    )
    if nothing:
        said += f"; of {nothing} of them the oracle keeps nothing either"
    tuned = fair[fair["tuned"]]
    if len(tuned):
        frozen, blind = (tuned[one].map(lambda s: s.mean) for one in ("kept_frozen", "kept_blind"))
        said += (
            f"; at the frozen setting stopping alone costs {(frozen - blind).mean():.0f}, in the "
            f"mean of {some(len(tuned), 'line')}"
        )
    return said + ")."


def attack_name(attack: str, route: str) -> str:
    """Return how an attack is called: with its route, where that is not training from scratch."""
    return attack if route == "scratch" else f"{attack} ({route})"
