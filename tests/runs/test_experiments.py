import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from bdnb.config import grids, parameters
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import experiments, results
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]


def test_lists_are_the_axes_of_a_grid():
    made = grids.expand(
        CleanConfig, {"lr": [1e-4, 1e-3], "loss": ["mmcl", "ssl"], "epochs": 3}, where="x"
    )
    assert [(c.lr, c.loss) for c in made] == [
        (1e-4, "mmcl"),
        (1e-4, "ssl"),
        (1e-3, "mmcl"),
        (1e-3, "ssl"),
    ]


def test_points_named_twice_are_run_once():
    assert len(grids.expand(CleanConfig, {"lr": [1e-3, "1e-3"]}, where="x")) == 1


def test_a_list_inside_a_mapping_is_an_axis_too():
    options = {"shrink": [0.5, 0.9], "perturb": [0.1, 0.2], "noise": "fresh"}
    made = grids.expand(CleanConfig, {"options": options, "lr": [1e-4, 1e-3]}, where="x")
    assert len(made) == 8
    assert made[0].options == {"shrink": 0.5, "perturb": 0.1, "noise": "fresh"}
    (one,) = grids.expand(CleanConfig, {"options": {"shape": [[3, 4]]}}, where="x")
    assert one.options == {"shape": [3, 4]}


def test_pairs_of_options_are_points_of_one_axis():
    pairs = [{"shrink": 0.5, "perturb": 0.1}, {"shrink": [0.8, 0.9]}]
    made = grids.expand(CleanConfig, {"options": pairs}, where="x")
    assert [c.options for c in made] == [pairs[0], {"shrink": 0.8}, {"shrink": 0.9}]


def test_grids_are_run_one_after_the_other_and_shared_points_once():
    values = {
        "epochs": 3,
        "grids": [{"lr": [1e-4, 1e-3]}, {"lr": 1e-3, "loss": ["ssl", "mmcl_ssl"]}],
    }
    made = grids.expand(CleanConfig, values, where="x")
    assert [(c.lr, c.loss) for c in made] == [
        (1e-4, "mmcl_ssl"),
        (1e-3, "mmcl_ssl"),
        (1e-3, "ssl"),
    ]
    assert {c.epochs for c in made} == {3}
    with pytest.raises(ConfigError, match="grids=3: expected a list"):
        grids.expand(CleanConfig, {"grids": 3}, where="x")
    with pytest.raises(ConfigError, match="'rate' is not a parameter"):
        grids.expand(CleanConfig, {"grids": [{"rate": 1}]}, where="x")


def test_a_file_takes_over_another_s_values_and_overrides_its_grids(fresh):
    folder = fresh / "params" / "tiny"
    (folder / "clean_a.yaml").write_text(
        "scale: tiny\nexperiment: clean_a\nepochs: 7\ngrids: [{lr: [1, 2]}, {lr: 3, loss: ssl}]\n"
    )
    (folder / "clean_b.yaml").write_text(
        "scale: tiny\nexperiment: clean_b\nbase: clean_a\nloss: mmcl\n"
    )
    made = experiments.of_file("tiny", "clean_b")
    assert [(c.experiment, c.epochs, c.loss, c.lr) for c in made] == [
        ("clean_b", 7, "mmcl", lr) for lr in (1, 2, 3)
    ]
    (folder / "clean_c.yaml").write_text("scale: tiny\nexperiment: clean_c\nbase: clean_b\n")
    with pytest.raises(ConfigError, match="base='clean_b': expected another file"):
        experiments.of_file("tiny", "clean_c")


def test_a_parameter_added_later_leaves_recorded_runs_recorded():
    assert "pairs" not in parameters.identity(TrainConfig())
    assert parameters.identity(TrainConfig(pairs=5))["pairs"] == 5


