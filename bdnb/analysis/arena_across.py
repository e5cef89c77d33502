"""What the arena's lines say together: each way on both objectives, and which way keeps most.

Lines of ``arena.entries`` in. The unit is the attack: of several each counts once, with the mean of
its seeds, and intervals are over attacks; of one attack alone they are over its seeds.
"""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from bdnb.analysis.arena import CONTROL, OBJECTIVES, SETTING, TUNED_ON, WAY, kept
from bdnb.analysis.conclusions import CONTRAST
from bdnb.analysis.metrics import over_seeds
from bdnb.analysis.verdict_rules import FAILS, HOLDS, LEAST_SPREAD, decide

Attack = tuple[str, str]
"""Attack and route."""
Model = tuple[str, str, Hashable]
"""Attack, route and seed; of both objectives."""


class Ranking(NamedTuple):
    """Ways of cleaning at their frozen settings, on the models that all of them were run on."""

    ways: pd.DataFrame
    """``WAY``, and by objective kept accuracy (percent), mean over the attacks."""
    attacks: tuple[Attack, ...]
    models: int
    """How many of each objective."""
    tuned_on: bool
    """Whether one of them is of the cell that settings were tuned in."""
    left_out: dict[tuple[str, str], str]
    """Way that is not compared -> why."""


def across(made: pd.DataFrame) -> pd.DataFrame:
    """Return a line a way of cleaning: what it keeps on each objective, and what holds of both.

    Over attacks that did not fail, of each only the settings and seeds that the cells of both
    objectives have. Columns: ``WAY``; mmcl, mmcl_ssl (percent); attacks, seeds (of all attacks
    together); contrast (``Spread`` over units of the first less the second) and side: "mmcl" or
    "mmcl_ssl" where its interval lies beyond ``CONTRAST`` points on that side, else ""; level:
    whether it lies within them; gains: the objectives on which it is better than the control by as
    much; edge: whether its best models lie at an edge of the learning rates in any cell; asked: how
    often the rule was asked for this line; plain: how many of its answers (a side, level, a gain)
    the plain 95 % interval gives, too.
    """
    lines = []
    good = made[~made["failed"]] if len(made) else made
    for way, own in good.groupby(WAY, sort=False) if len(good) else ():
        pairs = _pairs(own)
        if not pairs:
            continue
        first, second = ([pair[objective] for pair in pairs.values()] for objective in OBJECTIVES)
        gap = _units([one - other for one, other in zip(first, second, strict=True)])
        sides = {"mmcl": decide(gap, CONTRAST), "mmcl_ssl": decide(gap, -CONTRAST, above=False)}
        line = dict(zip(WAY, way, strict=True))
        line |= {"attacks": len(pairs), "seeds": sum(map(len, first))}
        line |= {"mmcl": _units(first).mean(), "mmcl_ssl": _units(second).mean()}
        spread = over_seeds(gap, least_spread=LEAST_SPREAD)
        gains = _gains(own, set(pairs)) if way != CONTROL else {}
        better = [o for o, one in gains.items() if decide(one, CONTRAST) == HOLDS]
        line |= {"contrast": over_seeds(gap)}
        line |= {"side": next((o for o, word in sides.items() if word == HOLDS), "")}
        line |= {"level": all(word == FAILS for word in sides.values())}
        line |= {"gains": tuple(better), "edge": bool(own["edge"].any())}
        plain = [spread.low > CONTRAST, spread.high < -CONTRAST]
        plain += [spread.low > -CONTRAST and spread.high < CONTRAST]
        plain += [over_seeds(gains[o], least_spread=LEAST_SPREAD).low > CONTRAST for o in better]
        line |= {"asked": 1 + len(gains), "plain": sum(map(bool, plain))}
        lines.append(line)
    return pd.DataFrame(lines)


def _pairs(own: pd.DataFrame) -> dict[Attack, dict[str, pd.Series]]:
    """Kept accuracy by seed on both objectives, of what both were run with, for each attack."""
    found = {}
    for (attack, route), cells in own.groupby(["attack", "route"], sort=False):
        by = dict(zip(cells["objective"], cells["curves"], strict=True))
        if not set(OBJECTIVES) <= set(by):
            continue
        shared = by["mmcl"].index.intersection(by["mmcl_ssl"].index)
        if len(shared):
            sides = {objective: kept(by[objective].loc[shared]) for objective in OBJECTIVES}
            found[str(attack), str(route)] = sides
    return found


def _units(of_attacks: Sequence[pd.Series]) -> pd.Series:
    """The mean over seeds of each of several attacks; the seeds of one alone."""
    if len(of_attacks) == 1:
        return of_attacks[0]
    return pd.Series([one.mean() for one in of_attacks], dtype=float)


def _gains(own: pd.DataFrame, attacks: set[Attack]) -> dict[str, pd.Series]:
    """What a way keeps beyond the control, by unit, on each objective that has a control."""
    found = {}
    for objective in OBJECTIVES:
        cells = own[own["objective"] == objective]
        of = zip(cells["attack"], cells["route"], cells["gain"], strict=True)
        gains = [gain for attack, route, gain in of if (attack, route) in attacks and len(gain)]
        if gains:
            found[objective] = _units(gains)
    return found


def ranking(made: pd.DataFrame) -> Ranking:
    """Return what each way keeps at its frozen setting (oracle over epochs), by objective.

    Compared are the ways that were run so on both objectives of the model that most ways were run
    on; over the attacks, and of each the seeds, that all of them have, so that a mean is of the
    same models for each way.
    """
    good = made[~made["failed"]].to_dict("records")
    ways = dict.fromkeys(made[WAY].itertuples(index=False, name=None))
    there = {way: _frozen([one for one in good if tuple(map(one.get, WAY)) == way]) for way in ways}
    counts = Counter(model for models in there.values() for model in models)
    most = max(counts, key=lambda model: counts[model], default=None)
    compared = {way: models for way, models in there.items() if most in models}
    shared = [one for one in counts if all(one in by for by in compared.values())]
    lines = []
    for way, by in compared.items():
        values = pd.DataFrame({one: by[one] for one in shared}).T.groupby(level=[0, 1]).mean()
        lines.append(dict(zip(WAY, way, strict=True)) | values.mean().to_dict())
    tuned = {tuple(map(one.get, WAY)) for one in good if one["tuned"]}
    why = {way: "run on no such model" if way in tuned else "not tuned" for way in ways}
    left_out = {way: reason for way, reason in why.items() if way not in compared}
    ways_compared = pd.DataFrame(lines, columns=[*WAY, *OBJECTIVES])
    attacks = tuple(dict.fromkeys(one[:2] for one in shared))
    tuned_on = (TUNED_ON["attack"], TUNED_ON["route"]) in attacks
    return Ranking(ways_compared, attacks, len(shared), tuned_on, left_out)


def _frozen(lines: Sequence[Mapping[Hashable, Any]]) -> dict[Model, dict[str, float]]:
    """What one way keeps at its frozen setting: model -> objective -> percent, of both alone."""
    found: dict[Model, dict[str, float]] = {}
    for one in lines:
        if one["tuned"] and one["objective"] in OBJECTIVES:
            of_setting = one["curves"].xs(tuple(one["setting"].values()), level=SETTING)
            for seed, percent in kept(of_setting).items():
                by = found.setdefault((one["attack"], one["route"], seed), {})
                by[one["objective"]] = percent
    return {model: by for model, by in found.items() if len(by) == len(OBJECTIVES)}
