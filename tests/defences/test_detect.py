"""Detection as a run: what its row has, and training without what was found."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from bdnb import clean, models
from bdnb.config.parameters import part
from bdnb.config.recipes import CleanConfig
from bdnb.data import datasets
from bdnb.data.batches import Batches, Poison
from bdnb.data.shards import Pairs
from bdnb.defences import detect as module
from bdnb.evaluate.detectors import Scored, registry
from bdnb.runs import experiments, results
from bdnb.runtime.errors import ConfigError
from bdnb.training import setup
from bdnb.training.attacks import Attack


def config(**changes) -> CleanConfig:
    first = experiments.of_file("tiny", "clean")[0]
    return dataclasses.replace(first, **({"epochs": 1, "defence": "detect"} | changes))


def test_a_row_has_three_numbers_of_every_detector_and_the_model_as_it_was(tiny):
    before, after = clean.clean(config()).rows()
    for name in registry.DETECTORS:
        assert 0 <= after[f"{name}_auroc"] <= 100
        assert 0 <= after[f"{name}_fpr95"] <= 100
        assert f"{name}_f1" in after
    assert (after["accuracy"], after["asr"]) == (before["accuracy"], before["asr"])


def test_only_the_detectors_that_are_named_are_run_with_their_options(tiny):
    options = {"detectors": ["dao"], "options": {"dao": {"k": 3}}}
    row = clean.clean(config(options=options)).rows()[1]
    assert {name for name in row if name.endswith("_auroc")} == {"dao_auroc"}
    with pytest.raises(ConfigError, match=r"detector 'dao': k=0: expected a number of at least 1"):
        clean.clean(config(options={"options": {"dao": {"k": 0}}}))


def test_an_option_that_a_detector_does_not_take_is_refused_before_a_model_is_trained(fresh):
    for defence, options in (
        ("detect", {"detectors": ["dao"], "options": {"dao": {"size": 3}}}),
        ("drop", {"detector": "dao", "options": {"size": 3}}),
    ):
        with pytest.raises(ConfigError, match="detector 'dao': no option 'size'"):
            clean.check(config(defence=defence, options=options))


def test_a_detector_that_is_not_there_is_refused_before_a_model_is_trained(fresh):
    for defence, options in (("detect", {"detectors": ["doa"]}), ("drop", {"detector": "doa"})):
        with pytest.raises(ConfigError, match=r"detectors?=.*: expected one of .*mean 'dao'\?"):
            clean.check(config(defence=defence, options=options))


def test_a_detector_sees_the_pairs_that_the_model_was_trained_on_with_their_poison(
    tiny, monkeypatch
):
    seen = {}

    def score(name, model, samples, known, options):
        seen[registry.OF[name]] = samples
        return Scored(torch.arange(len(samples.image), dtype=torch.float64))

    monkeypatch.setattr(registry, "score", score)
    clean.clean(config(seed=0, options={"detectors": ["gmm", "subspace"], "reference": 5}))
    assert seen["pairs"].image.shape == seen["pairs"].text.shape
    assert len(seen["pairs"].image) == 96
    assert seen["images"].text is None
    assert 24 < len(seen["images"].image) < 48  # those of the target class have no trigger


def test_of_an_attack_on_some_classes_only_their_images_stand_for_the_poison(tiny, monkeypatch):
    data = datasets.dataset("tiny")
    labelled = data.labelled(32)[0]
    victim = next(name for name in labelled.classnames if name != "banana")
    source = experiments.trained("tiny", "train_mmcl", 0)
    attack = part(Attack, dataclasses.replace(source, attack="mismatched", victim=victim))
    parts = setup.Parts(batch_size=2, seed=0)
    setting = SimpleNamespace(benchmark=setup.benchmark(data, attack, parts, side=32))
    monkeypatch.setattr(module, "seen", lambda model, images: torch.tensor(images))
    samples, poisoned = module.tested(None, setting)
    images = torch.tensor(labelled.images)
    attacked = labelled.labels == labelled.class_index(victim)
    assert torch.equal(samples.image[poisoned], images[attacked])
    assert torch.equal(samples.image[~poisoned], images)


def test_what_a_detector_is_given_is_among_the_parameters_of_a_run(tiny):
    made = {}
    for given in ({}, {"reference": "clean"}, {"features": "raw"}):
        lid = {"batch": 16, "k": 3} | given
        one = config(options={"detectors": ["lid"], "options": {"lid": lid}})
        made[experiments.folder(one)] = clean.clean(one).rows()[1]["lid_auroc"]
    assert len(made) == len(set(made.values())) == 3


def test_lengths_are_those_of_the_features_that_the_tower_gives(tiny):
    model = models.build("rn_tiny32", seed=0).eval()
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 32, 32), dtype=np.uint8)
    with module.lengths(model) as found:
        unit = module.seen(model, images)
    model.encode_image(torch.from_numpy(images))
    (length,) = found  # of nothing that is encoded afterwards
    pixels = (torch.from_numpy(images) - model.mean) / model.std
    with torch.inference_mode():
        raw = model.clip.encode_image(pixels)
    torch.testing.assert_close(unit * length[:, None], raw)


def test_a_detector_that_knows_the_poison_leaves_none_to_train_on(tiny, monkeypatch):
    real = module.trained_on

    def trained_on(model, batches):
        samples, poisoned = real(model, batches)
        monkeypatch.setattr(
            registry, "score", lambda *given: Scored(torch.from_numpy(poisoned).double())
        )
        return samples, poisoned

    monkeypatch.setattr(module, "trained_on", trained_on)
    options = {"share": 10 / 96, "detector": "lid"}
    rows = clean.clean(config(defence="drop", options=options, batch_size=20)).rows()
    assert rows[1]["poison_dropped"] == 100
    assert rows[1]["step"] == 5  # 86 of the 96 pairs


def test_dropping_nothing_trains_on_all_pairs_and_keeps_nothing_of_the_backdoored_model(tiny):
    made = [
        clean.clean(config(defence="drop", options={"share": 0.0}, poisoned=source)).rows()
        for source in ("train_mmcl", "train_mmcl_ssl")
    ]
    assert [rows[1]["poison_dropped"] for rows in made] == [0, 0]
    assert made[0][1]["loss_total"] == made[1][1]["loss_total"]


def test_batches_without_some_pairs_have_their_poison_at_its_new_places():
    images = np.arange(5, dtype=np.uint8)[:, None, None, None].repeat(3, axis=1)
    pairs = Pairs(images, list("abcde"), list("vwxyz"))
    red = {place: torch.full((3, 1, 1), 100 + place, dtype=torch.uint8) for place in (1, 3)}
    whole = Batches(
        pairs,
        batch_size=5,
        seed=0,
        tokens=lambda captions: torch.tensor([[ord(c[0])] for c in captions]),
        poison=Poison(red, {1: "B", 3: "D"}),
    )
    some = module.without(whole, [0, 3, 4])
    batch = next(some.epoch(1))
    found = dict(zip(batch.images[:, 0, 0, 0].tolist(), batch.tokens[:, 0].tolist(), strict=True))
    assert found == {0: ord("a"), 103: ord("D"), 4: ord("e")}
    assert len(some.poison) == 1


def test_what_a_foreign_model_was_trained_on_is_not_known(tiny):
    source = experiments.trained("tiny", "train_mmcl", 0)
    backdoored = clean.BackdooredModel(source, results.kept_weights(source), {}, foreign=True)
    with pytest.raises(ConfigError, match="nobody said what pairs it was trained on"):
        clean.training_batches(config(), backdoored, None, None, None)
