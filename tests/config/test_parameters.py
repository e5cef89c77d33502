import dataclasses
import json
import textwrap
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import Ge
from hypothesis import given
from hypothesis import strategies as st

from bdnb.config import options, parameters, yaml_files
from bdnb.config.parameters import make
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.runs import shipped
from bdnb.runtime.errors import ConfigError

STAGES = {"train": TrainConfig, "clean": CleanConfig}


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
        ({"overlap": "all"}, r"overlap='all': expected one of separate, authors"),
        ({"loss": 3}, r"loss=3: expected a word"),
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
    for cls in STAGES.values():
        assert all(parameters.describe(cls).values())


def test_the_authors_values_are_taken_unless_given():
    made = make(CleanConfig, {"fidelity": "authors", "overlap": "separate"}, where="x")
    assert (made.optimiser, made.schedule, made.gather) == ("authors",) * 3
    assert made.overlap == "separate"
    assert make(CleanConfig, {}, where="x").optimiser == "fresh"


SHIPPED = Path(__file__).parents[2] / "book" / "results"


def test_shipped_runs_are_found_by_their_parameters(monkeypatch):
    """What is recorded stays recorded, but where a default of the authors came in since, or a
    parameter file changed: the page of each such run is held to it by tests/runs/test_shipped."""
    monkeypatch.setenv("BDNB_HOME", str(SHIPPED.parents[1]))
    lines = [line for path in SHIPPED.glob("*/*.jsonl") for line in path.read_text().splitlines()]
    manifests = [json.loads(line)["manifest"] for line in lines]
    same = 0
    for manifest in manifests:
        config = make(STAGES[manifest["stage"]], manifest["config"], where="manifest")
        same += shipped.shipped_name(config) == manifest["run"]
    assert same >= 452


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_the_same_as_text(number):
    assert (
        options.checked(float, repr(number), "x") == options.checked(float, number, "x") == number
    )


@given(
    st.one_of(
        st.booleans(), st.sampled_from([float("nan"), float("inf"), "nan", "-inf", "", "1 2"])
    )
)
def test_what_is_no_finite_number_is_no_number(value):
    for kind in (int, float, float | None, Annotated[float, Ge(0)]):
        with pytest.raises(ConfigError, match=r"x: expected a (finite|whole)? ?number"):
            options.checked(kind, value, "x")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_value_is_taken_or_refused_in_a_line(value):
    for cls in STAGES.values():
        for spec in dataclasses.fields(cls):
            refused = None
            try:
                parameters.convert(spec, value, "x")
            except ConfigError as error:
                refused = str(error)
            assert refused is None or len(refused.split("\n")) == 1


def test_a_union_takes_numbers_as_text_but_no_word():
    assert options.checked(int | None, "3", "x") == 3
    assert options.checked(int | None, None, "x") is None
    assert options.checked(str | float, "3", "x") == "3"
    assert options.checked(tuple[int, ...], [1, 2], "x") == (1, 2)
    with pytest.raises(ConfigError, match="expected a list"):
        options.checked(tuple[int, ...], "12", "x")


def test_a_folder_with_data_alone_is_no_scale(fresh):
    folder = fresh / "params" / "pixels"
    folder.mkdir()
    (folder / "data.yaml").write_text("name: pixels\n")
    assert parameters.scales() == ["quick", "tiny"]
    assert parameters.load("pixels", "data")["name"] == "pixels"
