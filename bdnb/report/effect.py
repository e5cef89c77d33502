"""The page *What it hangs on*: tables, figures and the sentences that answer its questions.

Rows of training and cleaning runs in; the rules are those of ``analysis.regime_criteria``,
``analysis.crossing`` and ``analysis.effect``, whose thresholds are older than their rows.
"""

import math
from typing import Any

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis import conclusions, regime_criteria
from bdnb.analysis.crossing import Crossing
from bdnb.analysis.explanations import explanations
from bdnb.analysis.metrics import Spread, over_seeds, seeds_within
from bdnb.analysis.verdict_rules import FAILS, HOLDS, LEAST_SPREAD, MUTE, OPEN
from bdnb.report import crossing
from bdnb.report.answers import NOTHING, main_study
from bdnb.report.crossing import MODELS
from bdnb.report.style import NAMES, between, some
from bdnb.report.tables import FEW, styled

WORDS = {
    "loss_mmcl": "MMCL loss",
    "loss_ssl": "SSL loss",
    "pull_mmcl_image": "pull of MMCL on the image tower",
    "pull_ssl_image": "pull of SSL on it",
    "pull_cosine_image": "cosine of both pulls",
    "accuracy": "accuracy, %",
    "asr": "ASR, %",
    "aligned": "cosine of the features after the turn",
}
"""Columns of the rows of ``probe`` and ``swap`` in words."""
HEADS = {
    "poisoned": "pre-trained with",
    "objective": "pre-trained with",
    "attack": "attack",
    "option_backdoored": "backdoored tower",
}
"""Columns that tell such rows apart, as heads of a table."""
SINGULAR = {"have no rows yet": "has no rows yet", "are not decided": "is not decided"}
"""What claims without an answer lack -> how it reads of one."""
POSITIVE = (0.0, math.inf)
LIMITS = {"accuracy": (0.0, 100.0), "asr": (0.0, 100.0)}
LIMITS |= dict.fromkeys(("pull_cosine_image", "aligned"), (-1.0, 1.0))
"""What such a column can be; others are ``POSITIVE``."""


def answer(train: pd.DataFrame, clean: pd.DataFrame) -> Markdown:
    """Say whether the paper's contrast shows in this regime."""
    first = conclusions.verdicts(clean, train).iloc[0]
    spread: Spread = first["findings"][0].spread
    values = first["findings"][0].values
    number = f": {spread.mean:+.1f} points{between(spread, '+.1f')}, {some(spread.n, 'seed')}"
    said = (
        f"That cleaning costs the MMCL + SSL model more: **{crossing.short(first['verdict'])}**"
        f"{number if spread.n else ''}."
    )
    if first["verdict"].startswith(OPEN) and spread.n > 1:
        edge, uncut = conclusions.CONTRAST, over_seeds(values, least_spread=LEAST_SPREAD)
        said += (
            f" As far apart as these seeds lie, an interval of ±{edge:g} points takes "
            f"{seeds_within(uncut, edge)} of them."
        )
    return Markdown(said)


def reason(clean: pd.DataFrame, found: list[Crossing]) -> Markdown:
    """Say what of the reason is decided, what is refuted, what is left. found: ``crossings``."""
    why = explanations(clean)
    ways = [(one, crossing.settled(one)) for one in found]
    parts = []
    for verdict, words in (
        (HOLDS, "Of possible reasons this holds"),
        (FAILS, "This does not hold"),
    ):
        larger = [crossing.more(one) for one, word in ways if word == verdict]
        more = "what MMCL models keep beyond MMCL + SSL models is more with CleanCLIP "
        said = [more + " and ".join(larger)] * bool(larger)
        said += [
            one if one.startswith("ASR") else one[0].lower() + one[1:]
            for one in why.loc[why["verdict"] == verdict, "statement"]
        ]
        parts += [f"**{words}:** {'; '.join(said)}."] * bool(said)
    claims = [(word, len(one.contrasts)) for one, word in ways]
    claims += zip(map(crossing.short, why["verdict"]), why["n"], strict=True)
    if left := [_left(word, seeds) for word, seeds in claims if word not in (HOLDS, FAILS)]:
        counts = ", ".join(
            f"{left.count(kind)} {SINGULAR.get(kind, kind) if left.count(kind) == 1 else kind}"
            for kind in dict.fromkeys(left)
        )
        parts.append(f"Of {len(claims)} claims about the reason {counts}.")
    return Markdown(" ".join(parts))


def _left(verdict: str, seeds: int) -> str:
    """What a claim without an answer lacks. seeds: that it has numbers of."""
    if not seeds:
        return "have no rows yet"
    return "cannot be told here" if verdict == MUTE else "are not decided"


