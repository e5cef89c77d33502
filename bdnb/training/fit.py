"""The training loop on Accelerate: an epoch at a time, for pre-training and cleaning alike.

``fit`` yields the model after each epoch and can be put down and taken up at any step.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from torch.optim import Optimizer
from tqdm import tqdm

from bdnb.data.batches import Batches
from bdnb.models import Model
from bdnb.runtime import progress
from bdnb.training.loop import Loop, Objective

CHECK_EVERY = 50  # steps between looks at whether the loss is finite: a look waits for the device


class Epoch(NamedTuple):
    """The model after an epoch, and the epoch's losses, learning rate and seconds for its row.

    optimizer: in its state after the epoch, for those who keep it with the weights.
    """

    number: int
    model: Model
    stats: dict[str, float]
    optimizer: Optimizer | None = None


def fit(
    loop: Loop,
    batches: Batches,
    loss: Objective,
    *,
    epochs: int,
    state: Path | None = None,
    save_every: float = 60.0,
    before_epoch: Callable[[int, Loop, Batches], None] | None = None,
) -> Iterator[Epoch]:
    """Train, and yield the model after each epoch; go on from ``state`` when that file is there.

    The state is written every ``save_every`` seconds and at the end of each epoch but the last,
    after which there is no more to go on to. Taken up there, the epoch is yielded once more, so
    that nobody misses it. Errors: NonFiniteLoss, the step and what to try named; StorageError.
    """
    if state is not None and state.is_file():
        loop.load(state)
    save = Saver(loop, state, save_every)
    total = epochs * batches.samples
    done = loop.progress.epoch * batches.samples + loop.progress.pairs
    quiet = not loop.accelerator.is_main_process
    with progress.bar(total=total, initial=done, unit=" pairs", disable=quiet) as bar:
        for number in range(loop.progress.epoch + 1, epochs + 1):
            if before_epoch is not None and not loop.progress.taken:
                before_epoch(number, loop, batches)
            stats = run_epoch(loop, batches, loss, number, bar, save, last=number == epochs)
            yield Epoch(number, loop.model, stats, loop.optimizer)
            loop.progress.turn()


class Saver:
    """Writes a loop's state when it is time, seldom enough to cost at most a fiftieth of it."""

    def __init__(self, loop: Loop, path: Path | None, every: float = 60.0) -> None:
        self.loop, self.path, self.every, self.cost = loop, path, every, 0.0
        self.last = time.perf_counter()

    def __call__(self, *, now: bool = False) -> None:
        """Save if it is time, or in any case; never a state whose losses are not finite."""
        begun = time.perf_counter()
        due = self.last + max(self.every, 50 * self.cost)
        if self.path is not None and (now or begun >= due):
            self.loop.check_finite()
            self.loop.save(self.path)
            self.last = time.perf_counter()
            self.cost = self.last - begun if self.every else 0.0


def run_epoch(
    loop: Loop,
    batches: Batches,
    loss: Objective,
    number: int,
    bar: "tqdm[None]",
    save: Saver,
    *,
    last: bool = False,
) -> dict[str, float]:
    """Do the rest of a pass over the pairs, and return the mean of each loss with pace and rate.

    What the objective keeps as a single number stands with them, as ``kept_`` and its name; as
    ``kinds`` it keeps which pairs are not to share a batch.
    last: no epoch follows, so that there is nothing to save a state for.
    """
    loop.model.train()
    now = loop.progress
    begun = time.perf_counter() - now.seconds
    kinds = loop.kept["kinds"].cpu().numpy() if "kinds" in loop.kept else None
    for batch in batches.epoch(number, first=now.taken, kinds=kinds):
        before = now.pairs
        loop.descend(batch, loss)
        now.seconds = time.perf_counter() - begun
        if now.step % CHECK_EVERY == 0:
            loop.check_finite()
        bar.update(now.pairs - before)
        bar.set_postfix_str(f"epoch {number}", refresh=False)
        save()
    parts = loop.check_finite()
    save(now=not last)
    rest = {"step_lr": loop.lr, "pairs_per_s": now.pairs / now.seconds, "seconds": now.seconds}
    rest["logit_scale"] = loop.model.clip.logit_scale.exp().item()
    told = {f"kept_{name}": one.item() for name, one in loop.kept.items() if not one.ndim}
    return {"step": now.step, **parts, **rest, **told}
