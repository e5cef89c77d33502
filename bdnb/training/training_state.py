"""How far a run is; its state on disk: tensors and plain values, so that no file can run code."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic


@dataclass
class Progress:
    """How far a run is: whole epochs, steps, and what the epoch at hand has summed up so far.

    taken: steps of this epoch. pairs, seconds: of this epoch. names, sums (P,): of its losses.
    """

    epoch: int = 0
    step: int = 0
    taken: int = 0
    pairs: int = 0
    seconds: float = 0.0
    names: list[str] = field(default_factory=list)
    sums: Tensor = field(default_factory=lambda: torch.zeros(()))

    def turn(self) -> None:
        """On to the next epoch."""
        self.epoch += 1
        self.taken, self.pairs, self.seconds = 0, 0, 0.0
        self.sums = torch.zeros((), device=self.sums.device)


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
