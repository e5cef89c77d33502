"""The training loop on Accelerate: an epoch at a time, for pre-training and cleaning alike.

``fit`` yields the model after each epoch and can be put down and taken up between two.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from bdnb import losses, optim
from bdnb.configs import CleanConfig, TrainConfig
from bdnb.data.pairs import Batch, Batches
from bdnb.models import Model
from bdnb.records import replacing

# tqdm's settings: a line in a terminal, a line every half minute in logs and notebooks.
BAR: dict[str, Any] = {"unit_scale": True, "mininterval": 0.5 if sys.stderr.isatty() else 30}
CHECK_EVERY = 50  # steps between looks at whether the loss is finite: a look waits for the device


class Features(NamedTuple):
    """image, text: unit features (n, D), n = B, or 2B with second views behind; scale, bias: ()."""

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor


Objective = Callable[[Features, Batch], dict[str, Tensor]]


class Epoch(NamedTuple):
    """The model after an epoch, and the epoch's losses, rate and seconds for its row.

    optimizer: in its state after the epoch, for those who keep it with the weights.
    """

    number: int
    model: Model
    stats: dict[str, float]
    optimizer: Optimizer | None = None


def objective(config: TrainConfig | CleanConfig, *, name: str) -> Objective:
    """The loss of a stage by name: mmcl, ssl, mmcl_ssl (their weighted sum) or siglip.

    The function returns its parts, ``loss_total`` being the one to descend (Equations 1-3).
    """
    wanted = losses.terms(name)
    weights = {"mmcl": config.mmcl_weight, "ssl": config.ssl_weight}

    def parts(features: Features, _: Batch) -> dict[str, Tensor]:
        # Originals and views lie side by side, so that one gathering serves every term.
        views = 2 if "ssl" in wanted else 1
        image = torch.cat(features.image.chunk(views), dim=1)
        text = torch.cat(features.text.chunk(views), dim=1)
        images = losses.gather(image, mode=config.gather).chunk(views, dim=1)
        texts = losses.gather(text, mode=config.gather).chunk(views, dim=1)
        values: dict[str, Tensor] = {}
        if "mmcl" in wanted:
            values["mmcl"] = losses.mmcl(images[0], texts[0], features.scale)
        if "ssl" in wanted:
            (image, image_view), (text, text_view) = images, texts
            values["ssl"] = losses.ssl(image, image_view, text, text_view, features.scale)
        if "siglip" in wanted:
            values["siglip"] = losses.siglip(images[0], texts[0], features.scale, features.bias)
        total = losses.weighted_sum(values, {k: w for k, w in weights.items() if k in values})
        return {"loss_total": total} | {f"loss_{key}": value for key, value in values.items()}

    return parts


class Loop:
    """What a run carries from step to step, and how it is put down and taken up again."""

    def __init__(
        self,
        model: Model,
        config: TrainConfig | CleanConfig,
        *,
        steps: int,
        accelerator: Accelerator,
        extra: nn.Module | None = None,
    ) -> None:
        self.accelerator, self.model = accelerator, model.to(accelerator.device)
        self.whole = nn.ModuleList([model] if extra is None else [model, extra])
        optimizer = optim.adamw(
            model,
            lr=config.lr,
            weight_decay=config.weight_decay,
            betas=(config.beta1, config.beta2),
            eps=config.eps,
            decay=config.decay,
        )
        if extra is not None:
            extra.to(accelerator.device)
            optimizer.add_param_group(
                {"params": list(extra.parameters()), "weight_decay": config.weight_decay}
            )
        self.schedule = optim.schedule(
            optimizer,
            warmup_steps=config.warmup_steps,
            total_steps=steps,
            late=steps // config.epochs if config.schedule == "authors" else 0,
        )
        self.forward, self.optimizer = accelerator.prepare(model, optimizer)
        self.epoch = self.step = 0

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def descend(self, batch: Batch, loss: Objective) -> Tensor:
        """One step; the loss and its parts (P,), left on the device."""
        device = self.accelerator.device
        images = batch.images.to(device, non_blocking=True)
        tokens = batch.tokens.to(device, non_blocking=True)
        self.optimizer.zero_grad(set_to_none=True)
        parts = loss(Features(*self.forward(images, tokens)), batch)
        self.accelerator.backward(parts["loss_total"])
        self.optimizer.step()
        self.schedule.step()
        losses.clamp_logit_scale_(self.model.clip.logit_scale)
        self.names = list(parts)
        self.step += 1
        return torch.stack([part.detach() for part in parts.values()])

    def restore(self, adam: dict[str, Any]) -> None:
        """Take up an optimiser's moments and parameter groups; the rate is the schedule's still.

        A group beyond those, of parameters that the poisoned model did not have, stays as it is.
        """
        own = self.optimizer.state_dict()["param_groups"]
        groups = adam["param_groups"] + own[len(adam["param_groups"]) :]
        self.optimizer.load_state_dict({"state": adam["state"], "param_groups": groups})
        for group, lr in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = lr

    def save(self, path: Path) -> None:
        """Put everything down that the next epoch needs, whole or not at all."""
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "weights": self.whole.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
        }
        if self.accelerator.is_main_process:
            with replacing(path) as beside:
                torch.save(state, beside)

    def load(self, path: Path) -> None:
        """Take up what ``save`` put down."""
        state = torch.load(path, map_location=self.accelerator.device, weights_only=True)
        self.epoch, self.step = state["epoch"], state["step"]
        self.whole.load_state_dict(state["weights"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])


def fit(
    loop: Loop,
    batches: Batches,
    loss: Objective,
    *,
    epochs: int,
    state: Path | None = None,
    before_epoch: Callable[[int, Loop], None] | None = None,
) -> Iterator[Epoch]:
    """Train, and yield the model after each epoch; go on from ``state`` when that file is there.

    The state is written once the consumer has taken the epoch and asks for the next, so a row is
    never behind it. Errors: NonFiniteLoss, the step and what to try named.
    """
    if state is not None and state.is_file():
        loop.load(state)
    total = epochs * len(batches.pairs.keys)
    done = loop.epoch * len(batches.pairs.keys)
    quiet = not loop.accelerator.is_main_process
    with tqdm(total=total, initial=done, unit=" pairs", disable=quiet, **BAR) as bar:
        for number in range(loop.epoch + 1, epochs + 1):
            if before_epoch is not None:
                before_epoch(number, loop)
            stats = run_epoch(loop, batches, loss, number, bar)
            yield Epoch(number, loop.model, stats, loop.optimizer)
            loop.epoch = number
            if state is not None:
                loop.save(state)


def run_epoch(
    loop: Loop, batches: Batches, loss: Objective, number: int, bar: "tqdm[None]"
) -> dict[str, float]:
    """One pass over the pairs: the mean of each loss, the last rate, pairs a second, seconds."""
    loop.model.train()
    begun, seen, first = time.perf_counter(), 0, loop.step
    sums = torch.zeros((), device=loop.accelerator.device)
    for batch in batches.epoch(number):
        sums = sums + loop.descend(batch, loss)
        taken = len(batch.places) * loop.accelerator.num_processes
        seen += taken
        if loop.step % CHECK_EVERY == 0:
            losses.check_finite(sums[0].item(), step=loop.step, lr=loop.lr)
        bar.update(taken)
        bar.set_postfix_str(f"epoch {number}", refresh=False)
    means = (sums / (loop.step - first)).tolist()
    parts = dict(zip(loop.names, means, strict=True))
    losses.check_finite(means[0], step=loop.step, parts=parts)
    seconds = time.perf_counter() - begun
    rest = {"step_lr": loop.lr, "pairs_per_s": seen / seconds}
    scale = loop.model.clip.logit_scale.exp().item()
    return {"step": loop.step, **parts, **rest, "seconds": seconds, "logit_scale": scale}
