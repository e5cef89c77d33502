"""CLIP models: open_clip's two towers by name, and their embeddings.

A name is one of open_clip's models or of the small ones in ``model_configs/``.
"""

import difflib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bdnb.models import attention_pool, packed_text, pointwise, text_tower
from bdnb.runtime import seeds
from bdnb.runtime.errors import ConfigError

open_clip.add_model_config(Path(__file__).parent / "model_configs")

TOKENS_KEPT = 2**18
"""Captions whose tokens are kept: about 60 MB."""


class Model(nn.Module):
    """Both towers of a CLIP model with their tokenizer and pixel statistics.

    ``forward(images, tokens)``: images (B, 3, H, W) uint8, tokens (B, L) int64 ->
    unit image features (B, D), unit text features (B, D), logit scale (), logit bias ().
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, bias: bool = False, tag: str | None = None) -> None:
        super().__init__()
        self.name = name
        extra = {"init_logit_bias": -10.0} if bias else {}
        known = check_name(name)
        self.clip = open_clip.create_model(known, tag, load_weights=bool(tag), **extra)
        attention_pool.take_mean_only_(self.clip)
        self.tokenizer = _tokenizer(name)
        self._tokens = _known_tokens(name)
        self.layout, self.packed = torch.channels_last, False
        size = self.clip.visual.image_size
        self.side = int(size[0] if isinstance(size, Sequence) else size)
        for key, channels in zip(("mean", "std"), pixel_statistics(name, tag), strict=True):
            value = torch.tensor(channels).view(1, 3, 1, 1) * 255
            self.register_buffer(key, value, persistent=False)

    def tokens(self, captions: Sequence[str], *, truncation: str = "end") -> Tensor:
        """Captions as tokens (B, L), L the longest: the causal tower never looks further.

        A caption's tokens are kept for the next epoch and model, up to ``TOKENS_KEPT`` captions.
        truncation: a caption too long for the tower keeps its "end" token, or loses it
        ("authors"; the tower, which pools at the largest token, then looks at the start).
        """
        if not self.trims:
            tokens: Tensor = self.tokenizer(list(captions))
            return tokens
        new = list(dict.fromkeys(c for c in captions if c not in self._tokens))
        fresh = dict(zip(new, _trimmed(self.tokenizer(new)), strict=True)) if new else {}
        rows = [fresh[c] if c in fresh else self._tokens[c] for c in captions]
        if len(self._tokens) < TOKENS_KEPT:
            self._tokens |= fresh
        if truncation == "authors":
            rows = [self._cut(c, row) for c, row in zip(captions, rows, strict=True)]
        padded = np.zeros((len(rows), max(map(len, rows), default=0)), dtype=np.int64)
        for place, row in zip(padded, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(padded)

    def _cut(self, caption: str, row: np.ndarray) -> np.ndarray:
        """The caption's tokens, their end token lost when they do not fit with it."""
        length = self.clip.context_length
        words = self.tokenizer.encode(caption) if len(row) == length else []
        return np.append(row[:-1], words[length - 2]) if len(words) > length - 2 else row

    @property
    def trims(self) -> bool:
        """Whether captions may be cut behind their end token."""
        return text_tower.trims(self.clip)

    def lay_out(self, *, channels_last: bool = True, kernels: str = "usual") -> None:
        """How images and the weights of convolutions lie in memory; the function stays the same.

        kernels: "small" takes on a CPU those that are fast there for small models.
        """
        if kernels == "small" and self.mean.device.type == "cpu":
            pointwise.take_products_(self.clip)
            self.packed = self.trims and packed_text.packs(self.clip)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.to(memory_format=self.layout)

    def encode_image(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) uint8 -> unit features (B, D)."""
        pixels = (images.to(self.mean.dtype) - self.mean) / self.std
        pixels = pixels.to(memory_format=self.layout)
        return F.normalize(self.clip.encode_image(pixels).float(), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(B, L) int64, L up to the context length -> unit features (B, D)."""
        encode = partial(text_tower.encode, self.clip) if self.trims else self.clip.encode_text
        if self.packed and not torch.compiler.is_compiling():
            encode = partial(packed_text.encode, self.clip)
        return F.normalize(encode(tokens).float(), dim=-1)

    def forward(self, images: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Unit features of a batch, the exponentiated logit scale and the logit bias."""
        bias = self.clip.logit_bias
        scale = self.clip.logit_scale.float().exp()
        bias = torch.zeros_like(scale) if bias is None else bias
        return self.encode_image(images), self.encode_text(tokens), scale, bias


def _trimmed(tokens: Tensor) -> list[np.ndarray]:
    """Each row (L,) up to its end token, the largest number there is."""
    lengths = (tokens.argmax(dim=-1) + 1).tolist()
    rows = tokens.numpy().astype(np.int32)
    return [row[:length].copy() for row, length in zip(rows, lengths, strict=True)]


@cache
def names() -> tuple[str, ...]:
    """Every model that can be built by name."""
    return tuple(sorted(open_clip.list_models()))


def check_name(name: str) -> str:
    """The name, if there is such a model. Errors: ConfigError that lists near ones."""
    if name in names():
        return name
    near = difflib.get_close_matches(name, names(), n=5, cutoff=0.3)
    ours = sorted(p.stem for p in (Path(__file__).parent / "model_configs").glob("*.json"))
    raise ConfigError(
        f"model={name!r}: no such model; near: {', '.join(near) or 'none'}; ours: {ours}"
    )


def pixel_statistics(name: str, tag: str | None = None) -> tuple[tuple[float, ...], ...]:
    """Mean and standard deviation of each channel (0 to 1) that a model's images are taken with.

    Those of the published weights ``tag``; without it those that all weights published for the
    model have in common (SigLIP's are not OpenAI's), or else OpenAI's.
    """
    tags = [tag] if tag else open_clip.list_pretrained_tags_by_model(name)
    about = [open_clip.get_pretrained_cfg(name, one) for one in tags]
    found = {(tuple(one["mean"]), tuple(one["std"])) for one in about}
    ours = (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    return found.pop() if len(found) == 1 else ours


def quick_gelu(name: str) -> bool:
    """Whether both towers of a model have OpenAI's approximation x * sigmoid(1.702 x) of GELU."""
    return bool(open_clip.get_model_config(check_name(name)).get("quick_gelu"))


_tokenizer = cache(open_clip.get_tokenizer)
"""A model's tokenizer by name, kept: it takes a fifth of a second to make."""


@cache
def _known_tokens(name: str) -> dict[str, np.ndarray]:
    """Captions with their tokens (L,), for all models of that name in this process."""
    return {}


def build(name: str, *, seed: int, bias: bool = False) -> Model:
    """A freshly initialised model; the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer(seed, "weights", name))
        model = Model(name, bias=bias)
    return model.to(memory_format=torch.channels_last)