def test_what_is_cleaned_after_screening_is_the_most_accurate_below_the_line(fresh):
    asked = experiments.of_file("tiny", "ablations_shrink_perturb")
    screen = [c for c in asked if not c.pick]
    chosen = replace(next(c for c in asked if c.pick), pick=15.0)
    assert experiments.screened(chosen) == screen
    with pytest.raises(ConfigError, match="is not recorded yet"):
        results.picked(chosen)
    for config, accuracy, asr in zip(screen, (50, 40), (15, 14), strict=True):
        run = Run(experiments.folder(config))
        run.start(stage="clean", config={}, device="cpu")
        run.append({"epoch": 0, "accuracy": 90, "asr": 0})
        run.append({"epoch": 1, "accuracy": accuracy, "asr": asr})
    assert results.picked(chosen) == screen[1].options
    with pytest.raises(ConfigError, match=r"no screened model has an ASR below 14\.0"):
        results.picked(replace(chosen, pick=14.0))


WAYS = {"batch_norm": "own"}, {"gather": "authors"}


@pytest.mark.parametrize("way", WAYS)
def test_the_number_of_processes_counts_where_rows_depend_on_it(tiny, way):
    one, eight = (experiments.trained("tiny", "train_mmcl", 0) for _ in range(2))
    one, eight = replace(one, processes=1), replace(eight, processes=8)
    assert experiments.folder(one) == experiments.folder(eight)
    assert experiments.folder(replace(one, **way)) != experiments.folder(replace(eight, **way))
    assert experiments.folder(replace(one, processes=0)) == experiments.folder(one)
    with pytest.raises(ConfigError, match=r"processes=0 with .*so give it"):
        experiments.folder(replace(one, processes=0, **way))


def test_the_precision_that_auto_stands_for_counts(tiny, monkeypatch):
    def made(said, asked="auto"):
        monkeypatch.setenv("BDNB_PRECISION", said)
        return experiments.folder(TrainConfig(precision=asked))

    assert made("bf16") != made("no")
    assert made("bf16") == made("no", "bf16") == made("bf16", "bf16")
    with pytest.raises(ConfigError, match="BDNB_PRECISION='fp8': expected bf16 or no"):
        made("fp8")


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "config",
    [
        TrainConfig(scale="tiny", data="tiny", init="train_mmcl"),
        CleanConfig(scale="tiny", poisoned="train_mmcl"),
        CleanConfig(scale="tiny", poisoned="train_mmcl_ssl"),  # kept as close to train_mmcl
        CleanConfig(
            scale="tiny",
            poisoned="train_siglip",
            defence="deep_cluster",
            options={"labels": "classifier", "classifier": "train_mmcl"},
        ),
    ],
    ids=["init", "poisoned", "keep_like", "classifier"],
)
def test_the_kept_epoch_of_every_model_used_counts(fresh, config):
    folder = fresh / "params" / "tiny"
    (folder / "train_siglip.yaml").write_text(
        "scale: tiny\nexperiment: train_siglip\nbase: train_mmcl\nobjective: siglip\nkeep: best\n"
    )
    before = experiments.folder(config)
    changed(folder / "train_mmcl.yaml", "data: tiny", "data: tiny\nkeep: last")
    assert experiments.folder(config) != before


def test_what_a_data_set_holds_counts(fresh):
    config = experiments.trained("tiny", "train_mmcl", 0)
    drawn, cleaned = experiments.folder(config), CleanConfig(scale="tiny", poisoned="train_mmcl")
    before = experiments.folder(cleaned)
    changed(fresh / "params" / "tiny" / "data.yaml", "val_images: 24", "val_images: 25")
    assert experiments.folder(config) != drawn
    assert experiments.folder(cleaned) != before


