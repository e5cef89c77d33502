"""CleanCLIP: fine-tune on clean pairs (Section 3.2; Bansal et al., 2023)."""

from collections.abc import Iterator

from bdnb.data.batches import Batches
from bdnb.defences.registry import Setting, defence, run_fit, start
from bdnb.models import Model
from bdnb.training.fit import Epoch


@defence("cleanclip")
def cleanclip(model: Model, pairs: Batches, setting: Setting) -> Iterator[Epoch]:
    """Fine-tune with the run's loss: MMCL, SSL or both."""
    yield from run_fit(start(model, pairs, setting, used_tokens=True), pairs, setting, setting.loss)
