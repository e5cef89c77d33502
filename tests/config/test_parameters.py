import dataclasses
import textwrap

import pytest

from bdnb.config import parameters, recipes, yaml_files
from bdnb.config.parameters import make
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runtime.errors import ConfigError


def test_a_rate_written_as_yaml_reads_it_becomes_a_number():
    assert make(CleanConfig, {"lr": "1e-5", "epochs": 3.0}, where="x").lr == 1e-5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"learning_rate": 1}, r"'learning_rate' is not a parameter.*'lr'"),
        ({"lr": "fast"}, r"lr='fast': expected a number"),
        ({"lr": -1e-3}, r"lr=-0.001: expected a number above 0"),
        ({"lr": float("nan")}, r"lr=nan: expected a finite number"),
        ({"epochs": 1.5}, r"epochs=1.5: expected a whole number"),
        ({"epochs": True}, r"epochs=True: expected a whole number"),
        ({"loss": "mcl"}, r"loss='mcl': expected one of mmcl, ssl, mmcl_ssl"),
        ({"options": 3}, r"options=3: expected `name: value` pairs"),
        ({"poisoned": 3}, r"poisoned=3: expected a word"),
    ],
)
def test_a_bad_value_is_named_with_its_place_and_what_was_expected(values, message):
    with pytest.raises(ConfigError, match=rf"(?s)clean\.yaml.*{message}"):
        make(CleanConfig, values, where="clean.yaml")


def test_configs_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().lr = 1  # type: ignore[misc]


def test_only_plain_names_of_a_notebook_are_parameters():
    namespace = {"lr": 1e-3, "epochs": None, "_i1": "x", "In": [], "pytest": pytest, "f": len}
    assert parameters.from_notebook(namespace) == {"lr": 1e-3}


def test_what_rows_do_not_depend_on_is_no_part_of_a_run_s_identity():
    here = parameters.identity(TrainConfig(experiment="a", keep="last", checkpoints="all"))
    there = parameters.identity(TrainConfig(experiment="b", keep="best", checkpoints="none"))
    assert here == there
    assert here != parameters.identity(TrainConfig(lr=2e-3))


def test_digest_does_not_depend_on_order():
    assert parameters.digest({"a": 1, "b": 2}) == parameters.digest({"b": 2, "a": 1})


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "!!python/object/apply:os.getcwd []"])
def test_yaml_that_is_no_mapping_or_not_safe_is_refused(tmp_path, text):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"x\.yaml"):
        yaml_files.read(path)


def test_a_missing_parameter_file_lists_those_there(tiny):
    with pytest.raises(ConfigError, match=r"nothing\.yaml: no such file.*train_mmcl"):
        parameters.load("tiny", "nothing")
    with pytest.raises(
        ConfigError, match=r"scale='huge': no such folder in params/; there is.*tiny"
    ):
        parameters.load("huge", "clean")


def test_a_parameter_file_that_names_another_one_is_refused(fresh):
    path = fresh / "params" / "tiny" / "other.yaml"
    path.write_text(textwrap.dedent("scale: tiny\nexperiment: clean\n"))
    with pytest.raises(ConfigError, match="of another file"):
        parameters.load("tiny", "other")


def test_every_parameter_is_described():
    for cls in recipes.STAGES.values():
        assert all(parameters.describe(cls).values())


def test_the_authors_values_are_taken_unless_given():
    made = make(CleanConfig, {"fidelity": "authors", "overlap": "separate"}, where="x")
    assert (made.optimiser, made.schedule, made.gather) == ("authors",) * 3
    assert made.overlap == "separate"
    assert make(CleanConfig, {}, where="x").optimiser == "fresh"
