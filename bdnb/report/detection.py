"""How well poison is found with a backdoored model: rows of ``detect`` in; a table, a figure out.

``rows`` are those of the arena's measurements, a line an epoch.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import OBJECTIVES
from bdnb.analysis.detection import CHANCE, MARGIN, Compared, common, compared, flags_all, found
from bdnb.config.defence_facts import DETECTORS, LOOK_AT_IMAGES, NEIGHBOURS, DetectorFacts
from bdnb.report import style, tables
from bdnb.report.style import NAMES, some

NUMBERS = {"auroc": "AUROC, %", "fpr95": "FPR at 95 % TPR, %", "f1": "F1, %"}
OURS = DetectorFacts("", "not said", "yours")
NOTHING = Markdown("*No detector has been run yet.*")
ALONE = Markdown("*No detector has been run on models of both objectives that one attack took in.*")
SIDES = {
    (1, -1): "above chance on every {} model and below it on every {} model",
    (-1, 1): "below chance on every {} model and above it on every {} model",
    (-1, -1): "below chance on every {} model and on every {} model",
}
"""``Compared.sides`` of a detector that is of no use for an objective -> in words."""
NEAR = 1.1
"""An F1 of at most so many times that of flagging everything is said to be of that."""


def _words(name: str, features: str = "unit", reference: str = "group") -> str:
    known = DETECTORS.get(name, OURS).words or name
    given = ", raw features" * (features == "raw") + ", clean reference" * (reference == "clean")
    return known + given


def table(rows: pd.DataFrame) -> Styler | Markdown:
    """Return a line a detector, what it was given, attack and objective, the best first."""
    made = found(rows)
    if made.empty:
        return NOTHING
    lines = []
    for line in made.to_dict("records"):
        facts = DETECTORS.get(line["detector"], OURS)
        lines.append(
            {
                "detector": _words(line["detector"], line["features"], line["reference"]),
                "judges": facts.of,
                "attack": line["attack"],
                "objective": NAMES.get(line["objective"], line["objective"]),
            }
            | {title: line[key].mean for key, title in NUMBERS.items() if key in line}
            | {"models": line["auroc"].n, "paper": facts.paper}
        )
    return tables.styled(
        pd.DataFrame(lines).sort_values(
            ["judges", "attack", "objective", NUMBERS["auroc"]],
            ascending=[False, True, True, False],
            ignore_index=True,
        )
    )


def figure(rows: pd.DataFrame) -> Figure | Markdown:
    """Draw each detector's AUROC on models of either objective, over the attacks on both."""
    made = found(rows)
    both = compared(made)
    if not both:
        return NOTHING if made.empty else ALONE
    means = np.array([[*one.mean.values()] for one in both])
    drawn = Figure(figsize=(7.5, 0.36 * len(both) + 1.4), layout="constrained")
    axes, places = drawn.subplots(), np.arange(len(both))
    axes.hlines(places, means.min(axis=1), means.max(axis=1), color="0.7", lw=2, zorder=1)
    palette = style.palette("pretrain_objective", OBJECTIVES)
    for (objective, mark), of in zip(palette.items(), means.T, strict=True):
        label = f"pre-trained with {NAMES[str(objective)]}"
        look: Any = {"color": mark.colour, "marker": mark.marker, "label": label}
        axes.scatter(of, places, s=60, zorder=2, **look)
    nulls = [one.null for one in both]
    axes.scatter(nulls, places, s=200, marker="|", color="0.3", label="chance")
    counts = [" + ".join(str(len(of)) for of in one.models.values()) for one in both]
    names = [f"{_words(*one[:3])} ({n})" for one, n in zip(both, counts, strict=True)]
    axes.set(yticks=places, yticklabels=names, xlim=(-2, 102), xlabel="AUROC (%)")
    axes.invert_yaxis()
    drawn.legend(loc="outside lower center", ncols=3, frameon=False)
    return drawn


def answer(rows: pd.DataFrame) -> Markdown:
    """Say what finds most on each objective, what depends on it, and what chance is."""
    made = found(rows)
    both = compared(made)
    if not both:
        return NOTHING if made.empty else ALONE
    fair = compared(common(made))
    first = [_best(fair), _depends(fair), *_hangs(fair), *_alone(both)]
    then = [*_chance(both), *_sides(fair), *_flagged(made)]
    return Markdown("\n\n".join(" ".join(said) for said in (first, then)).strip())


def _best(both: list[Compared]) -> str:
    most = max(one.attacks for one in both)
    said = []
    for objective in OBJECTIVES:
        best = max((o for o in both if o.attacks == most), key=lambda one: one.mean[objective])
        models = some(len(best.models[objective]), "model")
        number = f"AUROC {best.mean[objective]:.0f} %, {models}"
        said.append(f"{_words(*best[:3])} on {NAMES[objective]} ({number})")
    return f"**Poison is found best by {'; '.join(said)}**, over {some(most, 'attack')}."


