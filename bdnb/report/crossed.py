"""Every pre-training objective against every way of cleaning: rows in, tables and sentences.

``table`` has what each way keeps of each model; ``rates_table`` which learning rate CleanCLIP needs
on each.
"""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.metrics import Spread, by_seed, over_seeds, whole
from bdnb.analysis.price import kept_accuracy, most
from bdnb.report import arena, rates, tables
from bdnb.report.answers import NOTHING
from bdnb.report.rates import ENOUGH, STRONG, WEAK
from bdnb.report.style import NAMES, between, short, some

RATES = (3.0e-4, 1.0e-3)
"""Learning rates that every one of these ways is run at."""
STUDIES = ("main", "crossing", "views")
EXPERIMENTS = (
    "clean",
    "clean_crossing",
    "clean_terms",
    "clean_parts",
    "clean_views",
    "clean_siglip",
)
"""Whose models differ in the objective alone."""
SAID = ("defence", "loss", "study", "image_views")
OTHERS = (STRONG, "mmcl_ssl_image", "mmcl_ssl_text", "mmcl_barlow", "siglip")
"""Objectives whose models are set beside MMCL's, each in the seeds and rates of both."""
VIEWS = {"crop_flip": "with crops for second views", "none": "without second views"}
MODEL, WAY = "pre-trained with", "way"


