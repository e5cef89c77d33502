"""Detectors: samples in a model in, a suspicion for each out; the registry a user's own joins.

Every module of this folder is imported, and joins ``DETECTORS`` by ``@detector``.
"""

import importlib
import pkgutil

from bdnb.evaluate.detectors.registry import (
    DETECTORS,
    Known,
    Samples,
    Scored,
    check,
    detector,
    found,
    score,
)

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = ["DETECTORS", "Known", "Samples", "Scored", "check", "detector", "found", "score"]
