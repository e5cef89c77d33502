"""PAR, Perturb and Recover (Singh, Croce and Hein 2024, arXiv 2412.00727): away from where it was.

The embeddings of clean pairs are pushed away from those of a frozen copy of the backdoored model,
up to a distance, while MMCL holds image and caption together. No self-supervision.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from bdnb.config.options import Amount, Share
from bdnb.data.batches import Batch, Batches
from bdnb.defences.registry import Setting, defence, run_fit, start
from bdnb.models import Model
from bdnb.runtime import seeds
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features


def distance(features: Tensor, frozen: Tensor) -> Tensor:
    """Mean squared distance of unit features (B, D) from the frozen model's: 0 to 4."""
    return (features - frozen).square().sum(dim=1).mean()


def below(distance: Tensor, tau: float) -> Tensor:
    """The distance where it is at most tau, else 0: there is nothing more to push for."""
    return distance * (distance.detach() <= tau)


@dataclass(frozen=True)
class Augmented:
    """Batches whose images have noise and erased squares, drawn from seed, epoch and key.

    noise: standard deviation, of 0 to 1, of normal noise on half of the images, cut at 0 so that it
    only brightens. erase: share of the images with a square of 0.5 to 1 % in ``colour``, a (3,)
    uint8.
    """

    batches: Batches
    noise: float
    erase: float
    colour: Tensor
    seed: int

    @property
    def samples(self) -> int:
        """Pairs in an epoch, all processes together."""
        return self.batches.samples

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(
        self, number: int, first: int = 0, kinds: np.ndarray | None = None
    ) -> Iterator[Batch]:
        """Yield each batch of an epoch; second views behind the images stay as they are."""
        for batch in self.batches.epoch(number, first=first, kinds=kinds):
            keys = [self.batches.pairs.keys[place] for place in batch.places.tolist()]
            changed = [self.one(x, number, k) for x, k in zip(batch.images, keys, strict=False)]
            rest = batch.images[len(keys) :]
            yield batch._replace(images=torch.cat([torch.stack(changed), rest]))

    def one(self, image: Tensor, epoch: int, key: str) -> Tensor:
        """Return an image (3, S, S) uint8 with its noise and its square."""
        draws = seeds.generator(self.seed, "par", epoch, key)
        noisy, erased, area, *corner = draws.random(5)
        if noisy < 0.5 and self.noise:
            noise = (255 * self.noise * draws.standard_normal(image.shape)).clip(0, 255)
            image = torch.from_numpy((image.numpy() + noise).clip(0, 255).round().astype(np.uint8))
        if erased < self.erase:
            image, side = image.clone(), image.shape[-1]
            size = max(1, round(side * (0.005 + 0.005 * area) ** 0.5))
            x, y = (int(at * (side - size + 1)) for at in corner)
            image[:, y : y + size, x : x + size] = self.colour[:, None, None]
        return image


@defence("par")
def par(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    tau: Amount = 2.15,
    weight: Amount = 0.5,
    noise: Amount = 0.0,
    erase: Share = 0.0,
) -> Iterator[Epoch]:
    """Minimise ``loss - weight * (below(d_image) + below(d_text))``; the logit scale stays.

    The run's loss should be ``mmcl``, as in the paper. tau: squared distance that is enough; the
    paper's 2.15 is a cosine of -0.075. weight: of both terms. The copy is in evaluation mode, the
    model in training mode. noise, erase: of ``Augmented``, on the images that both see; 0: none;
    the authors' are 0.2 and 0.5, with squares of the mean colour. Not here: their schedule of
    learning rates. Over several processes the distance is that of each one's share of the batch.
    """
    if noise or erase:
        colour = model.mean.flatten().round().to(torch.uint8).cpu()
        augmented = Augmented(pairs, noise, erase, colour, setting.seed)
        pairs = cast(Batches, augmented)
    frozen = deepcopy(model).to(setting.accelerator.device).requires_grad_(False).eval()

    def perturbed(features: Features, batch: Batch) -> dict[str, Tensor]:
        n, device = len(batch.places), features.image.device
        with torch.no_grad(), setting.accelerator.autocast():
            image, text, *_ = frozen(batch.images[:n].to(device), batch.tokens[:n].to(device))
        held = features.scale.detach() + 0 * features.scale  # a gradient of 0, for DDP
        parts = setting.loss(features._replace(scale=held), batch)
        away = {"image": distance(features.image[:n], image)}
        away["text"] = distance(features.text[:n], text)
        pushed = sum(below(one, tau) for one in away.values()) * batch.weight
        total = parts["loss_total"] - weight * pushed
        return parts | {"loss_total": total} | {f"loss_away_{k}": v for k, v in away.items()}

    yield from run_fit(start(model, pairs, setting, used_tokens=True), pairs, setting, perturbed)