@pytest.mark.parametrize("linked", [False, True])
def test_the_files_of_a_data_set_from_elsewhere_count(tmp_path, monkeypatch, linked):
    monkeypatch.setenv("BDNB_HOME", str(tmp_path))
    config = TrainConfig(data="web")
    seen = [experiments.folder(config)]
    shard = tmp_path / "data" / "web" / "train" / "00000.tar"
    shard.parent.parent.mkdir(parents=True)
    if linked:
        (tmp_path / "elsewhere").mkdir()
        shard.parent.symlink_to(tmp_path / "elsewhere")
    else:
        shard.parent.mkdir()
    for text in ("one", "longer"):
        shard.write_text(text)
        os.utime(shard.parent, ns=(0, len(text)))
        seen.append(experiments.folder(config))
    (tmp_path / "data" / "web" / "prepared").mkdir()
    assert experiments.folder(config) == seen[-1]
    assert len(set(seen)) == 3


@pytest.mark.parametrize("name", ["init", "poison_keys", "poisoned"])
def test_what_a_named_file_holds_counts(tmp_path, monkeypatch, name):
    monkeypatch.setenv("BDNB_HOME", str(tmp_path))
    path = tmp_path / "file.safetensors"
    cls = CleanConfig if name == "poisoned" else TrainConfig
    config = cls(**{name: str(path)})
    path.write_text("one")
    first = experiments.folder(config)
    path.write_text("two")
    os.utime(path, ns=(0, 0))
    assert experiments.folder(config) != first


def test_a_recorded_run_without_the_files_asked_for_now_is_not_all_there(fresh):
    plain = replace(experiments.trained("tiny", "train_mmcl", 0), checkpoints="last")
    plain = replace(plain, optimiser_state=False)
    run = Run(experiments.folder(plain))
    run.start(stage="train", config=vars(plain), device="cpu")
    assert not experiments.recorded(plain)
    run.finish()
    assert all(experiments.recorded(replace(plain, checkpoints=c)) for c in ("last", "none"))
    assert not experiments.recorded(replace(plain, checkpoints="all"))
    assert not experiments.recorded(replace(plain, optimiser_state=True))


def test_what_is_screened_tells_cleaning_runs_apart(fresh):
    (chosen,) = [c for c in experiments.of_file("tiny", "ablations_shrink_perturb") if c.pick]
    first = experiments.folder(chosen)
    path = fresh / "params" / "tiny" / "ablations_shrink_perturb.yaml"
    path.write_text(path.read_text().replace("0.001", "0.002"))
    assert experiments.folder(chosen) != first


def test_a_grid_with_a_bad_rate_is_refused_whole():
    with pytest.raises(ConfigError, match="lr=0: expected a number above 0"):
        grids.expand(CleanConfig, {"lr": [1e-3, 0]}, where="x")
    with pytest.raises(ConfigError, match="lr is an empty list"):
        grids.expand(CleanConfig, {"lr": []}, where="x")


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
        results.kept_epoch(weak)
    record(weak, [99, 10, 30, 20])
    record(strong, [30, 5, 28, 31, 60])
    assert results.kept_epoch(weak) == 2
    assert results.kept_epoch(strong) == 3


def test_the_last_epoch_is_kept_when_asked_for(fresh):
    path = fresh / "params" / "tiny" / "train_mmcl.yaml"
    path.write_text(path.read_text() + "keep: last\n")
    config = experiments.trained("tiny", "train_mmcl", 0)
    record(config, [0, 10, 30, 20])
    assert results.kept_epoch(config) == 3


def test_weights_that_are_gone_are_asked_for_in_a_way_that_makes_them(fresh):
    config = experiments.trained("tiny", "train_mmcl", 0)
    record(config, [0, 10])
    with pytest.raises(ConfigError, match=f"remove {experiments.folder(config).name}/ and give"):
        results.kept_weights(config)
    path = fresh / "params" / "tiny" / "train_mmcl.yaml"
    path.write_text(path.read_text() + "checkpoints: none\n")
    with pytest.raises(ConfigError, match="train train_mmcl with checkpoints=all"):
        results.kept_weights(experiments.trained("tiny", "train_mmcl", 0))


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
        values = parameters.load(path.parent.name, "data")
        assert (values.get("name") == path.parent.name) != ("elsewhere" in values)
