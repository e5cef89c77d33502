import pytest
import torch

from bdnb import models
from bdnb.defences.shrink_perturb import shrink_perturb_


def test_shrink_and_perturb_with_gaussian_noise_has_the_paper_s_moments():
    changed = models.build("rn_test", seed=0)
    shrink_perturb_(changed, shrink=0.5, perturb=0.1, seed=3)
    model = models.build("rn_test", seed=0)
    old = model.clip.token_embedding.weight
    noise = changed.clip.token_embedding.weight - 0.5 * old
    assert noise.std().item() == pytest.approx(0.1, rel=0.01)
    assert abs(noise.mean().item()) < 1e-3
    stats = "visual.bn1.running_var"
    assert torch.equal(changed.clip.state_dict()[stats], model.clip.state_dict()[stats])


def test_shrink_and_perturb_by_a_fresh_initialisation_is_the_authors():
    changed = models.build("rn_test", seed=0)
    shrink_perturb_(changed, shrink=0.0, perturb=1.0, noise="fresh", seed=3)
    gain = changed.clip.visual.bn1.weight
    assert torch.equal(gain, torch.ones_like(gain))
