"""The weights that a run starts from, and the optimiser's state that is kept beside some."""

import logging
from pathlib import Path
from typing import Any

from bdnb import models
from bdnb.models import Model
from bdnb.runs import experiments, results
from bdnb.runtime.errors import ConfigError
from bdnb.training.training_state import read_state

logging.getLogger().addFilter(lambda record: "No pretrained weights loaded" not in record.msg)


def kind_of_start(init: str, *, scale: str, model: str) -> str:
    """Return what ``init`` is: "scratch" (empty), "experiment", "file" or "published" (NAME:TAG).

    Errors: ConfigError when it is none of these, and for weights of another model than asked for.
    """
    if not init:
        return "scratch"
    if experiments.is_experiment(scale, init):
        return "experiment"
    if Path(init).is_file():
        return "file"
    if ":" in init:
        if (named := init.split(":", 1)[0]) != model:
            raise ConfigError(f"init={init!r}: give model={named!r}, not {model!r}")
        return "published"
    raise ConfigError(
        f"init={init!r}: no such checkpoint; expected an experiment in params/, a weights file, or "
        "NAME:TAG of open_clip"
    )


def starting_model(name: str, *, init: str, scale: str, seed: int, objective: str) -> Model:
    """Return the model that training starts from: fresh, or with the weights of ``init``."""
    kind, bias = kind_of_start(init, scale=scale, model=name), objective == "siglip"
    if kind == "published":
        model = models.load_pretrained(*init.split(":", 1))
    elif kind == "experiment":
        source = experiments.trained(scale, init, seed)
        model = models.load(name, results.kept_weights(source), bias=bias)
    elif kind == "file":
        model = models.load(name, Path(init), bias=bias)
    else:
        model = models.build(name, seed=seed, bias=bias)
    return model if bias else without_bias_gradient(model)


def without_bias_gradient(model: Model) -> Model:
    """Return the model, its logit bias fixed: processes wait for a gradient of all that is not.

    For every loss but SigLIP, which alone uses the bias.
    """
    if model.clip.logit_bias is not None:
        model.clip.logit_bias.requires_grad_(False)
    return model


def optimiser_path(weights: Path) -> Path:
    """Return where the optimiser's state lies beside a run's weights."""
    return weights.with_suffix(".adam.pt")


def optimiser_state(weights: Path) -> dict[str, Any]:
    """Return the optimiser's state that was kept beside weights. Errors: ConfigError: not there."""
    path = optimiser_path(weights)
    if not path.is_file():
        raise ConfigError(
            "optimiser='authors': the backdoored model comes without its optimiser state; "
            "train it with optimiser_state=true"
        )
    return read_state(path)
