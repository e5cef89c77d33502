"""Defences: a backdoored model and clean pairs in, a candidate model after each epoch out."""

from bdnb.defences.registry import (
    AUTHORS,
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
    "AUTHORS",
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
