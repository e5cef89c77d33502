"""Deep clustering (Equation 3): when its head is drawn, how it learns, where labels come from."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from bdnb import clean, models
from bdnb.config import authors
from bdnb.config.recipes import CleanConfig
from bdnb.data import datasets
from bdnb.defences import deep_cluster as module
from bdnb.defences import registry
from bdnb.defences.pseudo_labels import ClusterHead
from bdnb.evaluate import benchmark
from bdnb.runs import experiments
from bdnb.training import device
from bdnb.training.loop import Compute
from bdnb.training.objectives import make as objective
from bdnb.training.optimiser import Optimiser


def cleaned(**options) -> list[dict]:
    first = experiments.of_file("tiny", "clean")[0]
    config = dataclasses.replace(first, defence="deep_cluster", epochs=3, options=options)
    return clean.clean(config).rows()


BY_CLASSIFIER = {"labels": "classifier", "classifier": "train_mmcl"}


@pytest.mark.parametrize(
    ("options", "drawn"),
    [
        ({"k": 8}, [0, 1, 2, 3]),
        ({"k": 8, "head": "once"}, [0, 1]),
        (BY_CLASSIFIER, [0, 1]),
    ],
    ids=["k-means", "k-means, one head", "classifier"],
)
def test_the_head_is_drawn_anew_when_labels_are_made_anew(fresh, monkeypatch, options, drawn):
    """The classifier's are made once: a head drawn anew each epoch would never learn them."""
    real, epochs = ClusterHead.renew, []

    def renew(head, *, seed, epoch, **rest):
        epochs.append(epoch)
        real(head, seed=seed, epoch=epoch, **rest)

    monkeypatch.setattr(ClusterHead, "renew", renew)
    cleaned(**options)
    assert epochs == drawn


def test_a_head_with_a_learning_rate_of_its_own_learns_and_a_row_says_what_chance_is(tiny):
    usual, own = cleaned(**BY_CLASSIFIER), cleaned(**BY_CLASSIFIER, head_lr=0.3)
    classes = len(datasets.dataset("tiny").labelled(32)[0].classnames)
    for row in (*usual[1:], *own[1:]):
        assert row["loss_deep_cluster_chance"] == pytest.approx(math.log(classes))
    assert usual[-1]["loss_deep_cluster"] > 0.95 * math.log(classes)
    assert own[-1]["loss_deep_cluster"] < 0.8 * math.log(classes)


def test_the_head_s_decay_and_learning_rate_are_its_own_when_given(tiny, monkeypatch):
    real, groups, lasts = registry.fit, [], []

    def spy(loop, *given, **options):
        groups.append(loop.optimizer.param_groups[-1])
        yield from real(loop, *given, **options)
        lasts.append(groups[-1]["lr"])

    monkeypatch.setattr(registry, "fit", spy)
    theirs = authors.DEFENCES["deep_cluster"]
    cleaned(k=7)
    cleaned(k=7, head_lr=0.5, head_decay=theirs["head_decay"], head_bias=theirs["head_bias"])
    usual, own = groups
    assert (usual["weight_decay"], own["weight_decay"]) == (0.1, 0.0)
    assert (usual["initial_lr"], own["initial_lr"]) == (1e-3, 0.5)
    assert lasts == [pytest.approx(0), 0.5]  # the encoder's falls, its own stays
    assert [tuple(p.shape) for p in usual["params"]] == [(7, 32)]
    assert [tuple(p.shape) for p in own["params"]] == [(7, 32), (7,)]


class Counted:
    """Images that remember how many are read at once."""

    def __init__(self, images):
        self.images, self.most = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        found = self.images[index]
        self.most = max(self.most, len(found))
        return found

    def __array__(self, dtype=None, copy=None):
        return self[:]


def test_a_classifier_labels_some_images_at_a_time_each_as_its_nearest_class(tiny, monkeypatch):
    monkeypatch.setattr(benchmark, "BATCH", 7)
    data = datasets.dataset("tiny")
    path = tiny / "other.safetensors"
    other = models.build("rn_test", seed=5)
    models.save_weights(other, path, about={})
    names = tuple(data.labelled(32)[0].classnames)
    images = Counted(data.pairs("clean", 32).images)
    setting = registry.Setting(
        accelerator=device.accelerator(precision="no"),
        loss=objective("mmcl"),
        optimiser=Optimiser(lr=1e-3),
        compute=Compute(),
        epochs=1,
        seed=0,
        state=tiny / "state.pt",
        classnames=names,
        scale=CleanConfig().scale,
    )
    labels = module.classifier_labels(str(path), images, setting)
    assert images.most == 7
    other.eval()
    with torch.no_grad():
        heads = []
        for name in names:
            prompts = [template.format(c=name) for template in module.targets.templates()]
            mean = other.encode_text(other.tokens(prompts)).mean(dim=0)
            heads.append(mean / mean.norm())
        seen = other.encode_image(torch.from_numpy(np.array(images.images)))
        cosines = seen @ torch.stack(heads).T
    assert torch.equal(labels.cpu(), cosines.argmax(dim=1))
