"""A text tower that trains only the rows of its token embedding that its captions can use.

A caption set of our own uses some thousand of CLIP's 49,408 tokens. The rows of all others have no
gradient, so AdamW does nothing to them but shrink them by ``1 - lr * weight_decay`` a step, which
one number stands for. Losses, features and weights are those of the whole table to rounding.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdnb.runtime.errors import ConfigError


class UsedTokens(nn.Module):
    """A token embedding (V, W) of which the used rows (R, W) are the parameter ``weight``.

    Its state on disk is that of the whole table, so files are the same with it and without.
    """

    used: Tensor
    places: Tensor

    def __init__(self, embedding: nn.Embedding, used: Tensor) -> None:
        """embedding: the whole table. used: (R,) int64, the tokens that may come."""
        super().__init__()
        table = embedding.weight.detach()
        used = used.unique().to(table.device)
        places = torch.full((len(table),), -1, dtype=torch.int64, device=table.device)
        places[used] = torch.arange(len(used), device=table.device)
        self.weight = nn.Parameter(table[used].clone())
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("places", places, persistent=False)
        self.rest = table  # no buffer: neither moved to a device nor sent between processes
        self.shrunk = 1.0

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L) int64 -> (B, L, W). Errors: ConfigError for a token outside the used ones."""
        places = self.places[tokens]
        if places.device.type == "cpu" and not torch.compiler.is_compiling() and places.min() < 0:
            unseen = tokens[places < 0].unique().tolist()
            raise ConfigError(f"tokens {unseen[:5]} are not among the {len(self.used)} of this run")
        return F.embedding(places, self.weight)

    def shrink(self, share: float) -> None:
        """Take a step's weight decay, ``lr * weight_decay``, off the rows that have no gradient."""
        self.shrunk *= 1 - share

    def table(self) -> Tensor:
        """Return the whole table (V, W), as it is after the steps so far."""
        whole = (self.rest * self.shrunk).to(self.weight.device)
        whole[self.used] = self.weight.detach()
        return whole

    def widened(self, rows: Tensor) -> Tensor:
        """Put an optimiser's moments (R, W) in their places of the whole table's (V, W)."""
        return rows.new_zeros(len(self.rest), *rows.shape[1:]).index_copy_(0, self.used, rows)

    def narrowed(self, whole: Tensor) -> Tensor:
        """Take the used rows (R, W) out of the whole table's moments (V, W)."""
        return whole[self.used.to(whole.device)]

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        destination[prefix + "weight"] = self.table()

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *_: Any) -> None:
        whole = state_dict[prefix + "weight"].to(self.rest)
        self.rest, self.shrunk = whole.clone(), 1.0
        with torch.no_grad():
            self.weight.copy_(self.narrowed(whole))


def use_only_(clip: nn.Module, used: Tensor) -> UsedTokens:
    """Replace the tower's token embedding by one of the used tokens; what it computes stays."""
    whole = clip.token_embedding
    assert isinstance(whole, nn.Embedding)
    embedding = UsedTokens(whole, used)
    clip.token_embedding = embedding
    return embedding


def used_alone(clip: nn.Module, used: Tensor | None) -> UsedTokens | None:
    """Do that where the used tokens are known and fewer than half, and return the embedding."""
    whole = getattr(clip, "token_embedding", None)
    if used is None or type(whole) is not nn.Embedding or 2 * len(used) >= whole.num_embeddings:
        return None
    return use_only_(clip, used)


def moments(
    state: dict[str, Any], optimizer: Any, embedding: UsedTokens | None, *, widen: bool
) -> dict[str, Any]:
    """Return an optimiser's state as that of the whole table (widen), or as that of the used rows.

    Rows without a gradient have moments of zero, so that nothing is lost either way.
    """
    order = [p for group in optimizer.param_groups for p in group["params"]]
    places = [i for i, p in enumerate(order) if embedding is not None and p is embedding.weight]
    found = dict(state["state"])
    for place in set(places) & set(found):
        assert embedding is not None
        change = embedding.widened if widen else embedding.narrowed
        found[place] = {k: change(v) if v.ndim == 2 else v for k, v in found[place].items()}
    return state | {"state": found}
