"""CLIP models: a name in, open_clip's two towers out; their weights on disk."""

from bdnb.models.clip import Model, build, check_name
from bdnb.models.weights import (
    check_published,
    load,
    load_any,
    load_pretrained,
    load_weights,
    read_about,
    save_weights,
)

__all__ = [
    "Model",
    "build",
    "check_name",
    "check_published",
    "load",
    "load_any",
    "load_pretrained",
    "load_weights",
    "read_about",
    "save_weights",
]
