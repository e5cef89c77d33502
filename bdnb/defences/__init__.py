"""Defences: a backdoored model and clean pairs in, a candidate model after each epoch out."""

from bdnb.defences.registry import (
    DEFENCES,
    Setting,
    check,
    cleanclip,
    defence,
    objective,
    run_fit,
    start,
)
from bdnb.training.fit import Epoch

__all__ = [
    "DEFENCES",
    "Epoch",
    "Setting",
    "check",
    "cleanclip",
    "defence",
    "objective",
    "run_fit",
    "start",
]
