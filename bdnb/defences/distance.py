"""How far a candidate's weights are from those that its run began with: a column of every row."""

import math
from collections.abc import Iterator

from torch import Tensor

from bdnb.models import Model
from bdnb.training.fit import Epoch


def from_start(model: Model, candidates: Iterator[Epoch]) -> Iterator[Epoch]:
    """Yield the candidates, ``distance`` added: ``|theta - theta_0| / |theta_0|`` of all weights.

    model: as the run begins, before the first candidate is asked for. Neither BatchNorm's
    statistics nor the logit scale and bias count. NaN for a candidate of another architecture.
    """
    began = _weights(model)
    whole = math.sqrt(sum(float(w.square().sum()) for w in began.values()))
    for epoch in candidates:
        now = _weights(epoch.model)
        same = {n: w.shape for n, w in now.items()} == {n: w.shape for n, w in began.items()}
        moved = sum(float((now[n] - w).square().sum()) for n, w in began.items()) if same else None
        value = math.nan if moved is None else math.sqrt(moved) / whole
        yield epoch._replace(stats=epoch.stats | {"distance": value})


def _weights(model: Model) -> dict[str, Tensor]:
    """Copies on the CPU, the whole token embedding among them."""
    names = {name for name, _ in model.clip.named_parameters() if not name.startswith("logit_")}
    state = model.clip.state_dict()
    return {n: v.detach().float().cpu().clone() for n, v in state.items() if n in names}
