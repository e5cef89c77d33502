"""CLIP models: open_clip's two towers by name, their embeddings, and their weights on disk.

A name is one of open_clip's models or of the small ones in ``model_configs/``.
"""

import difflib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import numpy as np
import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from bdnb.models import attention_pool, text_tower
from bdnb.runtime import seeds
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic

open_clip.add_model_config(Path(__file__).parent / "model_configs")

TOKENS_KEPT = 2**18
"""Captions whose tokens a model keeps: about 60 MB."""


class Model(nn.Module):
    """Both towers of a CLIP model with their tokenizer and pixel statistics.

    ``forward(images, tokens)``: images (B, 3, H, W) uint8, tokens (B, L) int64 ->
    unit image features (B, D), unit text features (B, D), logit scale (), logit bias ().
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, *, bias: bool = False) -> None:
        super().__init__()
        self.name = name
        extra = {"init_logit_bias": -10.0} if bias else {}
        self.clip = open_clip.create_model(check_name(name), load_weights=False, **extra)
        attention_pool.take_mean_only_(self.clip)
        self.tokenizer = _tokenizer(name)
        self._tokens: dict[str, np.ndarray] = {}
        self.layout = torch.channels_last
        size = self.clip.visual.image_size
        self.side = int(size[0] if isinstance(size, Sequence) else size)
        stats = (
            self.clip.visual.preprocess_cfg if hasattr(self.clip.visual, "preprocess_cfg") else {}
        )
        for key, default in (
            ("mean", open_clip.OPENAI_DATASET_MEAN),
            ("std", open_clip.OPENAI_DATASET_STD),
        ):
            value = torch.tensor(stats.get(key, default)).view(1, 3, 1, 1) * 255
            self.register_buffer(key, value, persistent=False)

    def tokens(self, captions: Sequence[str], *, truncation: str = "end") -> Tensor:
        """Captions as tokens (B, L), L the longest: the causal tower never looks further.

        A caption's tokens are kept for the next epoch, up to ``TOKENS_KEPT`` captions.
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

    def lay_out(self, *, channels_last: bool = True) -> None:
        """How images and the weights of convolutions lie in memory; the function stays the same."""
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


@cache
def _tokenizer(name: str) -> Any:
    """A model's tokenizer, kept: it takes a fifth of a second to make."""
    return open_clip.get_tokenizer(name)


def build(name: str, *, seed: int, bias: bool = False) -> Model:
    """A freshly initialised model; the same weights for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.integer(seed, "weights", name))
        model = Model(name, bias=bias)
    return model.to(memory_format=torch.channels_last)


class _Undrawn(TorchFunctionMode):
    """Random initial values are left out: half of the time that a large model takes to be built."""

    def __torch_function__(
        self, func: Callable, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        of_init = getattr(func, "__module__", "") == nn.init.__name__  # it sees most of them whole
        if of_init or func in (Tensor.uniform_, Tensor.normal_):
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load(name: str, path: Path, *, bias: bool = False) -> Model:
    """A model with the weights of a file; ``load_weights`` says which files, and the errors."""
    with torch.random.fork_rng(devices=[]), _Undrawn():
        model = Model(name, bias=bias)
    load_weights(model, path)
    return model.to(memory_format=torch.channels_last)


def save_weights(model: Model, path: Path, *, about: dict[str, Any]) -> None:
    """Write weights as safetensors, whole or not at all; ``about`` goes along as metadata."""
    weights = {k: v.detach().cpu().contiguous() for k, v in model.clip.state_dict().items()}
    # One entry: safetensors writes several in any order, and equal runs shall give equal files.
    metadata = {"bdnb": json.dumps({"model": model.name} | about)}
    write_atomic(path, save(weights, metadata))


def read_about(path: Path) -> dict[str, Any]:
    """What ``save_weights`` wrote beside the weights; ``{}`` for a file from elsewhere."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ConfigError(f"{path}: not a safetensors file that can be read: {error}") from error
    about: dict[str, Any] = json.loads(metadata.get("bdnb", "{}"))
    return about