def _depends(both: list[Compared]) -> str:
    """Each detector counts as it depends least on the objective, of the ways that it was run."""
    named = _by_name(both)
    one = max((min(own, key=_gap) for own in named), key=_gap)
    least = ", each in the way of running it that depends least" * (len(both) > len(named))
    ends = [
        f"{mean:.0f} % on {NAMES[objective]} ({some(len(one.models[objective]), 'model')})"
        for objective, mean in one.mean.items()
    ]
    name = _words(*one[:3])
    return (
        f"Of the detectors{least}, the pre-training objective matters most for {name}: "
        f"{', '.join(ends)}."
    )


def _gap(one: Compared) -> float:
    return abs(one.mean[OBJECTIVES[0]] - one.mean[OBJECTIVES[1]])


def _chance(both: list[Compared]) -> Iterator[str]:
    """What dense poison that is no outlier has by each detector, where that is not a coin's."""
    nulls = {one.name: one.null for one in both if one.null != CHANCE}
    said = [f"{null:.0f} % by {_words(name)}" for name, null in nulls.items()]
    if said:
        yield (
            "Chance is not 50 % for every detector: in a simulation, poison that lies close "
            "together, no further from clean pairs than these from each other, has an AUROC of "
            f"about {', '.join(said)}, because it is dense. Among clean pairs it is 50 %."
        )


def _sides(both: list[Compared]) -> Iterator[str]:
    """Which detectors are below chance for an objective however they are run, or as they are."""
    below: dict[str, list[str]] = {}
    for own in _by_name(both):
        if len({one.sides for one in own}) == 1 and (where := SIDES.get(own[0].sides)):
            ways = f" (in each of {len(own)} ways)" * (len(own) > 1)
            below.setdefault(where, []).append(_words(own[0].name) + ways)
    objectives = [NAMES[one] for one in OBJECTIVES]
    for where, names in below.items():
        yield f"By {MARGIN:g} points or more {where.format(*objectives)}: {', '.join(names)}."


def _hangs(both: list[Compared]) -> Iterator[str]:
    """Which detectors hang on how they are run: on which objective, from what to what."""
    said = []
    for own in _by_name(both):
        if len({one.sides for one in own}) > 1 and len({one.attacks for one in own}) == 1:
            means = {o: [one.mean[o] for one in own] for o in OBJECTIVES}
            most = max(means, key=lambda o: max(means[o]) - min(means[o]))
            least, best = (own[means[most].index(pick(means[most]))] for pick in (min, max))
            ends = (f"{one.mean[most]:.0f} % ({_how(one)})" for one in (least, best))
            said.append(f"{_words(own[0].name)} on {NAMES[most]}, {' to '.join(ends)}")
    if said:
        yield f"**How it is run decides what a detector finds:** {'; '.join(said)}."


def _how(one: Compared) -> str:
    return f"{one.features} features" + ", clean reference" * (one.reference == "clean")


def _alone(both: list[Compared]) -> Iterator[str]:
    """What detectors were not given that others of these rows may hang on."""
    by = {own[0].name: own for own in _by_name(both)}
    unit = [n for n in LOOK_AT_IMAGES if {one.features for one in by.get(n, [])} == {"unit"}]
    group = [n for n in NEIGHBOURS if {one.reference for one in by.get(n, [])} == {"group"}]
    if unit:
        yield f"Only unit features, while their authors take raw ones, had {_listed(unit)}."
    if group:
        yield f"Only neighbours in groups, none among clean pairs, had {_listed(group)}."
    causes = ["their unit length"] * bool(unit) + ["the grouping"] * bool(group)
    if causes:
        yield f"Part of what these say may be {' or '.join(causes)}."


def _listed(names: list[str]) -> str:
    return ", ".join(_words(name) for name in names)


def _by_name(both: list[Compared]) -> list[list[Compared]]:
    names = dict.fromkeys(one.name for one in both)
    return [[one for one in both if one.name == name] for name in names]


def _flagged(made: pd.DataFrame) -> Iterator[str]:
    """Detectors of pairs whose own threshold flags nearly everything, told by their F1."""
    for name, own in made.groupby("detector", sort=False):
        every = flags_all(own["poison"])
        f1 = pd.Series([one.mean for one in own["f1"]] if "f1" in own else np.nan, index=own.index)
        if DETECTORS.get(str(name), OURS).of == "pairs" and (f1 / every).between(0.99, NEAR).all():
            yield (
                f"At the threshold of the {_words(str(name))} nearly every pair is flagged: its F1 "
                f"of {f1.mean():.1f} % is hardly more than {every.mean():.1f} %, that of flagging "
                "all."
            )
