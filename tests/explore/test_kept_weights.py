"""What kept weights show before cleaning and after it, of which runs; the plane they share."""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from bdnb import sweep
from bdnb.data import datasets
from bdnb.evaluate import embedding
from bdnb.evaluate.embedding import Seen
from bdnb.explore import kept_weights, loaded_models
from bdnb.runs import experiments, results
from bdnb.runs.records import Run


def test_under_each_image_stands_its_class_and_what_each_model_calls_it(tiny):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    figure = kept_weights.what_it_says(rows, count=3)
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
    assert len(kept_weights.what_it_says(rows, count=100).axes) == 2 * len(there)


def test_a_model_attacked_with_another_trigger_is_left_out(tiny, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    found = loaded_models.of_run

    def other(run, epoch):
        loaded = found(run, epoch)
        ssl = loaded.attack.objective == "mmcl_ssl"
        return loaded._replace(attack=replace(loaded.attack, trigger="yellow")) if ssl else loaded

    monkeypatch.setattr(loaded_models, "of_run", other)
    said = [text.get_text() for text in kept_weights.what_it_says(rows, count=2).axes[0].texts]
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
        found = kept_weights.chosen(pd.concat(ends))
        assert [run.folder.name for run in found] == [best]


def test_without_weights_nothing_is_drawn(tiny, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    monkeypatch.setattr(Run, "weights", lambda run: {})
    assert kept_weights.what_it_says(rows) is None


def clouds(seed: int) -> Seen:
    stream = torch.Generator().manual_seed(seed)
    return Seen(*(F.normalize(torch.randn(20, 6, generator=stream), dim=1) for _ in range(4)))


def test_pull_is_one_where_triggered_images_lie_on_the_attacker_s_captions():
    one, other = torch.eye(2)
    seen = Seen(*(row.repeat(3, 1) for row in (other, one, other, one)))
    assert seen.pull == 1
    assert seen._replace(triggered=seen.images).pull == -1


def test_the_plane_holds_more_of_the_spread_than_any_two_of_the_axes():
    models = [clouds(0), clouds(1)]
    made = embedding.planes(models)
    whole = np.concatenate([part for one in made for part in one.values()])
    parts = []
    for one in models:
        image, text = one.images.mean(dim=0), one.captions.mean(dim=0)
        middles = (image, image, text, text)
        parts += [part - middle for part, middle in zip(one, middles, strict=True)]
    spread = torch.cat(parts).numpy().var(axis=0)
    assert whole.var(axis=0).sum() > np.sort(spread)[-2:].sum()


def test_each_objective_is_drawn_before_and_after_with_its_number_of_pairs(tiny):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    figure = kept_weights.poisoned_pairs(rows, count=6)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert titles[0].startswith("MMCL, before cleaning")
    assert all("n = 6 pairs" in title for title in titles)
    assert {len(drawn.get_offsets()) for axes in figure.axes for drawn in axes.collections} == {6}


def test_without_weights_there_is_a_line_and_no_figure(tiny, capsys, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    monkeypatch.setattr(Run, "weights", lambda run: {})
    assert kept_weights.poisoned_pairs(rows) is None
    assert "no run here has kept" in capsys.readouterr().out.lower()
