"""How well poison is found with a backdoored model: rows of ``detect`` in, numbers out.

A detector counts as several, by what it was given: unit features or raw ones, and as neighbours
groups of the set itself or clean pairs.
"""

import ast
import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from bdnb.analysis.arena import CELL, GATE, OBJECTIVES
from bdnb.analysis.metrics import over_seeds
from bdnb.config.defence_facts import DETECTORS
from bdnb.runs import experiments

CHANCE = 50.0
"""AUROC (percent) of a coin."""
MARGIN = 10.0
"""Points of AUROC by which every model lies beyond chance where a detector is said to: in the
simulation that gives ``null``, the place of a cluster alone moves it by as much."""
NUMBERS = ("auroc", "fpr95", "f1")
ATTACK = [one for one in CELL if one != "objective"]
GIVEN = {"features": "unit", "reference": "group"}
"""Options of a detector that tell it from others of its name, and their defaults."""


class Compared(NamedTuple):
    """A detector on models of both objectives, over the attacks that it was run on in both.

    mean: objective -> AUROC (percent), each attack once. models: objective -> that of each model.
    """

    name: str
    features: str
    reference: str
    attacks: int
    mean: dict[str, float]
    models: dict[str, list[float]]

    @property
    def null(self) -> float:
        """AUROC (percent) of poison that lies close together and is no outlier."""
        known = self.reference == "group" and self.name in DETECTORS
        return DETECTORS[self.name].null if known else CHANCE

    @property
    def sides(self) -> tuple[int, int]:
        """1 or -1 for each objective on which all models lie above or below ``null``, else 0."""
        first, second = (np.array(self.models[one]) - self.null for one in OBJECTIVES)
        return _side(first), _side(second)


def _side(beyond: np.ndarray) -> int:
    return int((beyond > MARGIN).all()) - int((beyond < -MARGIN).all())


def found(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each detector, by ``GIVEN``, in each cell.

    rows: of the arena's measurements, a line an epoch; a model counts if its attack did not fail
    (``GATE``). Out: ``CELL``, detector, ``GIVEN``; ``NUMBERS`` as ``Spread`` over seeds, percent;
    models: AUROC of each; poison: share of the pairs, NaN where rows do not say.
    """
    lines = []
    mine = _measured(rows) if len(rows) else rows
    names = [str(one).removesuffix("_auroc") for one in mine if str(one).endswith("_auroc")]
    for cell, own in mine.groupby(CELL, sort=False) if len(mine) else ():
        for name in names:
            for given, part in own.groupby(_given(own, name), sort=False):
                columns = {key: f"{name}_{key}" for key in NUMBERS if f"{name}_{key}" in own}
                seeds = part.groupby("seed")[[*columns.values()]].mean()
                line: dict[str, object] = dict(zip(CELL, cell, strict=True))
                line |= {"detector": name, "poison": _poison(part)}
                line |= dict(zip(GIVEN, given, strict=True))
                line |= {key: over_seeds(seeds[column]) for key, column in columns.items()}
                line |= {"models": seeds[columns["auroc"]].dropna().tolist()}
                lines += [line] if line["models"] else []
    return pd.DataFrame(lines)


def _measured(rows: pd.DataFrame) -> pd.DataFrame:
    mine = rows[rows["defence"] == "detect"]
    took = mine.loc[(mine["epoch"] == 0) & (mine["asr"] >= GATE), "run"]
    return mine[(mine["epoch"] > 0) & mine["run"].isin(took)]


def _given(rows: pd.DataFrame, name: str) -> list[pd.Series]:
    """What a detector was given in each row, which has all options as a mapping in words."""
    nothing = pd.Series(None, index=rows.index, dtype=object)
    options = rows.get("option_options", nothing).map(
        lambda words: ast.literal_eval(words).get(name, {}) if isinstance(words, str) else {}
    )
    return [
        options.map(lambda own, option=option: str(own.get(option, GIVEN[option])))
        for option in GIVEN
    ]


def _poison(rows: pd.DataFrame) -> float:
    if not {"scale", "poisoned"} <= {*rows}:
        return math.nan
    model = experiments.trained(rows["scale"].iloc[0], rows["poisoned"].iloc[0], 0)
    return math.nan if model.poison_count else model.poison_rate


def compared(made: pd.DataFrame) -> list[Compared]:
    """Return each detector, by ``GIVEN``, that was run on both objectives. made: of ``found``."""
    return [
        Compared(str(name), str(features), str(reference), len(on), *_over(own, on))
        for name, each in (made.groupby("detector", sort=False) if len(made) else ())
        for (features, reference), own in each.groupby(["features", "reference"], sort=False)
        if len(on := _shared(own))
    ]


def common(made: pd.DataFrame) -> pd.DataFrame:
    """Return the lines on attacks that every detector, however it is run, has on both objectives.

    All lines where there is no such attack.
    """
    groups = made.groupby(["detector", *GIVEN]) if len(made) else ()
    there = [set(_shared(own)) for _, own in groups]
    attacks = set.intersection(*(one for one in there if one)) if any(there) else set()
    kept = [key in attacks for key in made[ATTACK].itertuples(index=False, name=None)]
    return made[kept] if attacks else made


def _shared(own: pd.DataFrame) -> pd.Index:
    """The attacks of a detector's lines that are there for both objectives."""
    first, second = (own[own["objective"] == one].set_index(ATTACK).index for one in OBJECTIVES)
    return first.intersection(second)


def _over(own: pd.DataFrame, attacks: pd.Index) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Mean AUROC over attacks, and that of each model, by objective."""
    by = {o: own[own["objective"] == o].set_index(ATTACK).loc[attacks] for o in OBJECTIVES}
    mean = {o: float(np.mean([one.mean for one in part["auroc"]])) for o, part in by.items()}
    return mean, {o: [*map(float, part["models"].explode())] for o, part in by.items()}


def flags_all(share: pd.Series) -> pd.Series:
    """Return the F1 (percent) of flagging every sample, a share of which is poisoned."""
    return 100 * 2 * share / (1 + share)