def load_weights(model: Model, path: Path) -> None:
    """Weights from our safetensors, or from any file that open_clip reads.

    No file can run Python code: safetensors and tensors-only pickles. TorchScript archives (as
    OpenAI's own files are) go through torch's own interpreter, and their weights alone are taken:
    have them from their authors only. Errors: ConfigError for a missing file, and for one of
    another architecture, by name and shape.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    ours = "model" in read_about(path)
    try:
        found = load_file(path) if ours else _foreign_weights(model, path)
    except Exception as error:
        raise ConfigError(f"{path}: not weights that can be read safely: {error}") from error
    check_shapes(model, found, path)
    model.clip.load_state_dict(found)


def _foreign_weights(model: Model, path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors" and is_zipfile(path):
        with ZipFile(path) as archive:
            scripted = any("/code/" in name for name in archive.namelist())
        if scripted:
            found = torch.jit.load(path, map_location="cpu").state_dict()
            for name in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
                found.pop(name, None)
            return {name: value.float() for name, value in found.items()}
    return convert_state_dict(model.clip, load_state_dict(str(path), weights_only=True))


def check_shapes(model: Model, found: dict[str, Tensor], path: Path) -> None:
    """Refuse weights of another architecture. Errors: ConfigError with the first differences."""
    wanted = {k: tuple(v.shape) for k, v in model.clip.state_dict().items()}
    given = {k: tuple(v.shape) for k, v in found.items()}
    wrong = [f"{k}: {given[k]} for {s}" for k, s in wanted.items() if k in given and given[k] != s]
    wrong += [f"{k} is missing" for k in wanted if k not in given]
    wrong += [f"{k} is not in {model.name}" for k in given if k not in wanted]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise ConfigError(f"{path}: weights of another model than {model.name}: {wrong[:3]}{more}")


def load_pretrained(name: str, tag: str) -> Model:
    """One of open_clip's published models, e.g. ``RN50``, ``openai``; fetched on first use."""
    tags = open_clip.list_pretrained_tags_by_model(check_name(name))
    if tag not in tags:
        raise ConfigError(
            f"init={name}:{tag}: open_clip has {', '.join(tags) or 'no weights'} for it"
        )
    model = Model(name)
    model.clip = open_clip.create_model(name, pretrained=tag)
    return model.to(memory_format=torch.channels_last)


def load_any(spec: str, name: str = "") -> Model:
    """A model from ``NAME:TAG`` of open_clip, or from a weights file.

    name: for a file that this package did not write, which of open_clip's models it is. Errors:
    ConfigError, as ``load_weights``, and for a file of which nobody says it.
    """
    path = Path(spec)
    if not path.is_file() and ":" in spec:
        return load_pretrained(*spec.split(":", 1))
    about = read_about(path) if path.is_file() else {}
    if "model" not in about and name and path.is_file():
        return load(name, path)
    if "model" not in about:
        raise ConfigError(f"{spec}: expected NAME:TAG of open_clip, or weights written by bdnb")
    config = about.get("config", {})
    return load(about["model"], path, bias=config.get("objective") == "siglip")


def shrink_perturb(
    model: Model, *, shrink: float, perturb: float, noise: str = "gaussian", seed: int
) -> None:
    """theta <- shrink * theta + perturb * p, in place (Section 4.3; Ash & Adams, 2020).

    noise: "gaussian", p ~ N(0, 1), so that perturb is sigma (paper); "fresh", p a new random
    initialisation of the model (authors' code). Buffers (BatchNorm statistics) stay.
    """
    parameters = dict(model.clip.named_parameters())
    if noise == "fresh":
        other = dict(build(model.name, seed=seeds.integer(seed, "perturb")).clip.named_parameters())
        drawn: Iterable[Tensor] = (other[k] for k in parameters)
    elif noise == "gaussian":
        stream = torch.Generator().manual_seed(seeds.integer(seed, "perturb"))
        drawn = (torch.randn(p.shape, generator=stream) for p in parameters.values())
    else:
        raise ConfigError(f"noise={noise!r}: expected gaussian (paper) or fresh (authors)")
    with torch.no_grad():
        for parameter, p in zip(parameters.values(), drawn, strict=True):
            parameter.mul_(shrink).add_(p.to(parameter.device), alpha=perturb)
