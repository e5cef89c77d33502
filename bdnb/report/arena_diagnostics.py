"""What is measured beside cleaning in the arena: towers swapped, and what a defence found out."""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.arena import CELL
from bdnb.report import tables
from bdnb.report.style import NAMES, some

SWAPPED = {
    "accuracy": "accuracy, %",
    "asr": "ASR, %",
    "aligned": "cosine of the features after the turn",
}


def swaps(measured: pd.DataFrame) -> Styler | Markdown:
    """Return accuracy and ASR with one tower of a backdoored model and one of a clean model.

    measured: as ``arena_runs.rows`` gives them. Means over seeds.
    """
    mine = measured
    if len(mine):
        mine = measured[(measured["defence"] == "swap") & (measured["epoch"] > 0)]
    if mine.empty:
        return Markdown("*No towers have been swapped yet.*")
    lines = []
    for (attack, _, objective, tower), own in mine.groupby([*CELL, "option_backdoored"]):
        line = {"attack": attack, "objective": NAMES.get(str(objective), str(objective))}
        line |= {"backdoored tower": tower}
        line |= {words: own[column].mean() for column, words in SWAPPED.items()}
        lines.append(line | {"seeds": own["seed"].nunique()})
    return tables.styled(pd.DataFrame(lines), precision=2)


def inverted(rows: pd.DataFrame, target: str) -> Markdown:
    """Say in how many runs InverTune found the target, and what its trigger does. target: a class.

    rows: of the ways of cleaning.
    """
    mine = rows[(rows["defence"] == "invertune") & (rows["epoch"] > 0)] if len(rows) else rows
    if mine.empty:
        return Markdown("")
    runs = mine.groupby("run").first()
    hit = int((runs["found_target"] == target).sum())
    guesses = sorted(set(runs["found_target"]) - {target})
    also = f" (else it took {', '.join(guesses[:5])} for it)" if guesses else ""
    return Markdown(
        f"InverTune finds the target in **{hit} of {some(len(runs), 'run')}**{also}. Before it "
        f"tunes, its trigger takes {runs['inverted_asr'].mean():.0f} % of the images that it was "
        "found on to the class that it suspects, with a mask of "
        f"{100 * runs['mask_share'].mean():.0f} % of the image."
    )
