"""Triggers: one file a family, and the registry that a user's own joins by ``@trigger("name")``.

In: uint8 images (B, 3, H, W) and the draws of the run; out: the same shape, type and device. Every
module of this folder is imported; ``Stamp`` puts a trigger on images.
"""

import importlib
import pkgutil

from bdnb.poison.stamps import TRIGGERS, Draws, Stamp, check_options, trigger
from bdnb.poison.triggers import paper

for _found in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_found.name}")

__all__ = ["TRIGGERS", "Draws", "Stamp", "check_options", "paper", "trigger"]
