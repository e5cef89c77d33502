"""The page on speed says what its rows say: numbers here are worked out by hand."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from bdnb.report import bounds, growing, speed
from bdnb.runtime.errors import ConfigError


@pytest.fixture
def rows(measured):
    return speed.read(str(measured))


def add(measured, **changed):
    """Another row like the first, in what is not given."""
    first = json.loads(measured.read_text().splitlines()[0])
    with measured.open("a") as file:
        file.write(json.dumps(first | changed) + "\n")
    return speed.read(str(measured))


def test_a_target_is_reached_by_the_ratio_of_medians(rows):
    assert speed.answer(rows).data == (
        "- **laptop** (cpu, 1 thread, fp32, AVX2): 1 of 2 targets reached; not reached: evaluation."
    )
    shown = speed.ratios(rows).data
    assert shown[""].tolist() == ["reached", "not reached"]
    assert shown["times (a)"].tolist() == ["4.00 (2.00 to 12.00)", "2.00 (1.00 to 6.00)"]
    assert shown["bdnb, samples/s"].tolist() == ["200", "100"]


def test_the_latest_row_of_a_measurement_counts(measured):
    later = add(measured, date="2026-11-24T00:00:00+00:00", samples=7)
    assert [row["samples"] for row in speed.of(later, "ratio")] == [7, 100]
    older = add(measured, date="2026-11-22T00:00:00+00:00", samples=8)
    assert [row["samples"] for row in speed.of(older, "ratio")] == [7, 100]


def test_another_processor_or_precision_is_another_kind_of_device(measured):
    both = add(measured, device="cpu, 2 threads, bf16, AVX512", date="2026-11-24T00:00:00+00:00")
    assert [speed.where(row) for row in speed.of(both, "ratio")] == [
        "laptop, cpu, fp32, AVX2",
        "laptop, cpu, fp32, AVX2",
        "laptop, cpu, bf16, AVX512",
    ]
    more = add(measured, device="cpu, 8 threads, fp32, AVX2", date="2026-11-24T00:00:00+00:00")
    assert len(more) == len(both)


def test_a_row_of_a_gpu_stands_beside_that_of_the_cpu_and_what_is_asked(measured, rows):
    assert "No row here was measured on a GPU" in speed.gpu(rows).data
    rows = add(measured, device="NVIDIA H100, bf16", model="rn50", samples=4000, target=None)
    shown = speed.gpu(rows).data
    assert shown["samples/s"].tolist() == [8000]
    assert shown[""].tolist() == ["reached"]
    assert len(speed.ratios(rows).data) == 3


def test_share_of_the_machine_and_its_ceiling(rows):
    shown = speed.machine(rows).data
    assert shown["share of it, %"].tolist() == pytest.approx([20, 10])
    assert shown["times (a) at all of it"].tolist() == pytest.approx([20, 20])
    assert shown["MB (a)"].tolist() == [1000, 1000]


def test_exponents_are_fitted_from_the_rows(rows):
    shown = growing.exponents(rows).data
    assert shown["exponent bdnb"].tolist() == pytest.approx([1])
    assert shown["exponent (a)"].tolist() == pytest.approx([2])
    assert shown["from, to"].tolist() == ["3 to 24"]


@pytest.mark.parametrize(("quantity", "lines"), [("seconds", 3), ("memory", 2)])
def test_the_figure_has_both_ways_on_logarithmic_axes(rows, quantity, lines):
    axes = growing.growth(rows, quantity).axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert len(axes.lines) == lines
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [3, 6, 12, 24])
    assert axes.get_title(loc="left") == "n = 3 goes a point"
    assert len({line.get_marker() for line in axes.lines[:2]}) == 2


def test_another_quantity_is_refused(rows):
    with pytest.raises(ConfigError, match="quantity='watts'"):
        growing.growth(rows, "watts")


def test_options_show_what_they_change_and_why_one_cannot_be_used(rows):
    shown = bounds.options(rows).data
    said = ["4.00 (1.33 to 8.00)", "cannot be used: no compiler"]
    assert shown["times as fast"].tolist() == said
    assert bounds.options(rows).to_html().count("–") == 3
    changed = bounds.effects(rows).data
    assert changed["option"].tolist() == ["templates=simple"]
    assert changed["loss, % change"].tolist() == [-0.5]
    assert changed["accuracy, points"].tolist() == [-1.5]


def test_the_floor_is_what_the_model_itself_takes(rows):
    assert "take 50 % of it" in bounds.floor(rows).data
    assert "2.00 times as fast" in bounds.floor(rows).data
    column = bounds.profile(rows).data["step MMCL (laptop, cpu, fp32, AVX2)"]
    assert column.tolist() == [100, 50, 40, 10]
    assert bounds.operators(rows).data["calls a go"].tolist() == [19]


def test_provenance_counts_rows_and_says_how_busy_the_machine_was(rows):
    said = speed.provenance(rows).data
    assert "2 of kind ratio, 4 of kind growth, 2 of kind option, 1 of kind profile" in said
    assert "median 0.1, most 0.1" in said


def test_without_a_file_every_part_says_how_to_measure_it(tmp_path):
    none = speed.read(str(tmp_path / "gone.jsonl"))
    assert none == []
    parts = [speed.provenance, speed.ratios, speed.machine, growing.growth, growing.exponents]
    parts += [
        bounds.options,
        bounds.effects,
        bounds.profile,
        bounds.floor,
        bounds.operators,
        speed.gpu,
    ]
    for part in parts:
        shown = part(none)
        assert not isinstance(shown, Figure)
        assert "python -m tests.benchmarks" in shown.data


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: not a row"),
        ('{"kind": "odd"}', "not a row"),
        ('{"kind": "ratio"}', "no case"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, said):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=said):
        speed.read(str(tmp_path / "rows.jsonl"))
