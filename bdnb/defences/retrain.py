"""No defence but a control: what the clean pairs alone teach a model that never saw the poison."""

from collections.abc import Iterator

from bdnb import models
from bdnb.data.batches import Batches
from bdnb.defences.cleanclip import cleanclip
from bdnb.defences.registry import Setting, defence
from bdnb.models import Model
from bdnb.training.fit import Epoch


@defence("retrain")
def retrain(model: Model, pairs: Batches, setting: Setting) -> Iterator[Epoch]:
    """Replace the weights by fresh random ones, then train with the run's loss and budget.

    Its best accuracy over the backdoored model's is the retraining ratio. Where that is near one,
    "cleaning" can mean no more than training anew.
    """
    anew(model, seed=setting.seed)
    yield from cleanclip(model, pairs, setting)


def anew(model: Model, *, seed: int) -> None:
    """Replace a model's weights by those that training begins with, in place."""
    fresh = models.build(model.name, seed=seed, bias=model.clip.logit_bias is not None)
    model.clip.load_state_dict(fresh.clip.state_dict())
