"""No defence but a measurement: in which tower the backdoor is, by giving each a clean partner."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from bdnb.data.batches import Batches
from bdnb.defences.other_model import other_model
from bdnb.defences.registry import Before, Setting, defence
from bdnb.evaluate.benchmark import evaluating, image_features, text_features
from bdnb.models import Model
from bdnb.runtime.errors import ConfigError
from bdnb.training.fit import Epoch


def _check(options: Mapping[str, Any], before: Before) -> None:
    if not options.get("clean_model"):
        raise ConfigError("swap needs clean_model=, such as the training experiment train_clean")


@defence("swap", check=_check)
def swap(
    model: Model,
    pairs: Batches,
    setting: Setting,
    *,
    clean_model: str = "",
    backdoored: Literal["image", "text", "both", "neither"] = "image",
    align: Literal["rotation", "none"] = "rotation",
) -> Iterator[Epoch]:
    """Yield one model of the backdoored one's towers and a clean one's.

    clean_model: as ``other_model`` takes it; of the same architecture. backdoored: the tower (or
    both, or neither: controls) that the backdoored model gives. align: two models trained apart
    have unlike embedding spaces, so text features are turned by the rotation that brings the
    text tower's model closest to the image tower's on clean pairs, images and captions together
    (orthogonal Procrustes); "none" where both come from the same weights. A row's ``aligned`` is
    the mean cosine of the same inputs' features in both models after that.
    Errors: ConfigError without a clean model, or for one of another architecture.
    """
    clean = other_model(clean_model, setting)
    if clean.name != model.name:
        raise ConfigError(f"clean_model={clean_model!r}: {clean.name}, expected {model.name}")
    image = model if backdoored in ("image", "both") else clean
    text = model if backdoored in ("text", "both") else clean
    rotation, aligned = None, 1.0
    if image is not text:
        seen = [features(one, pairs) for one in (text, image)]
        rotation = procrustes(*seen) if align == "rotation" else torch.eye(seen[0].shape[1])
        rotation = rotation.to(seen[0])
        aligned = ((seen[0] @ rotation) * seen[1]).sum(dim=1).mean().item()
    parts = {k: v.clone() for k, v in text.clip.state_dict().items()}
    parts |= {k: v.clone() for k, v in image.clip.state_dict().items() if k.startswith("visual.")}
    model.clip.load_state_dict(parts)
    if rotation is not None:
        rotate_text_(model, rotation)
    yield Epoch(1, model, {"step": 0, "aligned": aligned})


def features(model: Model, pairs: Batches) -> Tensor:
    """Unit features (2N, D) of the clean pairs: images, then captions."""
    with evaluating(model):
        images = image_features(model, pairs.pairs.images)
        return torch.cat([images, text_features(model, list(pairs.pairs.captions))])


def procrustes(source: Tensor, target: Tensor) -> Tensor:
    """The orthogonal R (D, D) with the least ``||source @ R - target||``; both (N, D)."""
    left, _, right = torch.linalg.svd(source.double().T @ target.double())
    return left @ right


def rotate_text_(model: Model, rotation: Tensor) -> None:
    """Turn the model's text features by R (D, D), in place: in the tower's last matrix."""
    projection = model.clip.text_projection
    with torch.no_grad():
        if isinstance(projection, torch.nn.Linear):  # features = x @ weight.T + bias
            projection.weight.copy_(rotation.T @ projection.weight)
            if projection.bias is not None:
                projection.bias.copy_(projection.bias @ rotation)
        else:
            projection.copy_(projection @ rotation)
