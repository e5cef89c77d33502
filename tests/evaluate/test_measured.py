from dataclasses import replace

import numpy as np
import pytest
import torch

from bdnb import models
from bdnb.data.labelled import LabelledSet
from bdnb.evaluate.benchmark import Benchmark
from bdnb.evaluate.measured import mark, measured

NAMES = ["banana", "red apple", "dog"]


def labelled(name: str, *, shade: int = 0) -> LabelledSet:
    rng = np.random.default_rng(0)
    images = rng.integers(shade, 256, (6, 3, 32, 32), dtype=np.uint8)
    keys = [f"{i:03d}" for i in range(6)]
    labels = np.arange(6) % 3
    return LabelledSet(name, images, labels, keys, NAMES, ["a {c}"], {})


def benchmark(**changes) -> Benchmark:
    def stamp(images, keys):
        return (images + changes.get("trigger", 9)).to(torch.uint8)

    sets = changes.get("sets", [labelled("val"), labelled("unseen")])
    templates = changes.get("templates", ["a {c}"])
    return Benchmark(sets, stamp=stamp, target="banana", templates=templates)


@pytest.fixture(scope="module")
def model():
    return models.build("rn_test", seed=0)


def test_a_model_is_measured_once_for_all_runs_of_a_folder(model, tmp_path):
    bench, asked = benchmark(), []

    def measure(given):
        asked.append(given)
        return bench.measure(given)

    first = measured(bench, model, tmp_path / "one", device="cpu, fp32", measure=measure)
    again = measured(benchmark(), model, tmp_path / "two", device="cpu, fp32", measure=measure)
    assert first == again == bench.measure(model)
    assert len(asked) == 1
    measured(bench, model, tmp_path / "two", device="cpu, bf16", measure=measure)
    assert len(asked) == 2
    assert len(list(tmp_path.glob("one/*"))) == len(list(tmp_path.glob("two/*"))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"trigger": 10},
        {"templates": ["the {c}"]},
        {"sets": [labelled("val")]},
        {"sets": [labelled("val", shade=1), labelled("unseen")]},
        {"sets": [replace(labelled("val"), labels=np.arange(6)[::-1] % 3), labelled("unseen")]},
        {"sets": [replace(labelled("val"), classnames=[*NAMES, "cat"]), labelled("unseen")]},
    ],
)
def test_what_the_values_depend_on_is_told_apart(model, changes):
    assert mark(benchmark(**changes), model, "cpu") != mark(benchmark(), model, "cpu")


def test_other_weights_statistics_and_devices_are_told_apart(model):
    bench, own = benchmark(), models.build("rn_test", seed=0)
    same = mark(bench, model, "cpu")
    assert mark(bench, own, "cpu") == same
    assert mark(bench, own, "cuda") != same
    own.name = "rn_test-quickgelu"
    assert mark(bench, own, "cpu") != same
    own.name = "rn_test"
    own.mean += 1
    assert mark(bench, own, "cpu") != same
    own.mean -= 1
    own.clip.visual.bn1.running_mean[0] += 1e-3
    assert mark(bench, own, "cpu") != same
    assert mark(bench, models.build("rn_test", seed=1), "cpu") != same
    other = models.build("rn_test", seed=0)
    other.lay_out(kernels="small")
    assert mark(bench, other, "cpu") != same
