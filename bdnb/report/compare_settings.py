"""What each setting changes against one of them: accuracy, ASR, and what cleaning leaves.

In: rows with columns ``setting`` and ``objective`` (``regimes.settings``). Out: a table and a
sentence. Settings are compared by seed, so that what two seeds differ by is not counted.
"""

from collections.abc import Mapping

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from bdnb.analysis.metrics import before
from bdnb.analysis.price import kept_accuracy, kept_at
from bdnb.report.style import NAMES, some
from bdnb.report.tables import styled

SHOWN: Mapping[str, str] = {
    "accuracy": "accuracy before, points",
    "asr": "ASR before, points",
    "kept": "kept accuracy, points",
    "kept_at_5": "kept at ASR ≤ 5 %, points",
}


def compare(rows: pd.DataFrame, base: str = "main") -> pd.DataFrame:
    """A line a setting, objective and seed: its numbers less those of ``base``.

    Columns: setting, objective, seed, and in points accuracy and asr (before cleaning), kept (kept
    accuracy) and kept_at_5 (the same at ASR <= 5 % alone). Seeds without a base are left out.
    """
    lines = []
    for keys, own in rows.groupby(["setting", "objective", "seed"], sort=False):
        numbers = dict(zip(SHOWN, (*before(own), kept_accuracy(own), kept_at(own)), strict=True))
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
        if len(means):
            place = int(means[key].abs().argmax())
            setting, objective = means.index[place]
            said.append(
                f"Most by `{setting}`, {NAMES.get(objective, objective)}: "
                f"{words.partition(',')[0]} {means[key].iloc[place]:+.1f} points."
            )
    return Markdown(" ".join(said))


def _spread(values: pd.Series) -> str:
    """A mean with the range of its seeds."""
    spread = f" ({values.min():+.1f} to {values.max():+.1f})" if len(values) > 1 else ""
    return f"{values.mean():+.1f}{spread}"
