"""Rules by which a defender stops who knows neither the trigger nor the ASR.

Rows of one cleaning run in, epoch 0 included; the epoch that is kept out.
"""

from collections.abc import Callable

import pandas as pd

from bdnb.runtime.errors import ConfigError

PLATEAU = 0.01
"""A fall of the loss by less than this share of it is none."""
FLOOR = 0.95
"""Share of the accuracy before cleaning that ``accuracy_floor`` keeps."""


def pick(run: pd.DataFrame, rule: str) -> int:
    """Return the epoch that a rule keeps. Errors: ConfigError for an unknown rule.

    The rule sees no column of attack success: what it keeps cannot depend on one.
    """
    if rule not in RULES:
        raise ConfigError(f"blind rule {rule!r}: unknown; there are {', '.join(RULES)}")
    seen = [c for c in run if not str(c).startswith(("asr", "triggered", "retrieval_asr"))]
    return RULES[rule](run[seen].sort_values("epoch"))


def _last(run: pd.DataFrame) -> int:
    return int(run["epoch"].max())


def _best_accuracy(run: pd.DataFrame) -> int:
    after = run[(run["epoch"] > 0) & run["accuracy"].notna()]
    return int(after["epoch"].iloc[int(after["accuracy"].argmax())])


def _loss_plateau(run: pd.DataFrame) -> int:
    """The first epoch whose total loss fell by less than ``PLATEAU``; the last where none did."""
    after = run[run["epoch"] > 0].set_index("epoch")
    losses = after.get("loss_total", pd.Series(dtype=float)).dropna()
    falls = (losses.shift() - losses) / losses.shift().abs()
    flat = falls.index[falls < PLATEAU]
    return int(flat[0]) if len(flat) else _last(run)


def _accuracy_floor(run: pd.DataFrame) -> int:
    """The last epoch with ``FLOOR`` of the accuracy before; the most accurate where none has."""
    start = run.loc[run["epoch"] == 0, "accuracy"].mean()
    over = run[(run["epoch"] > 0) & (run["accuracy"] >= FLOOR * start)]
    return _last(over) if len(over) else _best_accuracy(run)


RULES: dict[str, Callable[[pd.DataFrame], int]] = {
    "last": _last,
    "best_accuracy": _best_accuracy,
    "loss_plateau": _loss_plateau,
    "accuracy_floor": _accuracy_floor,
}
