"""Defences: a backdoored model and clean pairs in, a candidate model after each epoch out.

One file a defence: every module of this folder is imported, and joins ``DEFENCES`` by ``@defence``.
"""

import importlib
import pkgutil

from bdnb.defences.cleanclip import cleanclip
from bdnb.defences.registry import DEFENCES, Setting, check, defence, run_fit, start
from bdnb.training.fit import Epoch

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = [
    "DEFENCES",
    "Epoch",
    "Setting",
    "check",
    "cleanclip",
    "defence",
    "run_fit",
    "start",
]
