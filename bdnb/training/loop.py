"""What a run carries from step to step: a step, and how all of it is put down and taken up."""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bdnb import losses
from bdnb.data.batches import Batch
from bdnb.models import Model, sync_batchnorm, used_tokens
from bdnb.runtime.errors import ConfigError
from bdnb.training import grad_cache
from bdnb.training.optimiser import Optimiser, adamw, schedule
from bdnb.training.training_state import Progress, read_state, write_state


class Features(NamedTuple):
    """image, text: unit features (n, D), n = B, or 2B with second views behind; scale, bias: ().

    kept: what the loss keeps from step to step. epoch: the one at hand, from 1.
    """

    image: Tensor
    text: Tensor
    scale: Tensor
    bias: Tensor
    kept: MutableMapping[str, Tensor] = MappingProxyType({})  # type: ignore[assignment]
    epoch: int = 1


Objective = Callable[[Features, Batch], dict[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How a step is computed: no more than rounding depends on it, save for batch_norm.

    ``config.recipes`` describes each value.
    """

    channels_last: bool = True
    kernels: str = "usual"
    pinned: bool = True
    compile: str = "off"
    micro_batch: int = 0
    batch_norm: str = "shared"


class Loop:
    """Model, optimiser, schedule and progress of a run.

    extra: a module that is trained beside the model, with ``extra_options`` (lr, weight_decay) of
    its own; a learning rate of its own stays as it is. used: the tokens (R,) that the run can use,
    where no more than their rows of the token embedding need be trained. kept: tensors that a hook
    before an epoch or the loss made and later steps need, such as labels.
    """

    def __init__(
        self,
        model: Model,
        accelerator: Accelerator,
        *,
        optimiser: Optimiser,
        epochs: int,
        epoch_steps: int,
        compute: Compute = Compute(),
        extra: nn.Module | None = None,
        extra_options: Mapping[str, float] | None = None,
        used: Tensor | None = None,
    ) -> None:
        self.accelerator, self.model, self.extra = accelerator, model, extra
        self.compute = compute
        self.embedding = used_tokens.used_alone(model.clip, used)
        if self.embedding is not None:  # DDP would send these to all processes before each step
            fixed = [f"clip.token_embedding.{name}" for name, _ in self.embedding.named_buffers()]
            DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, fixed)
        model.to(accelerator.device)
        model.lay_out(channels_last=compute.channels_last, kernels=compute.kernels)
        if accelerator.num_processes > 1 and compute.batch_norm == "shared":
            sync_batchnorm.share_(model, accelerator.device)
        self.whole = nn.ModuleList([model] if extra is None else [model, extra])
        optimizer = adamw(model, optimiser)
        if extra is not None:
            extra.to(accelerator.device)
            group = {"params": list(extra.parameters()), "weight_decay": optimiser.weight_decay}
            optimizer.add_param_group(group | dict(extra_options or {}))
        self.schedule = schedule(
            optimizer,
            warmup_steps=optimiser.warmup_steps,
            total_steps=epochs * epoch_steps,
            late=epoch_steps if optimiser.schedule == "authors" else 0,
            constant="lr" in (extra_options or {}),
        )
        self.peaks = list(self.schedule.base_lrs)
        self.forward, self.optimizer = accelerator.prepare(model, optimizer)
        if compute.compile != "off":
            self.forward = torch.compile(self.forward, mode=compute.compile)
        self.progress, self.kept = Progress(), dict[str, Tensor]()

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def scale_lr(self, share: float) -> None:
        """Make the learning rate ``share`` times the schedule's from the next step on."""
        at = self.schedule.last_epoch
        self.schedule.base_lrs = [share * peak for peak in self.peaks]
        made = zip(self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True)
        self.schedule._last_lr = [base * of_step(at) for base, of_step in made]
        for group, lr in zip(self.optimizer.param_groups, self.schedule._last_lr, strict=True):
            group["lr"] = lr

    def descend(self, batch: Batch, loss: Objective) -> Tensor:
        """One step; the loss and its parts (P,), left on the device and added to the sums."""
        self.optimizer.zero_grad(set_to_none=True)
        parts = self._backward(batch, loss)
        for parameter in self.extra.parameters() if self.extra is not None else ():
            if parameter.grad is not None:
                parameter.grad = self.accelerator.reduce(parameter.grad, "mean")
        self.optimizer.step()
        if self.embedding is not None:
            decayed = self.optimizer.param_groups[0]
            self.embedding.shrink(decayed["lr"] * decayed["weight_decay"])
        self.schedule.step()
        losses.clamp_logit_scale_(self.model.clip.logit_scale)
        own = torch.stack([part.detach() for part in parts.values()])
        values: Tensor = self.accelerator.reduce(own, "mean")
        now = self.progress
        if now.taken and now.names != list(parts):
            told = f"{', '.join(parts)} after {', '.join(now.names)}"
            raise ConfigError(f"losses {told}: expected the same in every step of an epoch")
        now.names, now.sums = list(parts), now.sums + values
        now.step += 1
        now.taken += 1
        now.pairs += sum(batch.sizes) or len(batch.places) * self.accelerator.num_processes
        return values

    def _backward(self, batch: Batch, loss: Objective) -> dict[str, Tensor]:
        images, tokens = self._moved(batch.images), self._moved(batch.tokens)
        if self.compute.micro_batch:
            return grad_cache.backward(
                self.forward,
                images,
                tokens,
                lambda *features: loss(self._features(features), batch),
                count=grad_cache.pieces(batch, self.compute.micro_batch),
                accelerator=self.accelerator,
            )
        parts = loss(self._features(self.forward(images, tokens)), batch)
        self.accelerator.backward(parts["loss_total"])
        return parts

    def _features(self, made: Sequence[Tensor]) -> Features:
        image, text, scale, bias = made
        return Features(image, text, scale, bias, self.kept, self.progress.epoch + 1)

    def _moved(self, values: Tensor) -> Tensor:
        """On the device. From pinned memory the copy does not hold up the steps before it."""
        device = self.accelerator.device
        if self.compute.pinned and device.type == "cuda":
            values = values.pin_memory()
        return values.to(device, non_blocking=True)

    def check_finite(self) -> dict[str, float]:
        """The means of the epoch's losses so far, by name. Errors: NonFiniteLoss."""
        now = self.progress
        means = (now.sums / now.taken).tolist()
        parts = dict(zip(now.names, means, strict=True))
        losses.check_finite(means[0], step=now.step, parts=parts, lr=self.lr)
        return parts

    def restore(self, adam: dict[str, Any]) -> None:
        """Take up an optimiser's moments and parameter groups; the rate is the schedule's still.

        A group beyond those, of parameters that the backdoored model did not have, stays as it is.
        """
        own = self.optimizer.state_dict()["param_groups"]
        groups = adam["param_groups"] + own[len(adam["param_groups"]) :]
        self.optimizer.load_state_dict({"state": adam["state"], "param_groups": groups})
        for group, lr in zip(self.optimizer.param_groups, self.schedule.get_last_lr(), strict=True):
            group["lr"] = lr

    def save(self, path: Path) -> None:
        """Put everything down that the next step needs, whole or not at all.

        Errors: StorageError.
        """
        if self.accelerator.is_main_process:
            state: dict[str, Any] = {
                "progress": vars(self.progress),
                "kept": self.kept,
                "weights": self.whole.state_dict(),
                "optimizer": used_tokens.moments(
                    self.optimizer.state_dict(), self.optimizer, self.embedding, widen=True
                ),
                "schedule": self.schedule.state_dict(),
            }
            if self.embedding is not None:
                state["shrunk"] = self.embedding.shrunk
            write_state(path, state)

    def load(self, path: Path) -> None:
        """Take up what ``save`` put down. Errors: ConfigError for a file that it did not write."""
        state, device = read_state(path), self.accelerator.device
        try:
            self.progress = Progress(**state["progress"])
            self.progress.sums = self.progress.sums.to(device)
            self.kept.update({name: value.to(device) for name, value in state["kept"].items()})
            begun = None if self.embedding is None else self.embedding.rest
            self.whole.load_state_dict(state["weights"])
            if self.embedding is not None and begun is not None and "shrunk" in state:
                # Rounded once, as without a stop: from where the run began.
                self.embedding.rest, self.embedding.shrunk = begun, state["shrunk"]
            moments = used_tokens.moments(
                state["optimizer"], self.optimizer, self.embedding, widen=False
            )
            self.optimizer.load_state_dict(moments)
            self.schedule.load_state_dict(state["schedule"])
        except (KeyError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{path}: not the state of this run, or from another version of bdnb ({error}): "
                "remove it, and the same command starts that run from its beginning"
            ) from error
