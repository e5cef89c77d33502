"""Rows of runs that were asked for, with what they were asked for as columns."""

import json

from bdnb.runs import experiments, results
from tests.runs.test_shipped import made_up


def test_lists_and_mappings_among_the_options_are_words_in_every_row(fresh):
    given = {"detectors": ["dao", "lid", "gmm"], "options": {"dao": {"batch": 8}}, "reference": 9}
    text = "scale: tiny\nexperiment: clean_seen\nbase: clean\ndefence: detect\nlr: 1.0e-3\n"
    path = fresh / "params" / "tiny" / "clean_seen.yaml"
    path.write_text(text + f"options: {json.dumps(given | {'detectors': [given['detectors']]})}\n")
    made_up(names=("train_mmcl", "train_mmcl_ssl", "clean", "clean_seen"))
    rows = results.rows(experiments.of_file("tiny", "clean_seen"))
    assert len(rows) > 1
    assert set(rows["option_detectors"]) == {str(given["detectors"])}
    assert set(rows["option_options"]) == {str(given["options"])}
    assert set(rows["option_reference"]) == {9}


def test_what_a_cleaned_model_was_cleaned_at_is_a_column(fresh):
    text = "scale: tiny\nexperiment: clean_again\nbase: clean\nstudy: rebound\nlr: 1.0e-4\n"
    path = fresh / "params" / "tiny" / "clean_again.yaml"
    path.write_text(text + "cleaned: {experiment: clean, lr: 1.0e-3}\n")
    made_up(names=("train_mmcl", "train_mmcl_ssl", "clean", "clean_again"))
    rows = results.rows(experiments.of_file("tiny", "clean_again"))
    assert set(rows["cleaned_lr"]) == {1e-3}
    assert set(rows["cleaned_experiment"]) == {"clean"}