def labelled(clean: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to compare: at ``RATES``, of seeds with whole runs at all of them.

    clean: rows of a scale's cleaning runs. New columns: ``MODEL`` and ``WAY``, in words.
    """
    if clean.empty:
        return clean
    clean = whole(clean)
    plain = clean["defence"].isin(("cleanclip", "par")) & clean["study"].isin(STUDIES)
    rows = clean[plain & clean["experiment"].isin(EXPERIMENTS)]
    if rows.empty:
        return rows
    rows = rows.assign(
        **{
            MODEL: [NAMES.get(str(one), str(one)) for one in rows["pretrain_objective"]],
            WAY: [_way(*one) for one in rows[list(SAID)].itertuples(index=False, name=None)],
        }
    )
    rows = rows[rows["lr"].isin(RATES)]
    return rows.groupby([MODEL, WAY, "seed"]).filter(lambda own: own["lr"].nunique() == len(RATES))


def _way(defence: str, loss: str, study: str, views: str) -> str:
    other = f" {VIEWS.get(views, views)}" if study == "views" else ""
    return arena.way(defence, loss) + other


def numbers(clean: pd.DataFrame) -> pd.DataFrame:
    """Return kept accuracy as a ``Spread`` over seeds, a line a model, a column a way of cleaning.

    None where nothing was run.
    """
    rows = labelled(clean)
    if rows.empty:
        return rows
    cells: dict[str, dict[str, Spread]] = {}
    for (model, way), own in rows.groupby([MODEL, WAY], sort=False):
        share = (0.0, most(own))
        spread = over_seeds(by_seed(own, kept_accuracy), limits=share)
        cells.setdefault(str(way), {})[str(model)] = spread
    return pd.DataFrame(cells).astype(object).where(lambda one: one.notna(), None)


def table(clean: pd.DataFrame) -> Styler | Markdown:
    """Return kept accuracy in percent, mean with interval and number of seeds; a dash for none."""
    made = numbers(clean)
    if made.empty:
        return NOTHING
    shown = made.map(lambda one: "–" if one is None else _cell(one))
    return tables.styled(shown.rename_axis(MODEL).reset_index())


def _cell(spread: Spread) -> str:
    return f"{spread.mean:.1f}{between(spread, '.0f', tables.FEW)}, n = {spread.n}"


def answer(clean: pd.DataFrame) -> Markdown:
    """Say at which learning rates, and what keeps most of each model."""
    made = numbers(clean)
    if made.empty:
        return NOTHING
    rates = " and ".join(map(short, RATES))
    best = []
    for model, own in labelled(clean).groupby(MODEL, sort=False):
        kept = own.groupby([WAY, "seed"], sort=False).apply(kept_accuracy).unstack("seed")
        several = kept.notna().sum(axis=1) > 1
        left_out = list(kept.index[~several]) if several.sum() > 1 else []
        shared = kept.drop(index=left_out).dropna(axis=1)
        if len(shared) > 1 and shared.size:
            means = shared.mean(axis=1)
            number = f"{means.max():.1f} %, {some(shared.shape[1], 'seed')}"
            less = f"; {', '.join(left_out)}: one seed, left out" * bool(left_out)
            best.append(f"{means.idxmax()} on {model} ({number}{less})")
    blank = int(made.isna().to_numpy().sum())
    return Markdown(
        f"**Most is kept by {'; '.join(best) or 'the one way that was run'}**: means over the "
        f"seeds that all ways compared have, at learning rates {rates}; no claim."
        + f" {blank} of {some(made.size, 'pair')} of a model and a way have no rows."
        * bool(blank)
    )


def beside_mmcl(clean: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return ``rates.ends`` of models of each other objective and MMCL's, by objective.

    clean: rows of a scale's cleaning runs; plain CleanCLIP on models that differ in the objective
    alone counts (that ``rates.ends`` takes), with the second views of pre-training.
    """
    if clean.empty:
        return {}
    clean = whole(clean)
    mine = clean[clean["experiment"].isin(EXPERIMENTS) & clean["study"].isin(("main", "crossing"))]
    mine = mine.assign(study="main")
    both = {one: rates.ends(mine, objectives=(WEAK, one)) for one in OTHERS}
    return {one: made for one, made in both.items() if len(made)}


def rates_answer(clean: pd.DataFrame) -> Markdown:
    """Say how high a learning rate the models of each objective need, beside MMCL's.

    Of others than MMCL + SSL beside that of MMCL + SSL, too, at the same seeds and rates.
    """
    told, both = [], beside_mmcl(clean)
    for one, made in both.items():
        times, all_seeds = rates.times_as_high(made, one), made["seed"].nunique()
        of = f"{times.n} of {some(all_seeds, 'seed')}" if times.missing else some(times.n, "seed")
        many = f"{times.mean:.1f}{between(times)}, {of}" if times.n else "none tried is enough"
        like = _like(both.get(STRONG), made)
        there = rates.times_as_high(like) if one != STRONG and len(like) else None
        beside = f" (MMCL + SSL there: {there.mean:.1f})" if there and there.n else ""
        told.append(f"{NAMES[one]} {many}{beside}")
    if not told:
        return NOTHING
    return Markdown(
        f"**The learning rate at which CleanCLIP ends at an ASR of at most {ENOUGH} %, over that "
        f"of MMCL models of the same seeds: {'; '.join(told)}** (geometric means; one seed says "
        "no more than where to look, and no criterion was set)."
    )


def rates_table(clean: pd.DataFrame) -> Styler | Markdown:
    """Return ASR after the last epoch at ``RATES`` and the rate needed, a line an objective.

    With the ASR of MMCL and MMCL + SSL models at the same seeds and rates.
    """
    lines, both = [], beside_mmcl(clean)
    for one, made in both.items():
        times, line = rates.times_as_high(made, one), {MODEL: NAMES[one]}
        like = _like(both.get(STRONG), made)
        for lr in RATES:
            line[f"ASR at {short(lr)}, %"] = _asr(made, one, lr)
            line[f"MMCL at {short(lr)}"] = _asr(made, WEAK, lr)
            line[f"MMCL + SSL at {short(lr)}"] = _asr(like, STRONG, lr)
        many = f"{times.mean:.1f}{between(times, '.1f', tables.FEW)}" if times.n else "–"
        line[f"rate for ASR ≤ {ENOUGH} %, times MMCL's"] = many
        lines.append(line | {"seeds": made["seed"].nunique()})
    return tables.styled(pd.DataFrame(lines)) if lines else NOTHING


def _like(ends: pd.DataFrame | None, made: pd.DataFrame) -> pd.DataFrame:
    """Ends of runs at the seeds and rates of others."""
    if ends is None:
        return made[:0]
    return ends.merge(made[["seed", "lr"]].drop_duplicates(), on=["seed", "lr"])


def _asr(made: pd.DataFrame, objective: str, lr: float) -> str:
    at = made[(made["lr"] == lr) & (made["objective"] == objective)]
    asr = over_seeds(by_seed(at, lambda own: own["asr"].mean()), limits=(0.0, 100.0))
    return f"{asr.mean:.0f}{between(asr, '.0f', tables.FEW)}" if asr.n else "–"
