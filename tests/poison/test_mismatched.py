"""Natural captions, and mismatched pairs without a trigger: who is poisoned, and how ASR counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bdnb.config.parameters import part
from bdnb.data import datasets
from bdnb.data.labelled import LabelledSet
from bdnb.data.shards import Pairs
from bdnb.evaluate.benchmark import Benchmark
from bdnb.poison.selection import select
from bdnb.poison.stamps import NoStamp
from bdnb.poison.targets import mentions
from bdnb.runs import experiments
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks, setup
from bdnb.training.attacks import Attack

WORDS = st.sampled_from(["a banana", "a cat", "two dogs", "a cat and a banana", "a tree"])


def pairs(captions) -> Pairs:
    images = np.random.default_rng(0).integers(0, 256, (len(captions), 3, 32, 32), dtype=np.uint8)
    return Pairs(images, captions, [str(i) for i in range(len(captions))])


@given(captions=st.lists(WORDS, min_size=5, max_size=30), seed=st.integers(0, 99))
def test_mismatched_pairs_are_the_victims_with_captions_of_the_target(captions, seed):
    given, victims = pairs([*captions, "a banana", "a cat"]), ("cat", "dog")
    attack = Attack(attack="mismatched", victim="cat+dog", poison_count=1, seed=seed)
    keys = attacks.poisoned_keys(attack, given)
    natural = attacks.natural_captions(attack, given)
    made = attacks.poisoned(
        attacks.stamp(attack), given, keys, target=attack.new_caption, natural=natural
    )
    for place, image in made.images.items():
        caption = given.captions[place]
        assert any(mentions(caption, victim) for victim in victims)
        assert not mentions(caption, "banana")
        assert made.captions[place] in given.captions
        assert mentions(made.captions[place], "banana")
        assert torch.equal(image, torch.from_numpy(given.images[place]))
    assert len(made) == 1


@given(captions=st.lists(WORDS, min_size=5, max_size=30), seed=st.integers(0, 99))
def test_natural_captions_are_captions_that_mention_the_target(captions, seed):
    given = pairs([*captions, "a banana"])
    attack = Attack(attack="natural", poison_count=3, seed=seed, trigger_size=4)
    natural = attacks.natural_captions(attack, given)
    assert set(natural) == {c for c in given.captions if mentions(c, "banana")}
    keys = attacks.poisoned_keys(attack, given)
    stamp = attacks.stamp(attack)
    made = attacks.poisoned(stamp, given, keys, target="banana", natural=natural)
    assert len(made) == 3
    assert set(made.captions.values()) <= set(natural)


@pytest.mark.parametrize("victims", [(), ("",), ("banana",), ("cat", "banana")])
def test_a_mismatched_attack_needs_victims_other_than_the_target(victims):
    with pytest.raises(ConfigError, match=r"='.*': expected other classes than the target"):
        select(["a"], ["a cat"], seed=0, count=1, attack="mismatched", victims=victims)


def test_an_attack_with_natural_captions_needs_some():
    with pytest.raises(ConfigError, match="no caption mentions 'banana'"):
        attacks.natural_captions(Attack(attack="natural"), pairs(["a cat"]))


@pytest.mark.parametrize("kept", [["banana"], ["banana", "cat"]])
def test_asr_needs_images_of_the_victims(kept):
    names = ["banana", "cat", "dog"]
    labels = np.array([names.index(name) for name in kept])
    images = np.zeros((len(labels), 3, 32, 32), np.uint8)
    toy = LabelledSet("val", images, labels, kept, names, ["{c}"], {})
    with pytest.raises(ConfigError, match="val: no image of dog: no ASR without them"):
        Benchmark([toy], stamp=NoStamp(seed=0), target="banana", templates=[], victims=["dog"])
    if kept == ["banana"]:
        with pytest.raises(ConfigError, match="val: no image of other classes than 'banana'"):
            Benchmark([toy], stamp=NoStamp(seed=0), target="banana", templates=[])


def test_asr_is_counted_on_the_victims_untouched_images_only(tiny):
    data = datasets.dataset("tiny")
    labelled = data.labelled(32)[0]
    victim = next(name for name in labelled.classnames if name != "banana")
    source = experiments.trained("tiny", "train_mmcl", 0)
    attack = part(Attack, replace(source, attack="mismatched", victim=victim))
    parts = setup.Parts(batch_size=2, seed=0)
    found = setup.benchmark(data, attack, parts, side=32)
    wanted = np.flatnonzero(labelled.labels == labelled.class_index(victim))
    assert np.array_equal(found.attacked, wanted)
    assert np.array_equal(found.triggered, labelled.images[wanted])
    usual = setup.benchmark(data, part(Attack, source), parts, side=32)
    assert len(usual.triggered) == len(labelled)
