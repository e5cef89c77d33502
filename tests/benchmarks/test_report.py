"""The page on speed says what its rows say: numbers here are worked out by hand."""

import json
import subprocess
import sys

import pytest

from bdnb.runtime.errors import ConfigError
from tests.benchmarks import report


@pytest.fixture
def rows(measured):
    return report.read(str(measured))


def add(measured, **changed):
    """Another row like the first, in what is not given."""
    first = json.loads(measured.read_text().splitlines()[0])
    with measured.open("a") as file:
        file.write(json.dumps(first | changed) + "\n")
    return report.read(str(measured))


def test_the_answer_is_the_range_of_steps_and_how_many_rows_are_as_fast_as_asked(measured, rows):
    said = report.answer(rows).data
    assert "A training step is 4.0 times (laptop, fp32) as fast as a plain PyTorch" in said
    assert "loop in fp32 on a CPU" in said
    assert "Of 2 measurements, all kinds of work together, 1 are as fast" in said
    slower = {"bdnb": 1.0, "authors": 1.5}
    both = add(measured, row="step MMCL+SSL", seconds=slower)
    assert "1.5 to 4.0 times (laptop, fp32)" in report.answer(both).data
    other = add(measured, device="cpu, 2 threads, bf16, AVX512")
    said = report.answer(other).data
    assert "4.0 times (laptop, bf16) and 1.5 to 4.0 times (laptop, fp32) as fast" in said


def test_a_ratio_is_of_the_medians_with_the_lowest_and_highest_turn(rows):
    shown = report.ratios(rows).data
    assert shown["times plain loop"].tolist() == ["4.00 (2.00 to 12.00)", "2.00 (1.00 to 6.00)"]
    assert shown["samples/s"].tolist() == [200, 100]


def test_a_single_turn_has_no_range(measured):
    once = add(measured, date="2026-11-24T00:00:00+00:00", times={"bdnb": [1], "authors": [4]})
    assert report.ratios(once).data["times plain loop"].iloc[0] == "4.00"


def test_a_bar_a_row_reaches_its_ratio_and_its_mark_what_is_asked(rows):
    (axes,) = report.bars(rows).axes
    bars = [bar for bar in axes.patches if bar.get_width()]
    assert [bar.get_x() + bar.get_width() for bar in bars] == pytest.approx([4, 2])
    assert [text.get_text() for text in axes.get_yticklabels()] == ["step MMCL", "evaluation"]
    ends = [path.vertices[:, 0].tolist() for c in axes.collections for path in c.get_paths()]
    assert ends == [[2, 12], [3, 3], [1, 6], [6, 6]]


def test_the_latest_row_of_a_measurement_counts(measured):
    later = add(measured, date="2026-11-24T00:00:00+00:00", samples=7)
    assert [row["samples"] for row in report.of(later, "ratio")] == [7, 100]
    older = add(measured, date="2026-11-22T00:00:00+00:00", samples=8)
    assert [row["samples"] for row in report.of(older, "ratio")] == [7, 100]


def test_another_processor_or_precision_is_another_device_and_other_threads_are_not(measured):
    both = add(measured, device="cpu, 2 threads, bf16, AVX512", date="2026-11-24T00:00:00+00:00")
    found = [report.device(row) for row in report.of(both, "ratio")]
    assert found == ["cpu, fp32, AVX2", "cpu, fp32, AVX2", "cpu, bf16, AVX512"]
    more = add(measured, device="cpu, 8 threads, fp32, AVX2", date="2026-11-24T00:00:00+00:00")
    assert len(more) == len(both)


def test_exponents_are_fitted_from_the_rows(rows):
    shown = report.growth(rows).data
    assert shown["exponent bdnb"].tolist() == pytest.approx([1])
    assert shown["exponent plain loop"].tolist() == pytest.approx([2])
    assert shown["sizes"].tolist() == ["3 to 24"]
    assert "ms each more, products alone" not in shown


def test_one_more_costs_the_slope_beside_that_of_the_products_alone(measured):
    first = [json.loads(line) for line in measured.read_text().splitlines()][2:]
    with measured.open("a") as file:
        for row in first:
            row |= {"flops": 1e6 * row["size"], "peak_flops": 1e9}
            file.write(json.dumps(row) + "\n")
    shown = report.growth(report.read(str(measured))).data
    # 0.5 s for 3, 1 s for 6, ...: a sixth of a second each; a million operations each.
    assert shown["ms each more"].tolist() == pytest.approx([1000 / 6])
    assert shown["ms each more, products alone"].tolist() == pytest.approx([1])


def test_growth_is_drawn_a_column_an_axis_and_a_line_a_way(rows):
    above, below = report.growth_lines(rows).axes
    drawn = [[line.get_xydata().tolist() for line in axes.lines] for axes in (above, below)]
    assert [[3, 0.5], [6, 1], [12, 2], [24, 4]] in drawn[0]
    assert [[3, 2], [6, 8], [12, 32], [24, 128]] in drawn[0]
    assert [[size, 900] for size in (3, 6, 12, 24)] in drawn[1]
    assert [[size, 1000] for size in (3, 6, 12, 24)] in drawn[1]
    assert below.get_ylim()[1] > 1000


def test_a_share_of_a_product_s_speed_is_of_what_was_counted(measured):
    found = add(measured, date="2026-11-24T00:00:00+00:00", flops=1e9, peak_flops=1e10)
    shown = report.ratios(found).data["% of a product's speed"].tolist()
    assert shown == pytest.approx([20, float("nan")], nan_ok=True)


def test_what_was_tried_has_its_ratio(measured):
    times = {"seconds": {"bdnb": 1.0, "tried": 2.0}, "times": {"bdnb": [1.0], "tried": [2.0]}}
    found = add(measured, kind="tried", what="another way", **times)
    assert report.tried(found).data["times as fast"].tolist() == [0.5]
    assert len(report.of(found, "ratio")) == 2


def test_provenance_counts_rows_and_says_how_busy_the_machine_was(rows):
    assert "n = 6 rows" in report.provenance(rows).data
    assert "median 0.1, most 0.1" in report.provenance(rows).data


def test_without_a_file_every_part_says_how_to_measure_it(tmp_path):
    none = report.read(str(tmp_path / "gone.jsonl"))
    assert none == []
    parts = (report.answer, report.bars, report.ratios, report.growth, report.growth_lines)
    parts += (report.tried, report.provenance)
    assert all("python -m tests.benchmarks" in part(none).data for part in parts)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "line 1: not a row"),
        ('{"kind": "odd"}', "not a row"),
        ('{"kind": "ratio"}', "no commit"),
    ],
)
def test_a_line_that_is_no_row_is_named(tmp_path, line, said):
    (tmp_path / "rows.jsonl").write_text(line + "\n")
    with pytest.raises(ConfigError, match=said):
        report.read(str(tmp_path / "rows.jsonl"))


def test_the_page_comes_without_torch():
    code = "import sys, tests.benchmarks.report; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
