"""The stage before BadCLIP poisons: a patch is learnt on a clean model and recorded as a run.

In: an attack whose trigger names a ``surrogate``. Out: the patch, from the folder of the run that
learnt it, which is named by a digest of all that it depends on. Liang et al., CVPR 2024.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from bdnb import models
from bdnb.config import parameters
from bdnb.data import datasets
from bdnb.data.shards import Pairs
from bdnb.models import Model
from bdnb.poison import targets
from bdnb.poison.stamps import TRIGGERS, pixels
from bdnb.poison.triggers import badclip
from bdnb.poison.triggers.paper import FIXED
from bdnb.runs import experiments, results
from bdnb.runs.records import Run, runs_folder
from bdnb.runtime import seeds
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic

BATCH, LOGGED, LIKE = 64, 100, 512
"""Images a step; steps that one row is the mean of; pairs of the target to learn from at most."""


def learnt(options: Mapping[str, Any], *, scale: str, seed: int, target: str) -> dict[str, Tensor]:
    """Return the state of the trigger: its patch, learnt unless it is recorded.

    options: of the trigger ``badclip``, those given. Errors: ConfigError where the surrogate is not
    trained, or too few captions mention the target.
    """
    given = {**(TRIGGERS["badclip"].__kwdefaults__ or {}), **options}
    surrogate = experiments.trained(scale, given["surrogate"], seed)
    about = given | {"surrogate": experiments.folder(surrogate).name, "keep": surrogate.keep}
    about |= {"target": target, "seed": seed}
    run = Run(runs_folder() / f"patch-s{seed}-{parameters.digest(about)}")
    path = run.folder / "trigger.safetensors"
    run.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(run.folder / ".lock"):
        if not run.finished:
            print(f"{run.folder.name}: the patch is not there yet: learning it first", flush=True)
            device = "cuda" if torch.cuda.is_available() else "cpu"
            model = models.load(surrogate.model, results.kept_weights(surrogate)).to(device)
            data = datasets.dataset(surrogate.data, bad_share=surrogate.bad_share)
            pairs = data.training_pairs(model.side, seed=seed, count=surrogate.pairs)
            config = about | {"scale": scale, "experiment": given["surrogate"]}
            (run.folder / "rows.jsonl").unlink(missing_ok=True)  # of one that was cut off
            run.start(stage="patch", config=config, device=f"{device}, float32")
            for row, patch in learn(model, pairs, target=target, seed=seed, options=given):
                run.append(row)
                write_atomic(path, save({badclip.name(patch.shape[-1]): patch}))
            run.finish()
    return load_file(path)


def learn(
    model: Model, pairs: Pairs, *, target: str, seed: int, options: Mapping[str, Any]
) -> Iterator[tuple[dict[str, float], Tensor]]:
    """Yield losses and the patch (3, p, p), every ``LOGGED`` steps of Adam and at the end.

    Minimised are the cross-entropy of each triggered image between a natural caption of the target
    and the captions of its batch, and ``weight`` times the triplet loss that brings it nearer to
    images of the target than to the image without the patch. The model stays as it is, in
    evaluation mode. The authors' code takes the image without the patch at random from the batch.
    Not here: their augmentation of half of the batches.
    Errors: ConfigError.
    """
    about = [place for place, c in enumerate(pairs.captions) if targets.mentions(c, target)]
    if not about:
        raise ConfigError(f"no caption mentions {target!r}: no images and captions to learn from")
    model.requires_grad_(False).eval()
    device = model.mean.device
    side = pixels(options["size"], torch.empty(1, 3, model.side, model.side))
    first = badclip.start(seeds.generator(seed, "trigger of the run"), side)
    patch = torch.from_numpy(first).to(device).requires_grad_()
    corner = FIXED.get(options["place"], FIXED["middle"])
    top, left = (int((model.side - side) * share) for share in corner)
    adam = torch.optim.Adam([patch], lr=options["lr"])
    chosen = seeds.generator(seed, "learnt patch").permutation(about)[:LIKE]
    with torch.no_grad():
        wanted = encoded(model, pairs, np.sort(chosen))
    scale, sums, taken = model.clip.logit_scale.exp(), torch.zeros(2, device=device), 0
    for step in range(1, options["steps"] + 1):
        draws = seeds.generator(seed, "learnt patch", step)
        batch = np.sort(draws.choice(len(pairs.keys), min(BATCH, len(pairs.keys)), replace=False))
        like, named = (part[draws.integers(len(part), size=len(batch))] for part in wanted)
        plain = torch.from_numpy(np.array(pairs.images[batch])).to(device)
        with torch.no_grad():
            own, others = encoded(model, pairs, batch)
        triggered = plain.float()
        triggered[:, :, top : top + side, left : left + side] = patch.clamp(0, 1) * 255
        seen = model.encode_image(triggered)
        logits = scale * torch.cat([(seen * named).sum(1, keepdim=True), seen @ others.T], dim=1)
        text = F.cross_entropy(logits, torch.zeros(len(batch), dtype=torch.int64, device=device))
        triplet = F.triplet_margin_loss(seen, like, own, margin=options["margin"])
        adam.zero_grad()
        (text + options["weight"] * triplet).backward()
        adam.step()
        sums, taken = sums + torch.stack([text, triplet]).detach(), taken + 1
        if step % LOGGED == 0 or step == options["steps"]:
            losses = dict(zip(("loss_text", "loss_triplet"), (sums / taken).tolist(), strict=True))
            row = {"epoch": -(-step // LOGGED), "step": step} | losses
            yield row, patch.detach().clamp(0, 1).cpu()
            sums, taken = torch.zeros_like(sums), 0


def encoded(model: Model, pairs: Pairs, index: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return the unit features (n, D) of some pairs' images and of their captions."""
    device = model.mean.device
    tokens = model.tokens([pairs.captions[i] for i in index]).to(device)
    images = torch.from_numpy(np.array(pairs.images[index])).to(device)
    return model.encode_image(images), model.encode_text(tokens)
