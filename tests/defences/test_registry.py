import re
from pathlib import Path

import pytest

from bdnb import defences
from bdnb.defences import registry
from bdnb.defences.registry import Before
from bdnb.runtime.errors import ConfigError


def test_a_file_in_the_package_is_all_that_a_defence_needs():
    files = Path(defences.__file__).parent.glob("*.py")
    named = {n for f in files for n in re.findall(r'^@defence\("(\w+)"', f.read_text(), re.M)}
    ours = {n for n, made in defences.DEFENCES.items() if made.__module__.startswith("bdnb.")}
    assert {"cleanclip", "screen", "deep_cluster"} < named == ours


@pytest.mark.parametrize(
    ("name", "option", "expected"),
    [
        ("shrink_perturb", {"noise": "salt"}, "noise='salt': expected one of gaussian, fresh"),
        ("deep_cluster", {"lookup": "never"}, "lookup='never': expected one of epoch, batch"),
        ("heavy_regularisation", {"by": 3}, "by=3: expected one of penalty, decay"),
    ],
)
def test_a_word_that_an_option_does_not_know_is_refused_before_any_work(name, option, expected):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        defences.check(name, option)


@pytest.mark.parametrize(
    ("name", "options", "about", "expected"),
    [
        ("swap", {"backdoored": "text"}, {}, "swap needs clean_model="),
        ("deep_cluster", {"labels": "classifier"}, {}, "labels='classifier' needs classifier="),
        ("clp", {}, {"model": "vit_tiny32"}, "vit_tiny32: expected a ResNet image tower"),
        ("fine_pruning", {}, {"model": "ViT-B-32"}, "ViT-B-32: expected a ResNet image tower"),
        ("fine_pruning", {"nad": 1.0}, {"micro_batch": 8}, "nad with micro_batch"),
        ("invertune", {}, {"model": "vit_tiny32"}, "vit_tiny32: expected a ResNet image tower"),
    ],
)
def test_what_a_defence_cannot_do_is_refused_before_anything_is_trained(
    name, options, about, expected
):
    with pytest.raises(ConfigError, match=re.escape(expected)):
        defences.check(name, options, before=Before(**about))


def test_a_defence_takes_the_models_that_it_is_made_for():
    sound = {"swap": {"clean_model": "train_clean"}, "fine_pruning": {"nad": 1.0}}
    for name in defences.DEFENCES:
        for model in ("", "rn_test", "RN50"):
            defences.check(name, sound.get(name, {}), before=Before(model=model))


def test_a_check_that_breaks_is_told_as_the_defence_s_own(monkeypatch):
    monkeypatch.setitem(registry.CHECKS, "clp", lambda options, before: options["nosuch"])
    with pytest.raises(ConfigError, match=r"the check of defence 'clp': .*KeyError: 'nosuch'"):
        defences.check("clp", {})
