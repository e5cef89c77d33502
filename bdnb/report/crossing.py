"""The crossing on its page: findings of ``analysis.crossing`` in, a figure and sentences out."""

from typing import Any

import pandas as pd
from IPython.display import Markdown
from matplotlib.figure import Figure

from bdnb.analysis.conclusions import CONTRAST, STRONG, WEAK
from bdnb.analysis.crossing import Crossing
from bdnb.analysis.metrics import over_seeds
from bdnb.analysis.verdict_rules import LEAST_SPREAD, MIN_SEEDS, OPEN, bounds
from bdnb.report import style
from bdnb.report.answers import NOTHING
from bdnb.report.style import NAMES, some

MODELS = {WEAK: "mmcl", STRONG: "mmcl_ssl"}
"""Backdoored model -> the objective that it was pre-trained with."""


def answer(found: list[Crossing]) -> Markdown:
    """Say for each way without SSL whether the contrast is larger under CleanCLIP, and crosses."""
    lines = []
    for one in found:
        whole = one.larger if short(one.larger) == settled(one) else settled(one)
        words = f"**That the contrast is larger under CleanCLIP than under {one.way}: {whole}.** "
        if len(one.contrasts):
            ours, theirs = _contrasts(one)
            parts = (("CleanCLIP", ours), (one.way, theirs), ("difference", ours - theirs))
            said = [f"{name} {_interval(values)}" for name, values in parts]
            said[-1] += _end(ours - theirs)
            words += f"Contrast in {one.number} at the seeds and learning rates of both, points: "
            words += f"{'; '.join(said)}. That it is larger there: {short(one.larger)}. "
            more = int((ours - theirs > CONTRAST).sum())
            words += f"By more than {CONTRAST:g} points in {more} of {some(len(ours), 'seed')}. "
            words += f"**That it crosses: {one.crosses}.**"
        if one.fewer:
            few = ", ".join(map(str, one.fewer))
            many = "s" * (len(one.fewer) > 1)
            words += f" Seed{many} {few} had fewer learning rates; without, that it is larger: "
            words += f"{one.alike}."
        if len(one.further):
            words += " With all of CleanCLIP's learning rates its contrast is "
            words += f"{_interval(one.further)}; that it is larger: {one.wider}."
        if one.edges:
            words += " Best at the edge of the learning rates, so perhaps better beyond it: "
            words += f"{', '.join(one.edges)}."
        lines.append(f"- {words}")
    return Markdown("\n".join(lines))


def figure(found: list[Crossing]) -> Figure | Markdown:
    """Draw each seed's number under each way of cleaning, its two models joined by a line."""
    there = [one for one in found if len(one.contrasts)]
    if not there:
        return NOTHING
    drawn = Figure(figsize=(4.6 * len(there), 3.8), layout="constrained")
    panels = drawn.subplots(1, len(there), squeeze=False)[0]
    for axes, one in zip(panels, there, strict=True):
        for place, way in enumerate(one.contrasts):
            ends = one.numbers.xs(way, axis=1, level=0)
            xs = (place - 0.15, place + 0.15)
            for line in ends[[WEAK, STRONG]].to_numpy():
                axes.plot(xs, line, color="0.6", lw=1, zorder=1)
            for x, (model, objective) in zip(xs, MODELS.items(), strict=True):
                label = f"pre-trained with {NAMES[objective]}" if not place else None
                mark = style.objective(objective)
                look: Any = {"color": mark.colour, "marker": mark.marker, "label": label}
                axes.scatter([x] * len(ends), ends[model], s=40, zorder=2, **look)
        axes.set(xticks=range(2), xticklabels=[f"cleaned with\n{way}" for way in one.contrasts])
        axes.set(xlim=(-0.5, 1.5), ylabel=f"{one.number}, %")
        axes.set_title(f"n = {some(len(one.contrasts), 'seed')}", loc="left")
    handles, labels = panels[0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    return drawn


def short(verdict: str) -> str:
    """Return a verdict without its reason in brackets."""
    return verdict.partition(" (")[0]


def settled(one: Crossing) -> str:
    """Return the verdict on ``larger``, where further rates and fewer seeds leave it as it is."""
    words = {short(one.larger), short(one.wider), short(one.alike)}
    return words.pop() if len(words) == 1 else OPEN


def more(one: Crossing) -> str:
    """Return than with what the contrast is larger under CleanCLIP, and by how much."""
    way = {"PAR": "the defence PAR", "MMCL alone": "fine-tuning with MMCL alone"}[one.way]
    ours, theirs = _contrasts(one)
    gap, seeds = ours - theirs, some(len(ours), "seed")
    by = f"by {_interval(gap)} points{_end(gap)}, {seeds}"
    return f"than with {way} ({by}; {ours.mean():+.1f} against {theirs.mean():+.1f})"


def _contrasts(one: Crossing) -> tuple[pd.Series, pd.Series]:
    """CleanCLIP's contrast by seed, and the other way's."""
    return one.contrasts["CleanCLIP"], one.contrasts[one.way]


def _end(gap: pd.Series) -> str:
    """The end that a verdict is read from: an interval with 0 in it may decide (``bounds``)."""
    least, most = bounds(gap) if len(gap) >= MIN_SEEDS else (CONTRAST, CONTRAST)
    words = f", at least {least:+.1f}" * (least > CONTRAST)
    words += f", at most {most:+.1f}" * (most < CONTRAST)
    return f"{words} by the book's rule" * bool(words)


def _interval(values: pd.Series) -> str:
    spread = over_seeds(values, least_spread=LEAST_SPREAD)
    return f"{spread.mean:+.1f}{style.between(spread, '+.1f')}"
