"""What is not known of a checkpoint from elsewhere: how it was trained, and what attacked it.

Nothing stands in for what was not given: without the attack there is no ASR (NaN in rows).
"""

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError

ELSEWHERE = "elsewhere"
"""``pretrain_objective`` of a checkpoint of which nobody said how it was trained."""

WITHOUT_SIZE = ("blended", "sig", "warped", "blended_stripes", "triangles", "text", "nashville")
"""Triggers of ours that are no patch."""

WORDS = "a checkpoint from elsewhere"
NOT_MEASURED = "ASR not measured"
GIVE = "give -p trigger, -p trigger_size and -p target"


def published(name: str) -> str:
    """The model of ``NAME:TAG``, open_clip's published weights; "" for any other name."""
    return "" if Path(name).exists() else name.rpartition(":")[0]


def unsaid(config: Mapping[str, Any]) -> list[str]:
    """What ``lacking`` says where the parameters name a checkpoint from elsewhere."""
    foreign = config["model"] or published(config["poisoned"])
    return lacking(config) if foreign else []


def lacking(config: Mapping[str, Any]) -> list[str]:
    """Which of trigger, trigger_size and target the parameters of a cleaning run do not give.

    A trigger without a size needs none. Errors: ConfigError for ``code`` that cannot be loaded.
    """
    options = config.get("trigger_options") or {}
    given = {name: config.get(name) for name in ("trigger", "trigger_size", "target")}
    given["trigger_size"] = given["trigger_size"] or options.get("size")
    if given["trigger"] and not given["trigger_size"]:
        given["trigger_size"] = not _takes_size(str(given["trigger"]), config.get("code", ""))
    return [name for name, value in given.items() if not value]


def _takes_size(trigger: str, code: str) -> bool:
    """Whether a trigger is a patch; of one of the user's, its signature says so."""
    plugins.load(code)
    registry = sys.modules.get("bdnb.poison.stamps")  # loaded by a user's file, if there is one
    made = registry.TRIGGERS.get(trigger) if code and registry else None
    return "size" in inspect.signature(made).parameters if made else trigger not in WITHOUT_SIZE


def objective(about: Mapping[str, Any]) -> str:
    """How the cleaned model was pre-trained, from a manifest's ``about``; ``ELSEWHERE``.

    Rows recorded before this was asked named a default; their origin has no epoch.
    """
    origin = about.get("from") or {}
    return ELSEWHERE if origin.get("epoch") == -1 else str(about.get("pretrain_objective", ""))


def attacked(manifest: Mapping[str, Any]) -> bool:
    """Whether a recorded run's ASR is of an attack that was known, not of a default one."""
    if objective(manifest.get("about", {})) != ELSEWHERE:
        return True
    try:
        return not lacking(manifest["config"])
    except ConfigError:  # its code is gone: it was named, so the attack had been given
        return bool(manifest["config"].get("target"))


def unmeasured(rows: pd.DataFrame) -> bool:
    """Whether no row has an ASR."""
    return len(rows) > 0 and bool(rows["asr"].isna().all())


def note(rows: pd.DataFrame) -> str:
    """Which models' ASR was not measured and what to give; "" where all were."""
    if rows.empty or "asr" not in rows or "pretrain_objective" not in rows:
        return ""
    mine = rows[rows["pretrain_objective"] == ELSEWHERE]
    without = [str(name) for name, own in mine.groupby("poisoned", sort=False) if unmeasured(own)]
    names = ", ".join(f"`{name}`" for name in without)
    why = "nobody said what attacked it" if len(without) == 1 else "nobody said what attacked them"
    return f"{NOT_MEASURED} for {names}, {WORDS}: {why}; {GIVE}." if without else ""


def trained(pretrain_objective: str, names: Mapping[str, str]) -> str:
    """How a model was pre-trained, in words. names: objective -> its name."""
    known = f"pre-trained with {names.get(pretrain_objective, pretrain_objective)}"
    return WORDS if pretrain_objective == ELSEWHERE else known
