"""Training states on disk: tensors and plain values only, so that no file can run code."""

import io
from pathlib import Path
from typing import Any

import torch

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state, whole or not at all. Errors: StorageError.

    By way of memory: torch reports a full disk as an error of its own that does not name it.
    """
    made = io.BytesIO()
    torch.save(state, made)
    write_atomic(path, made.getbuffer())


def read_state(path: Path) -> dict[str, Any]:
    """A state that ``write_state`` wrote, on the CPU. Errors: ConfigError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict):
            raise TypeError(f"it holds a {type(state).__name__}")
    except Exception as error:  # torch's safe reader fails in as many ways as there are bytes
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"{path}: not a training state that can be read safely ({first}): remove it, and the "
            "same command starts that run from its beginning"
        ) from error
    return state
