"""When ASR comes back within a run of CleanCLIP, and what else changes then: rows in, words out."""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.conclusions import CONTRAST
from bdnb.analysis.effect import BESIDE, comeback, same_way, same_way_by_chance
from bdnb.analysis.metrics import before, by_seed, last_epoch, over_seeds, whole
from bdnb.report.answers import NOTHING, main_study
from bdnb.report.crossing import MODELS
from bdnb.report.style import NAMES, between, name
from bdnb.report.tables import styled

MOVED = dict(zip(BESIDE, ("accuracy", "MMCL loss", "SSL loss"), strict=True))
FINE = "{:.2f}"


def comebacks(clean: pd.DataFrame) -> pd.DataFrame:
    """Return a line a run of CleanCLIP: where its ASR comes back, and what changes between.

    Columns: objective, lr, seed, rise, low, high (epochs), and the change of each of ``BESIDE``.
    """
    mine = main_study(whole(clean))
    mine = mine[(mine["loss"] == "mmcl_ssl") & mine["poisoned"].isin(MODELS)] if len(mine) else mine
    lines = []
    for _, run in mine.groupby("run") if len(mine) else ():
        found, at = comeback(run), run.set_index("epoch")
        about = run.iloc[0][["poisoned", "lr", "seed"]].to_dict()
        ends = (at.reindex(columns=BESIDE).loc[one] for one in (found.high, found.low))
        lines.append(about | found._asdict() | (next(ends) - next(ends)).to_dict())
    return pd.DataFrame(lines)


def table(made: pd.DataFrame) -> Styler | Markdown:
    """Return means over the runs that come back, by objective and rate. made: ``comebacks``."""
    if made.empty:
        return NOTHING
    lines = []
    for (model, lr), own in made.groupby(["poisoned", "lr"]):
        back = own[own["rise"] >= CONTRAST]
        lines.append(
            {
                "pre-trained with": NAMES[MODELS[str(model)]],
                "learning rate": name("lr", lr),
                f"runs with a rise of {CONTRAST:g} points": f"{len(back)} of {len(own)}",
                "rise of ASR": back["rise"].mean(),
                "from epoch": back["low"].mean(),
                "to epoch": back["high"].mean(),
                "accuracy, points": back["accuracy"].mean(),
                "MMCL loss": back["loss_mmcl"].mean(),
                "SSL loss": back["loss_ssl"].mean(),
            }
        )
    return styled(pd.DataFrame(lines), formats={"MMCL loss": FINE, "SSL loss": FINE})


def users(clean: pd.DataFrame) -> Styler | Markdown:
    """Return what a user's fine-tuning with MMCL alone does to cleaned models: study ``rebound``.

    Means over seeds, by the rate of cleaning and that of the fine-tuning; ASR and accuracy
    (percent) of the cleaned model and after the last epoch, and the highest ASR of any.
    """
    mine = clean
    if len(clean):
        mine = clean[(clean["study"] == "rebound") & clean["poisoned"].isin(MODELS)]
    if mine.empty:
        return Markdown("*No cleaned model has been fine-tuned yet.*")
    lines = []
    for (model, cleaned_at, lr), own in mine.groupby(["poisoned", "cleaned_lr", "lr"]):
        start, last = before(own), last_epoch(own)
        lines.append(
            {
                "pre-trained with": NAMES[MODELS[str(model)]],
                "cleaned at": name("lr", cleaned_at),
                "fine-tuned at": name("lr", lr),
                "ASR, cleaned": start.asr,
                "highest ASR": own[own["epoch"] > 0].groupby("seed")["asr"].max().mean(),
                "last ASR": last["asr"].mean(),
                "accuracy, cleaned": start.accuracy,
                "last accuracy": last["accuracy"].mean(),
                "seeds": own["seed"].nunique(),
            }
        )
    return styled(pd.DataFrame(lines))


def answer(made: pd.DataFrame, clean: pd.DataFrame) -> Markdown:
    """Say in how many runs ASR comes back, and what moves with it from epoch to epoch."""
    if made.empty:
        return NOTHING
    words = []
    for model, own in made.groupby("poisoned"):
        back = own[own["rise"] >= CONTRAST]
        up = int((back["accuracy"] > 0).sum())
        along = f", accuracy with it in {up} of these" if len(back) else ""
        words.append(f"{len(back)} of {len(own)} runs on {NAMES[MODELS[str(model)]]}{along}")
    moves = [
        f"{MOVED[column]}, {NAMES[objective]}: {_moves(clean, model, column)}"
        for column in BESIDE
        for model, objective in MODELS.items()
    ]
    return Markdown(
        f"**ASR comes back by {CONTRAST:g} points or more in {'; in '.join(words)}.** From "
        f"epoch to epoch it moves the same way as {'; '.join(moves)}."
    )


def _moves(clean: pd.DataFrame, model: str, column: str) -> str:
    """In how many percent of epochs ASR and a column move the same way, and would by chance."""
    mine = main_study(clean)
    own = mine[(mine["poisoned"] == model) & (mine["loss"] == "mmcl_ssl")]
    spread = over_seeds(by_seed(own, lambda rows: same_way(rows, column)), limits=(0, 100))
    if not spread.n:
        return "not known"
    chance = by_seed(own, lambda rows: same_way_by_chance(rows, column)).mean()
    return f"in {spread.mean:.0f} %{between(spread, '.0f')}, by chance in {chance:.0f} %"
