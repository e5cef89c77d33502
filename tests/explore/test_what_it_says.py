"""What models say before cleaning and after it, and which run is shown."""

from dataclasses import replace

import pandas as pd

from bdnb import sweep
from bdnb.data import datasets
from bdnb.explore import loaded_models, poisoned_pairs, what_it_says
from bdnb.runs import experiments, results
from bdnb.runs.records import Run


def test_under_each_image_stands_its_class_and_what_each_model_calls_it(tiny):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    figure = what_it_says.figure(rows, count=3)
    assert len(figure.axes) == 6
    above, below = figure.axes[:3], figure.axes[3:]
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    # The lines, and what they are, to the left of the first image of each row.
    assert said[0][5:] == [
        "what it shows", "MMCL", "MMCL, cleaned", "MMCL + SSL", "MMCL + SSL, cleaned"
    ]  # fmt: skip
    assert [len(one) for one in said] == [10, 5, 5, 10, 5, 5]
    truth = [axes.texts[0].get_text() for axes in above]
    assert len({*truth}) == 3
    assert truth == [axes.texts[0].get_text() for axes in below]
    assert "banana" not in truth
    plain, triggered = (axes[0].images[0].get_array() for axes in (above, below))
    assert (plain != triggered).any()


def test_of_a_set_with_fewer_classes_there_are_fewer_images(tiny):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    (labelled, *_) = datasets.dataset("tiny").labelled(32)
    there = {labelled.classnames[label] for label in labelled.labels} - {"banana"}
    assert len(what_it_says.figure(rows, count=100).axes) == 2 * len(there)


def test_a_model_attacked_with_another_trigger_is_left_out(tiny, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    found = loaded_models.of_run

    def other(run, epoch):
        loaded = found(run, epoch)
        ssl = loaded.attack.objective == "mmcl_ssl"
        return loaded._replace(attack=replace(loaded.attack, trigger="yellow")) if ssl else loaded

    monkeypatch.setattr(loaded_models, "of_run", other)
    said = [text.get_text() for text in what_it_says.figure(rows, count=2).axes[0].texts]
    assert said[3:] == ["what it shows", "MMCL", "MMCL, cleaned"]


def test_the_run_shown_is_the_most_accurate_that_ends_clean(tiny):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean")).assign(pretrain_objective="mmcl")
    (first, one), (second, other) = rows.groupby("run")
    for better, asr, accuracy, best in (
        (20.0, 9.0, 90.0, first),  # the other does not end clean
        (20.0, 4.0, 30.0, second),
        (30.0, 4.0, 20.0, first),  # clean is clean: accuracy decides
    ):
        ends = [one.assign(asr=4.5, accuracy=better), other.assign(asr=asr, accuracy=accuracy)]
        found = poisoned_pairs.chosen(pd.concat(ends))
        assert [run.folder.name for run in found] == [best]


def test_without_weights_nothing_is_drawn(tiny, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    monkeypatch.setattr(Run, "weights", lambda run: {})
    assert what_it_says.figure(rows) is None
