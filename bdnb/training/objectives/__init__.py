"""Objectives: embeddings of a batch in, the terms of its loss out; the registry a user's own joins.

Every module of this folder is imported, and joins ``OBJECTIVES`` by ``@objective``.
"""

import importlib
import pkgutil

from bdnb.training.objectives.registry import (
    OBJECTIVES,
    Embedded,
    RunLoss,
    check,
    make,
    objective,
)

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = ["OBJECTIVES", "Embedded", "RunLoss", "check", "make", "objective"]
