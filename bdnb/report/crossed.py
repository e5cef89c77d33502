"""Every pre-training objective against every way of cleaning: rows in, one table and a sentence."""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.metrics import Spread, by_seed, over_seeds
from bdnb.analysis.price import kept_accuracy, most
from bdnb.report import arena, tables
from bdnb.report.answers import NOTHING
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
VIEWS = {"crop_flip": "with crops for second views", "none": "without second views"}
MODEL, WAY = "pre-trained with", "way"


def labelled(clean: pd.DataFrame) -> pd.DataFrame:
    """Return the rows to compare: at ``RATES``, of seeds with whole runs at all of them.

    clean: rows of a scale's cleaning runs. New columns: ``MODEL`` and ``WAY``, in words.
    """
    if clean.empty:
        return clean
    clean = clean[clean["finished"].notna()] if "finished" in clean else clean
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
    for model, line in made.iterrows():
        there = {way: one.mean for way, one in line.items() if one is not None}
        if len(there) > 1:
            way = max(there, key=lambda one: there[one])
            best.append(f"{way} on {model} ({there[way]:.1f} %)")
    blank = int(made.isna().to_numpy().sum())
    return Markdown(
        f"**Most is kept by {'; '.join(best) or 'the one way that was run'}**: means over seeds, "
        f"each way at learning rates {rates}; no claim."
        + f" {blank} of {some(made.size, 'pair')} of a model and a way have no rows."
        * bool(blank)
    )
