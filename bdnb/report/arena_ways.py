"""What each way of cleaning in the arena may look at, and where it comes from, as a table."""

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.blind import FLOOR
from bdnb.config.defence_facts import FACTS, LABELS, DefenceFacts
from bdnb.report import tables
from bdnb.report.answers import NOTHING
from bdnb.report.arena import named
from bdnb.report.style import some

BLIND = {
    "last": "the last epoch",
    "best_accuracy": "the most accurate epoch",
    "loss_plateau": "the epoch from which the loss hardly falls",
    "accuracy_floor": f"the last epoch with {100 * FLOOR:.0f} % of the accuracy before",
}
"""Rule of ``analysis.blind`` -> the epoch that it keeps, in words."""


def ways(made: pd.DataFrame) -> Styler | Markdown:
    """Return a line a way of cleaning: its knowledge, blind rule, paper, runs. made: ``entries``.

    A reader's own way says nothing of itself but that it is theirs; it keeps its last epoch. Of a
    way that was not tuned somewhere, labelled images say there which setting's model is kept.
    """
    if made.empty:
        return NOTHING
    lines = []
    for way, own in made.assign(way=named(made)).groupby("way"):
        facts = FACTS.get(own["defence"].iloc[0])
        untuned = False in list(own.get("tuned", ()))
        lines.append(
            {
                "way of cleaning": way,
                "knows": ", ".join(_known(facts, untuned=untuned)) if facts else "not said",
                "blind pick": BLIND[facts.blind if facts else "last"] + ", not tuned" * untuned,
                "paper": facts.paper if facts else "yours",
                "runs": int(own["runs"].sum()),
            }
        )
    return tables.styled(pd.DataFrame(lines))


def _known(facts: DefenceFacts, *, untuned: bool) -> tuple[str, ...]:
    if not untuned or LABELS in facts.knows:
        return facts.knows
    return (*(known for known in facts.knows if known != "nothing"), LABELS)


def inverted(rows: pd.DataFrame, target: str) -> Markdown:
    """Say on how many models InverTune found the target, and what its trigger does there.

    rows: of the ways of cleaning. target: a class. Of the runs on a model one counts: what is
    inverted depends neither on the learning rate nor on the epochs.
    """
    mine = rows[(rows["defence"] == "invertune") & (rows["epoch"] > 0)] if len(rows) else rows
    if mine.empty:
        return Markdown("")
    models = mine.groupby(["poisoned", "seed"]).first()
    hit = int((models["found_target"] == target).sum())
    guesses = sorted(set(models["found_target"]) - {target})
    also = f" (else it took {', '.join(guesses[:5])} for it)" if guesses else ""
    return Markdown(
        f"InverTune finds the target on **{hit} of {some(len(models), 'model')}**{also}. Before it "
        f"tunes, its trigger takes {models['inverted_asr'].mean():.0f} % of the images that it was "
        "found on to the class that it suspects, with a mask of "
        f"{100 * models['mask_share'].mean():.0f} % of the image."
    )
