"""What each setting changes against one of them: accuracy, ASR, and what cleaning leaves.

In: rows with columns ``setting`` and ``objective`` (``regimes.settings``). Out: a table and a
sentence. Settings are compared by seed, so that what two seeds differ by is not counted.
"""

import math
from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis import conclusions
from bdnb.report.style import NAMES, some
from bdnb.report.tables import styled

SHOWN: Mapping[str, str] = {
    "accuracy": "accuracy before, points",
    "asr": "ASR before, points",
    "cleaned": "best accuracy at ASR ≤ 5 %, points",
    "lowest": "lowest ASR at 90 % of the accuracy, points",
}


def compare(rows: pd.DataFrame, base: str = "main") -> pd.DataFrame:
    """A line a setting, objective and seed: its numbers less those of ``base``.

    Columns: setting, objective, seed, and in points accuracy and asr (before cleaning), cleaned
    (best accuracy at ASR <= 5 %) and lowest (ASR at 90 % of the accuracy). A model that was never
    cleaned stands below every accuracy: -inf where the setting's was not, inf where the base's was
    not, NaN where neither was. Seeds without a base are left out.
    """
    lines = []
    for keys, own in rows.groupby(["setting", "objective", "seed"], sort=False):
        start, best = conclusions.before(own), conclusions.best_accuracy_at(own)
        cleaned = -math.inf if math.isnan(best) else best
        numbers = {"accuracy": start.accuracy, "asr": start.asr, "cleaned": cleaned}
        numbers |= {"lowest": conclusions.lowest_asr(own)}
        lines.append(dict(zip(("setting", "objective", "seed"), keys, strict=True)) | numbers)
    made = pd.DataFrame(lines)
    plain = made[made["setting"] == base].drop(columns="setting")
    both = made[made["setting"] != base].merge(plain, on=["objective", "seed"], suffixes=("", "_0"))
    for key in SHOWN:
        both[key] = both[key] - both.pop(f"{key}_0")
    return both


def table(rows: pd.DataFrame, base: str = "main") -> Styler:
    """``compare`` to read: means over seeds, and from which seed's to which in brackets."""
    lines = []
    for (setting, objective), own in compare(rows, base).groupby(["setting", "objective"]):
        line = {"setting": setting, "objective": NAMES.get(str(objective), str(objective))}
        line |= {words: _spread(own[key]) for key, words in SHOWN.items()}
        lines.append(line | {"seeds": len(own)})
    columns = ["setting", "objective", *SHOWN.values(), "seeds"]
    return styled(pd.DataFrame(lines, columns=columns))


def answer(rows: pd.DataFrame, base: str = "main") -> Markdown:
    """Which setting changes each number most, counted over the objectives."""
    made = compare(rows, base)
    said = [f"{some(made['setting'].nunique(), 'setting')} against `{base}`, by seed."]
    means = made.groupby(["setting", "objective"])[list(SHOWN)].mean()
    for key, words in SHOWN.items():
        known = means[key][means[key].abs() < math.inf]
        if len(known):
            place = int(known.abs().argmax())
            setting, objective = known.index[place]
            said.append(
                f"Most by `{setting}`, {NAMES.get(objective, objective)}: "
                f"{words.partition(',')[0]} {known.iloc[place]:+.1f} points."
            )
    return Markdown(" ".join(said))


def _spread(values: pd.Series) -> str:
    """A mean with the range of its seeds; in words where a model was not cleaned."""
    known = values[values.abs() < math.inf]
    told = [
        f"{words} ({some(int(count), 'seed')})"
        for words, count in (
            ("not cleaned", (values == -math.inf).sum()),
            ("only this one cleaned", (values == math.inf).sum()),
            ("neither cleaned", values.isna().sum()),
        )
        if count
    ]
    if len(known):
        spread = f" ({known.min():+.1f} to {known.max():+.1f})" if len(known) > 1 else ""
        told.insert(0, f"{known.mean():+.1f}{spread}")
    return "; ".join(told)
