"""What is measured on: a model, emoji scenes for it, the same scenes as one file a sample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import open_clip
import torch
from accelerate import Accelerator
from torch import nn

from bdnb import models
from bdnb.config.parameters import part
from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets, shards
from bdnb.data.augment.eda import TextViews
from bdnb.data.augment.second_views import ImageViews
from bdnb.data.batches import Batches
from bdnb.evaluate.benchmark import Benchmark
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.training import device, setup
from bdnb.training.attacks import Attack
from bdnb.training.loop import Compute, Loop
from bdnb.training.objectives import make as objective
from bdnb.training.optimiser import Optimiser

from . import reference


@dataclass(frozen=True)
class Case:
    """Sizes. side: of the stored images; batch, clean_batch: pairs a step; templates: by name.

    prompts: of these templates, the first so many, 0 for all; rates: of a sweep.
    """

    model: str
    side: int
    batch: int
    clean_batch: int
    pairs: int
    cleaning_pairs: int
    images: int
    classes: int
    templates: str = "openai"
    patch: int = 10
    rates: int = 8
    prompts: int = 0


CASES = {
    "laptop": Case("rn_tiny32", 32, 128, 64, 512, 256, 500, 50, patch=8),
    "rn50": Case("RN50", 256, 4, 4, 32, 8, 8, 4, templates="simple"),
    "smoke": Case("rn_test", 32, 16, 16, 48, 32, 24, 6, templates="simple", patch=6),
}
RATES = (1e-5, 3e-5, 1e-4, 2e-4, 3e-4, 5e-4, 7e-4, 1e-3)
"""The learning rates of a cleaning sweep."""


class Bench:
    """A case made ready in ``home``, the project's folder while it is measured.

    parameters: of a pre-training run, instead of the case's or the package's own values.
    """

    def __init__(
        self, case: Case, home: Path, art: Path, parameters: dict[str, Any] | None = None
    ) -> None:
        self.case, self.home = case, home
        (home / "data").mkdir(parents=True, exist_ok=True)
        if not (home / "data" / ".npm").exists():
            art.mkdir(parents=True, exist_ok=True)
            (home / "data" / ".npm").symlink_to(art.resolve())
        described = home / "params" / "bench" / "data.yaml"
        described.parent.mkdir(parents=True, exist_ok=True)
        described.write_text(
            "scale: bench\nexperiment: data\nname: bench\n"
            f"pairs: {case.pairs}\ncleaning_pairs: {case.cleaning_pairs}\n"
            f"val_images: {case.images}\nunseen_images: {case.images}\n"
            f"classes: {case.classes}\nside: {case.side}\n",
            "utf-8",
        )
        self.data = datasets.dataset("bench")
        usual: dict[str, Any] = {
            "scale": "bench",
            "data": "bench",
            "model": case.model,
            "objective": "mmcl_ssl",
            "batch_size": case.batch,
            "warmup_steps": 0,
            "trigger_size": case.patch,
            "templates": case.templates,
            "kernels": "small",
        }
        self.config = TrainConfig(**usual | (parameters or {}))
        self.weights = home / "poisoned.safetensors"
        if not self.weights.is_file():
            model = models.build(case.model, seed=0)
            about = {"config": {"model": case.model, "data": "bench", "scale": "bench"}}
            about["config"] |= {"trigger_size": case.patch, "templates": case.templates}
            models.save_weights(model, self.weights, about=about)

    @cached_property
    def accelerator(self) -> Accelerator:
        wanted = self.config
        return device.accelerator(precision=wanted.precision, tf32=wanted.tf32)

    @property
    def device(self) -> torch.device:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def bf16(self) -> bool:
        """Whether the package's own way is in bf16 here, rather than fp32."""
        return self.accelerator.mixed_precision == "bf16"

    def model(self) -> Model:
        """The package's model, with the weights of this case."""
        model = models.build(self.case.model, seed=0)
        models.load_weights(model, self.weights)
        return model.to(self.device)

    def clip(self) -> nn.Module:
        """open_clip's own model, with the same weights."""
        clip = open_clip.create_model(self.case.model, load_weights=False)
        model = Model(self.case.model)
        models.load_weights(model, self.weights)
        clip.load_state_dict(model.clip.state_dict())
        return clip.to(self.device)

    @cached_property
    def side(self) -> int:
        return Model(self.case.model).side

    @cached_property
    def tokenizer(self) -> Callable:
        return open_clip.get_tokenizer(self.case.model)

    def batches(self, model: Model, split: str, *, ssl: bool) -> Batches:
        """The package's pipeline on a split."""
        size = self.case.batch if split == "train" else self.case.clean_batch
        views = {"image_views": ImageViews(0), "text_views": TextViews(0)} if ssl else {}
        pairs = self.data.pairs(split, self.side)
        return Batches(pairs, batch_size=size, seed=0, tokens=model.tokens, **views)

    def loop(self, model: Model, batches: Batches, *, steps: int) -> Loop:
        """The package's loop on these batches."""
        used = setup.used_tokens(batches, self.data, part(setup.Parts, self.config), model)
        ways = {"optimiser": part(Optimiser, self.config), "compute": part(Compute, self.config)}
        return Loop(model, self.accelerator, epochs=1, epoch_steps=steps, used=used, **ways)

    def objective(self, *, ssl: bool) -> Callable:
        """The package's loss."""
        return objective("mmcl_ssl" if ssl else "mmcl")

    def benchmark(self) -> Benchmark:
        """The package's evaluation."""
        attack, wanted = part(Attack, self.config), part(setup.Parts, self.config)
        made = setup.benchmark(self.data, attack, wanted, side=self.side)
        made.templates = made.templates[: self.case.prompts or None]
        return made

    @cached_property
    def prompts(self) -> list[list[str]]:
        """The prompts of each class."""
        names = self.data.labelled(self.side)[0].classnames
        chosen = targets.templates(self.case.templates)[: self.case.prompts or None]
        filled = [targets.fill(template, "{c}") for template in chosen]
        return [[targets.fill(template, name) for template in filled] for name in names]

    @property
    def target(self) -> int:
        return self.data.labelled(self.side)[0].class_index("banana")

    def files(self, split: str) -> reference.Files:
        """A split as one PNG a sample."""
        folder = self.home / "files" / split
        folder.mkdir(parents=True, exist_ok=True)
        tars = sorted((self.data.folder / split).rglob("*.tar"))
        found = reference.Files([], [], [])
        for sample in shards.samples(tars):
            key = sample["__key__"]
            path = folder / f"{key}.png"
            if not path.is_file():
                path.write_bytes(sample["png"])
            found.paths.append(path)
            found.keys.append(key)
            found.texts.append((sample.get("txt") or sample["cls"]).decode())
        return found
