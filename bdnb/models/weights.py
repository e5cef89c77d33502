"""Weights of CLIP models on disk: written as safetensors, read from ours, open_clip's and OpenAI's.

The names and shapes of a model's weights do not say which activation it has, so what a file, or
open_clip, says of its model is compared with the model asked for.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile, is_zipfile

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.factory import load_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bdnb.models.clip import Model, check_name, names, quick_gelu
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic


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
    """Write weights as safetensors, whole or not at all; ``about`` goes along as metadata.

    So do the model's name, and mean and standard deviation of its pixels (of 255).
    """
    weights = {k: v.detach().cpu().contiguous() for k, v in model.clip.state_dict().items()}
    # One entry: safetensors writes several in any order, and equal runs shall give equal files.
    known = {"model": model.name}
    known |= {key: getattr(model, key).flatten().tolist() for key in ("mean", "std")}
    metadata = {"bdnb": json.dumps(known | about)}
    write_atomic(path, save(weights, metadata))


def read_about(path: Path) -> dict[str, Any]:
    """What ``save_weights`` wrote beside the weights; ``{}`` for a file from elsewhere."""
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise ConfigError(
            f"{path}: not a safetensors file that can be read ({error}): fetch or make it again"
        ) from error
    about: dict[str, Any] = json.loads(metadata.get("bdnb", "{}"))
    return about


def load_weights(model: Model, path: Path) -> None:
    """Weights from our safetensors, or from any file that open_clip reads.

    No file can run Python code: safetensors and tensors-only pickles. TorchScript archives (as
    OpenAI's own files are) go through torch's own interpreter, and their weights alone are taken:
    have them from their authors only. Errors: ConfigError for a missing file, and for one of
    another architecture, by the name that the file says, its kind, or names and shapes.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such checkpoint")
    about = read_about(path)
    if (said := about.get("model", model.name)) != model.name:
        raise ConfigError(
            f"{path}: weights of another model than {model.name}: of {said}; give model: {said}"
        )
    scripted = not about and _scripted(path)
    if scripted:
        check_activation(model.name, str(path))
    try:
        found = load_file(path) if about else _foreign_weights(model, path, scripted=scripted)
    except Exception as error:
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise ConfigError(
            f"{path}: not weights that can be read safely: expected model.state_dict(), saved with "
            f"torch.save or as safetensors: {said}"
        ) from error
    if "logit_bias" in found and model.clip.logit_bias is None:  # as SigLIP's objective trains it
        model.clip.logit_bias = nn.Parameter(torch.zeros_like(found["logit_bias"]))
    check_shapes(model, found, path)
    model.clip.load_state_dict(found)
    for key in ("mean", "std"):
        if key in about:
            getattr(model, key).copy_(torch.tensor(about[key]).view(1, 3, 1, 1))


def _scripted(path: Path) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI publishes its models."""
    if path.suffix == ".safetensors" or not is_zipfile(path):
        return False
    with ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _foreign_weights(model: Model, path: Path, *, scripted: bool) -> dict[str, Tensor]:
    if scripted:
        weights = torch.jit.load(path, map_location="cpu").state_dict()
        for name in ("input_resolution", "context_length", "vocab_size", "attn_mask"):
            weights.pop(name, None)
        return {name: value.float() for name, value in weights.items()}
    found: Any = load_state_dict(str(path), weights_only=True)
    if isinstance(nested := found.get("model"), dict):
        found = {name.removeprefix("module."): value for name, value in nested.items()}
    if other := [name for name, value in found.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{other[0]!r} in it is no tensor")
    return convert_state_dict(model.clip, found)


def check_activation(name: str, where: str) -> None:
    """Refuse OpenAI's weights, whose towers have QuickGELU, in a model that has GELU.

    open_clip has a model of each with the same names and shapes. Errors: ConfigError.
    """
    if quick_gelu(name):
        return
    other = f"{name}-quickgelu"
    give = f"give {other} in its place" if other in names() else "there is no such model"
    raise ConfigError(f"{where}: weights for QuickGELU, but {name} has GELU: {give}")


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
    """One of open_clip's published models (``RN50-quickgelu``, ``openai``), fetched on first use.

    Images are taken with the mean and standard deviation that these weights were trained with.
    Errors: ConfigError of ``check_published``; and where they can neither be found nor fetched.
    """
    check_published(name, tag)
    try:
        return Model(name, tag=tag).to(memory_format=torch.channels_last)
    except (OSError, RuntimeError) as error:
        said = " ".join(str(error).split())[:120]
        raise ConfigError(f"{name}:{tag}: neither here nor to be fetched now: {said}") from error


def check_published(name: str, tag: str) -> None:
    """Refuse weights that open_clip has not published, or of another activation. Fetches nothing.

    Errors: ConfigError.
    """
    tags = open_clip.list_pretrained_tags_by_model(check_name(name))
    if tag not in tags:
        raise ConfigError(f"{name}:{tag}: open_clip has {', '.join(tags) or 'no weights'} for it")
    if open_clip.get_pretrained_cfg(name, tag).get("quick_gelu"):
        check_activation(name, f"{name}:{tag}")


def load_any(spec: str, name: str = "") -> Model:
    """A model from ``NAME:TAG`` of open_clip, or from a weights file.

    name: for a file that this package did not write, which of open_clip's models it is. Errors:
    ConfigError, as ``load_weights``, and for a file of which nobody says it.
    """
    path = Path(spec)
    if not path.is_file() and ":" in spec:
        return load_pretrained(*spec.rsplit(":", 1))
    name = read_about(path).get("model", name) if path.is_file() else ""
    if not name:
        missing = "no such file; " * (not path.is_file())
        raise ConfigError(
            f"{spec}: {missing}expected NAME:TAG of open_clip, or weights written by bdnb"
        )
    return load(name, path)
