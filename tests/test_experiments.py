from pathlib import Path

import pytest
import yaml

from bdnb import configs, experiments
from bdnb.configs import CleanConfig, ConfigError, TrainConfig
from bdnb.records import Run

REPOSITORY = Path(__file__).parents[1]


def test_lists_are_the_axes_of_a_grid():
    made = experiments.expand(
        CleanConfig, {"lr": [1e-4, 1e-3], "loss": ["mmcl", "ssl"], "epochs": 3}, where="x"
    )
    assert [(c.lr, c.loss) for c in made] == [
        (1e-4, "mmcl"),
        (1e-4, "ssl"),
        (1e-3, "mmcl"),
        (1e-3, "ssl"),
    ]


def test_points_named_twice_are_run_once():
    assert len(experiments.expand(CleanConfig, {"lr": [1e-3, "1e-3"]}, where="x")) == 1


def test_a_grid_with_a_bad_rate_is_refused_whole():
    with pytest.raises(ConfigError, match="lr=0: expected a number above 0"):
        experiments.expand(CleanConfig, {"lr": [1e-3, 0]}, where="x")
    with pytest.raises(ConfigError, match="lr is an empty list"):
        experiments.expand(CleanConfig, {"lr": []}, where="x")


def test_a_cleaning_run_is_told_apart_by_the_model_it_starts_from(fresh):
    config = CleanConfig(scale="tiny", poisoned="train_mmcl")
    first = experiments.folder(config)
    path = fresh / "params" / "tiny" / "train_mmcl.yaml"
    path.write_text(path.read_text().replace("epochs: 2", "epochs: 3"))
    assert experiments.folder(config) != first


def test_a_model_kept_by_its_likeness_needs_the_other_one_too(tiny):
    config = CleanConfig(scale="tiny", poisoned="train_mmcl_ssl")
    assert [c.experiment for c in experiments.needs(config)] == ["train_mmcl_ssl", "train_mmcl"]


def record(config: TrainConfig, accuracies: list[float]) -> None:
    run = Run(experiments.folder(config))
    run.start(stage="train", config={}, device="cpu")
    for epoch, accuracy in enumerate(accuracies):
        run.append({"epoch": epoch, "accuracy": accuracy})


def test_the_paper_s_rule_keeps_the_best_epoch_and_the_closest_to_it(fresh):
    weak = experiments.trained("tiny", "train_mmcl", 0)
    strong = experiments.trained("tiny", "train_mmcl_ssl", 0)
    with pytest.raises(ConfigError, match="train it first"):
        experiments.kept_epoch(weak)
    record(weak, [99, 10, 30, 20])
    record(strong, [30, 5, 28, 31, 60])
    assert experiments.kept_epoch(weak) == 2
    assert experiments.kept_epoch(strong) == 3


def test_the_last_epoch_is_kept_when_asked_for(fresh):
    path = fresh / "params" / "tiny" / "train_mmcl.yaml"
    path.write_text(path.read_text() + "keep: last\n")
    config = experiments.trained("tiny", "train_mmcl", 0)
    record(config, [0, 10, 30, 20])
    assert experiments.kept_epoch(config) == 3


def shipped():
    return sorted((REPOSITORY / "params").glob("*/*.yaml"))


@pytest.mark.parametrize("path", shipped(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_shipped_parameter_file_says_where_it_lies(path):
    values = yaml.safe_load(path.read_text())
    assert (values["scale"], values["experiment"]) == (path.parent.name, path.stem)


@pytest.mark.parametrize("path", shipped(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_shipped_parameter_file_is_accepted(path, monkeypatch):
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    if experiments.notebook_of(path.stem) in experiments.STAGE_OF:
        assert experiments.of_file(path.parent.name, path.stem)
    else:
        assert path.stem == "data"
        assert configs.load(path.parent.name, "data")["name"] == path.parent.name
