"""The crossing's rule on hand-made rows: each verdict, and which runs it is read from."""

import itertools

import pandas as pd
import pytest

from bdnb.analysis import crossing

CLEANED, COSTLY, NEVER = [(30, 59), (1, 60)], [(60, 50), (1, 30)], [(70, 58), (60, 57)]
WAYS = {"CleanCLIP": crossing.MAIN} | crossing.WAYS


def runs(way, ends, *, seeds=(0, 1, 2), start=98.0, rates=(1e-4, 3e-4, 1e-3)):
    """A run a seed, model and rate. ends: of the MMCL model and the other, (asr, accuracy)s."""
    lines = []
    models = zip(("train_mmcl", "train_mmcl_ssl"), ends, strict=True)
    for (model, path), seed, lr in itertools.product(models, seeds, rates):
        best = path if lr == 3e-4 else NEVER
        for epoch, (asr, accuracy) in enumerate([(start, 60.0), *best]):
            about = {"loss": "mmcl"} | WAYS[way]
            values = (f"{way}-{model}-{seed}-{lr}", model, seed, lr, epoch, asr, accuracy)
            names = ("run", "poisoned", "seed", "lr", "epoch", "asr", "accuracy")
            lines.append(about | dict(zip(names, values, strict=True)) | {"finished": "yes"})
    return pd.DataFrame(lines)


def of_par(*frames):
    return crossing.crossings(pd.concat(frames, ignore_index=True))[0]


def test_it_crosses_where_each_way_cleans_another_model():
    found = of_par(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, CLEANED)))
    assert (found.larger, found.crosses, found.number) == ("holds", "holds", "kept accuracy")
    assert found.contrasts["CleanCLIP"].tolist() == pytest.approx([50] * 3)
    assert found.contrasts["PAR"].tolist() == pytest.approx([-50] * 3)
    assert found.edges == ()


def test_it_does_not_where_both_ways_have_the_same_contrast():
    found = of_par(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (CLEANED, COSTLY)))
    assert (found.larger, found.crosses) == ("does not hold", "does not hold")


def test_a_larger_contrast_is_not_crossing():
    found = of_par(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (CLEANED, CLEANED)))
    assert (found.larger, found.crosses) == ("holds", "does not hold")


def test_one_seed_of_both_ways_decides_nothing():
    one = {"seeds": (2,)}
    found = of_par(runs("CleanCLIP", (CLEANED, COSTLY), **one), runs("PAR", (COSTLY, CLEANED)))
    assert found.larger == "not decided (one seed)"
    assert found.contrasts.index.tolist() == [2]


def test_where_a_way_cleans_neither_model_the_whole_curve_counts():
    worse = [(90, 58)]
    found = of_par(runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (worse, NEVER)))
    assert found.number == "mean of the whole price curve"
    assert (found.contrasts["PAR"].abs() < 1).all()  # other rates reach 60 % with both models


def test_a_model_without_a_backdoor_says_nothing():
    ends = (CLEANED, COSTLY)
    found = of_par(runs("CleanCLIP", ends), runs("PAR", ends, start=50.0))
    assert found.larger.startswith("cannot tell here (no backdoor")


def test_rates_that_only_one_way_was_run_at_are_asked_for_apart():
    more = runs("CleanCLIP", (NEVER, NEVER), rates=(2e-3, 3e-3))
    best = (more["epoch"] > 0) & (more["lr"] < 3e-3)
    better = more.assign(asr=more["asr"].where(~best, 0.0), accuracy=60.0)
    pair = [runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, COSTLY))]
    plain, wide = of_par(*pair), of_par(*pair, better)
    assert (plain.larger, plain.wider, len(plain.further)) == ("holds", "holds", 0)
    assert wide.contrasts.equals(plain.contrasts)
    assert wide.further.tolist() == pytest.approx([0] * 3)  # both models keep all at 2e-3
    assert (wide.larger, wide.wider) == ("holds", "does not hold")


def test_a_rate_counts_where_both_models_were_cleaned_at_it_in_both_ways():
    pair = [runs("CleanCLIP", (CLEANED, COSTLY)), runs("PAR", (COSTLY, CLEANED))]
    lacks = (pair[1]["poisoned"] == "train_mmcl") & (pair[1]["lr"] == 3e-4)
    found = of_par(pair[0], pair[1][~lacks])
    assert found.number == "mean of the whole price curve"  # at the other rates none is clean
    assert (found.numbers.nunique(axis=1) == 1).all()
    assert (of_par(*pair).numbers.nunique(axis=1) == 2).all()


@pytest.mark.parametrize(
    ("ours", "theirs", "edge"),
    [
        ((CLEANED, COSTLY), (COSTLY, CLEANED), "CleanCLIP on MMCL + SSL models"),
        ((COSTLY, CLEANED), (CLEANED, COSTLY), "CleanCLIP on MMCL models"),
    ],
)
def test_an_edge_that_could_weaken_a_verdict_takes_it_back(ours, theirs, edge):
    rates = (1e-4, 3e-4)  # the best lie at the largest
    found = of_par(runs("CleanCLIP", ours, rates=rates), runs("PAR", theirs, rates=rates))
    assert found.larger == f"cannot tell here (best at the edge of the learning rates: {edge})"
    assert "PAR on MMCL + SSL models" in found.edges


def test_without_rows_or_with_half_of_them_nothing_is_decided():
    assert {one.way for one in crossing.crossings(pd.DataFrame())} == {"PAR", "MMCL alone"}
    half = runs("CleanCLIP", (CLEANED, COSTLY))
    assert all(one.crosses.startswith("not decided (no rows") for one in crossing.crossings(half))
    unfinished = pd.concat([half, runs("PAR", (COSTLY, CLEANED)).assign(finished=None)])
    assert crossing.crossings(unfinished)[0].crosses.startswith("not decided (no rows")


def test_seeds_with_fewer_learning_rates_than_others_are_named():
    ends = {"CleanCLIP": (CLEANED, COSTLY), "PAR": (COSTLY, CLEANED)}
    parts = [runs(way, both, seeds=(0, 1)) for way, both in ends.items()]
    assert of_par(*parts).fewer == ()
    parts += [runs(way, both, seeds=(2,), rates=(1e-4, 3e-4)) for way, both in ends.items()]
    found = of_par(*parts)
    assert (found.fewer, found.larger, found.alike) == ((2,), "holds", "holds")


def test_what_only_seeds_with_fewer_learning_rates_show_is_not_said_without_them():
    same = {"CleanCLIP": (CLEANED, CLEANED), "PAR": (CLEANED, CLEANED)}
    apart = {"CleanCLIP": (CLEANED, COSTLY), "PAR": (COSTLY, CLEANED)}
    parts = [runs(way, ends, seeds=(0, 1, 2)) for way, ends in same.items()]
    parts += [runs(way, ends, seeds=(3, 4), rates=(1e-4, 3e-4)) for way, ends in apart.items()]
    found = of_par(*parts)
    assert (found.fewer, found.larger, found.alike) == ((3, 4), "not decided", "does not hold")


def test_rates_that_some_seeds_alone_lack_are_asked_for_apart():
    ends, every = (CLEANED, COSTLY), (1e-4, 3e-4, 1e-3)
    par = [runs("PAR", (COSTLY, CLEANED), seeds=(0, 1), rates=every)]
    par += [runs("PAR", (COSTLY, CLEANED), seeds=(2,), rates=every[:2])]
    found = of_par(runs("CleanCLIP", ends, rates=every), *par)
    assert found.further.index.tolist() == [0, 1, 2]
