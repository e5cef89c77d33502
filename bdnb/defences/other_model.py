"""A second model that a defence's option names: an experiment, a file, or a published one."""

from bdnb import models
from bdnb.defences.registry import Setting
from bdnb.models import Model
from bdnb.runs import experiments, results


def other_model(name: str, setting: Setting) -> Model:
    """Return the model, on the run's device.

    name: a training experiment of the scale (its kept epoch, of the run's seed), a weights file or
    ``NAME:TAG`` of open_clip. Errors: ConfigError.
    """
    if experiments.is_experiment(setting.scale, name):
        source = experiments.trained(setting.scale, name, setting.seed)
        name = str(results.kept_weights(source))
    return models.load_any(name).to(setting.accelerator.device)