def criteria(train: pd.DataFrame, clean: pd.DataFrame, kept: pd.DataFrame) -> pd.DataFrame:
    """Return each seed's criteria of the regime, a line each: those of ``regime_criteria.judged``.

    kept: rows of the kept epochs. A seed counts once both of its models are trained.
    """
    columns = ("run", "seconds", "eval_seconds", "epoch", "accuracy", "seed", "defence", "study")
    clean = clean if len(clean) else pd.DataFrame(columns=columns)
    mine = kept[kept["experiment"].isin(MODELS)] if len(kept) else pd.DataFrame(columns=["seed"])
    frames = []
    for seed, models in mine.groupby("seed"):
        if len(models) < len(MODELS):
            continue
        own = train[(train["seed"] == seed) & train["experiment"].isin(MODELS)]
        of_seed = clean[clean["seed"] == seed]
        fresh = of_seed[of_seed["defence"] == "retrain"]
        epochs = dict(zip(models["objective"], models["epoch"], strict=True))
        found = regime_criteria.numbers(own, main_study(of_seed), fresh, epochs)
        frames.append(regime_criteria.judged(found).assign(seed=seed))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def criteria_table(made: pd.DataFrame) -> Styler | Markdown:
    """Return a line a criterion: mean, lowest and highest over seeds, and in how many it is met."""
    if made.empty:
        return NOTHING
    lines = []
    for name, own in made.groupby("criterion", sort=False):
        known, first = own.dropna(subset="value"), own.iloc[0]
        values = known["value"]
        lines.append(
            {
                "criterion": name,
                "mean": values.mean(),
                "over seeds": f"{values.min():.2f} to {values.max():.2f}" if len(known) else "–",
                "wanted": f"{first['from']:g} to {first['to']:g}",
                "met": f"{known['met'].sum()} of {some(len(known), 'seed')}",
                "why": first["why"],
            }
        )
    return styled(pd.DataFrame(lines), precision=2)


def criteria_answer(made: pd.DataFrame) -> Markdown:
    """Say how many criteria the regime meets, and which it does not."""
    if made.empty:
        return NOTHING
    known = made.dropna(subset="value").groupby("criterion", sort=False)
    seeds, counted = made["seed"].nunique(), known.size()
    met = counted[known["met"].all().astype(bool)]
    failed = [
        f"{name} (in {some(len(own) - int(own['met'].sum()), 'seed')} of {len(own)}; mean "
        f"{own['value'].mean():.2f}, wanted {own['from'].iloc[0]:g} to {own['to'].iloc[0]:g})"
        for name, own in known
        if name not in met
    ]
    criteria = made["criterion"].unique()
    unknown = [name for name in criteria if name not in counted]
    words = f"**Of {len(criteria)} criteria {(met == seeds).sum()} are met in every seed** "
    words += f"({some(seeds, 'seed')})."
    words += f" Not met: {'; '.join(failed)}." if failed else ""
    part = [f"{name} in {n}" for name, n in met[met < seeds].items()]
    words += f" Measured in some seeds only, and met there: {'; '.join(part)}." * bool(part)
    return Markdown(words + (f" Not measured yet: {', '.join(unknown)}." if unknown else ""))


def measurements(
    clean: pd.DataFrame,
    defence: str,
    columns: tuple[str, ...],
    by: tuple[str, ...] = ("poisoned",),
) -> Styler | Markdown:
    """Return the rows of ``probe`` or ``swap``: means over seeds, from three on with intervals.

    by: columns of ``HEADS`` that tell the lines apart.
    """
    mine = clean[(clean["defence"] == defence) & (clean["epoch"] > 0)] if len(clean) else clean
    if mine.empty:
        return Markdown(f"*No run of `{defence}` is recorded yet.*")
    lines = []
    for values, own in mine.groupby(list(by)):
        said = [MODELS.get(str(value), str(value)) for value in values]
        line: dict[str, Any] = {
            HEADS[name]: NAMES.get(value, value) for name, value in zip(by, said, strict=True)
        }
        for column in columns:
            if column in own:
                seeds, limits = own.groupby("seed")[column].mean(), LIMITS.get(column, POSITIVE)
                line[WORDS[column]] = _precise(over_seeds(seeds, limits=limits))
        lines.append(line | {"seeds": own["seed"].nunique()})
    return styled(pd.DataFrame(lines))


def _precise(spread: Spread) -> str:
    return f"{spread.mean:.2f}{between(spread, '.2f', FEW)}" if spread.n else "–"


def explanations_answer(clean: pd.DataFrame) -> Markdown:
    """Say of each explanation whether it holds, with its numbers."""
    made = explanations(clean)
    said = zip(made["id"], made["statement"], made["verdict"], made["evidence"], strict=True)
    lines = [f"- {name}. **{what}: {word}.** {notes}" for name, what, word, notes in said]
    return Markdown("\n".join(lines))
