"""Where poisoned pairs lie: the drawing is of runs that were kept, in a plane that they share."""

import numpy as np
import torch
from torch.nn import functional as F

from bdnb import sweep
from bdnb.evaluate import embedding
from bdnb.evaluate.embedding import Seen
from bdnb.explore import poisoned_pairs
from bdnb.runs import experiments, results
from bdnb.runs.records import Run


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
    figure = poisoned_pairs.figure(rows, count=6)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert titles[0].startswith("MMCL, before cleaning")
    assert all("n = 6 pairs" in title for title in titles)
    assert {len(drawn.get_offsets()) for axes in figure.axes for drawn in axes.collections} == {6}


def test_without_weights_there_is_a_line_and_no_figure(tiny, capsys, monkeypatch):
    sweep.Sweep(experiments.of_file("tiny", "clean")).run()
    rows = results.rows(experiments.of_file("tiny", "clean"))
    monkeypatch.setattr(Run, "weights", lambda run: {})
    assert poisoned_pairs.figure(rows) is None
    assert "no run here has kept" in capsys.readouterr().out.lower()
