"""Options that make a trigger or a defence the authors' own (``fidelity="authors"``), unless given.

Data alone, so that a page can list them without torch.
"""

from collections.abc import Mapping
from typing import Any

TRIGGERS: Mapping[str, Mapping[str, Any]] = {
    "badnet": {"center": "image_mean", "overflow": "wrap", "place_range": "authors"},
    "yellow": {"place_range": "authors"},
    "blended": {"pattern": "fresh"},
    "sig": {},
    "warped": {"grid": 1.0, "strength": 0.6},
}

DEFENCES: Mapping[str, Mapping[str, Any]] = {
    "heavy_regularisation": {"by": "decay"},
    "shrink_perturb": {"noise": "fresh"},
    "screen": {"noise": "fresh"},
    "deep_cluster": {"lookup": "batch", "features": "train", "head_bias": True, "head_decay": 0.0},
}
