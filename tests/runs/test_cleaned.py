"""A run that starts from what another cleaning run has made."""

from dataclasses import replace

import pytest

from bdnb import clean
from bdnb.explore import recorded_runs
from bdnb.runs import experiments, shipped
from bdnb.runs.cleaning_runs import cleaned
from bdnb.runs.records import Run, weights_of
from bdnb.runtime.errors import ConfigError


def config(**changes):
    first = experiments.of_file("tiny", "clean")[0]
    return replace(first, **({"epochs": 1, "loss": "mmcl", "lr": 2e-3} | changes))


def test_a_rebound_starts_from_the_cleaned_model_of_the_same_seed(tiny):
    wanted = config(cleaned={"experiment": "clean", "lr": 1e-3})
    (other,) = cleaned(wanted)
    assert (other.seed, other.poisoned, other.loss) == (0, "train_mmcl", "mmcl_ssl")
    run, source = clean.clean(wanted), Run(experiments.folder(other))
    first, last = run.rows()[0], source.rows()[-1]
    assert (first["accuracy"], first["asr"]) == (last["accuracy"], last["asr"])
    about = run.manifest["about"]
    assert about["from"] == {"run": source.folder.name, "epoch": 2}
    assert about["pretrain_objective"] == "mmcl"
    assert run.origin() == weights_of(source, 2)
    assert run.rows()[1]["distance"] > 0
    attack = recorded_runs.attack(run)
    assert (attack.model, attack.trigger, attack.trigger_size) == ("rn_test", "badnet", 8)


def test_what_is_cleaned_before_tells_runs_apart(tiny):
    plain, other = config(), config(cleaned={"experiment": "clean"})
    assert experiments.folder(plain) != experiments.folder(other)
    assert shipped.shipped_name(plain) != shipped.shipped_name(other)
    assert [run.experiment for run in experiments.before(other)] == ["train_mmcl", "clean"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"experiment": "clean", "lr": 5.0}, "0 runs of params/tiny/clean.yaml have lr=5.0"),
        ({"experiment": "nonideal"}, "2 runs of params/tiny/nonideal.yaml"),
        ({"experiment": "gone"}, "gone"),
    ],
)
def test_exactly_one_cleaned_model_is_meant(tiny, given, says):
    with pytest.raises(ConfigError, match=says):
        experiments.before(config(cleaned=given))
