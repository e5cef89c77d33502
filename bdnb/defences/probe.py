"""No defence but a measurement: which loss a model starts to be cleaned from, and what pulls at it.

Where SSL was part of pre-training, its term may have no gradient left to clean with.
"""

from collections.abc import Iterator
from itertools import islice

import torch
from torch import Tensor

from bdnb.config.options import Count
from bdnb.data.batches import Batches
from bdnb.defences.registry import Setting, defence
from bdnb.models import Model
from bdnb.training.fit import Epoch
from bdnb.training.loop import Features

TOWERS = ("image", "text")


@defence("probe")
def probe(
    model: Model, pairs: Batches, setting: Setting, *, batches: Count = 16
) -> Iterator[Epoch]:
    """Yield the model as it is, with its losses and their gradients on the first clean batches.

    batches: how many. A row has, for each term T of the run's loss and each tower W: ``loss_T``,
    the mean; ``grad_T_W``, the mean norm of the term's gradient (weight 1) with respect to the
    tower's weights; ``pull_T_W``, the norm of the mean gradient, in which the noise of batches
    cancels; ``pull_cosine_W``, between MMCL's mean gradient and SSL's where both are there.
    The model is in training mode, as at the first step of cleaning, and is left as it came.
    """
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    training = model.training
    model.train()
    weights = by_tower(model)
    losses: dict[str, float] = {}
    norms: dict[str, float] = {}
    pulls: dict[str, Tensor] = {}
    taken = list(islice(pairs.epoch(1), batches))
    for batch in taken:
        device = setting.accelerator.device
        with setting.accelerator.autocast():
            features = Features(*model(batch.images.to(device), batch.tokens.to(device)))
            parts = setting.loss(features, batch)
        for name, value in parts.items():
            losses[name] = losses.get(name, 0.0) + value.item() / len(taken)
            for tower, own in weights.items():
                found = torch.autograd.grad(value, own, retain_graph=True, materialize_grads=True)
                flat = torch.cat([g.float().flatten() for g in found])
                mean = setting.accelerator.reduce(flat, "mean")
                key = f"{name.removeprefix('loss_')}_{tower}"
                norms[key] = norms.get(key, 0.0) + mean.norm().item() / len(taken)
                pulls[key] = pulls.get(key, torch.zeros_like(mean)) + mean / len(taken)
    model.load_state_dict(kept)
    model.train(training)
    stats = losses | {f"grad_{key}": norm for key, norm in norms.items()}
    stats |= {f"pull_{key}": pull.norm().item() for key, pull in pulls.items()}
    for tower in TOWERS if {"loss_mmcl", "loss_ssl"} <= set(losses) else ():
        mmcl, ssl = pulls[f"mmcl_{tower}"], pulls[f"ssl_{tower}"]
        stats[f"pull_cosine_{tower}"] = torch.cosine_similarity(mmcl, ssl, dim=0).item()
    yield Epoch(1, model, {"step": 0} | stats)


def by_tower(model: Model) -> dict[str, list[Tensor]]:
    """Return the trained weights of each tower; logit scale and bias belong to neither."""
    towers: dict[str, list[Tensor]] = {tower: [] for tower in TOWERS}
    for name, weight in model.clip.named_parameters():
        if weight.requires_grad and not name.startswith("logit_"):
            towers["image" if name.startswith("visual.") else "text"].append(weight)
    return towers
