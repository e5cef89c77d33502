"""A scale's rows are found whether they were recorded here or came with the book."""

import shutil

from bdnb.runs import anywhere, experiments, shipped
from bdnb.runs.records import runs_folder
from tests.runs.test_shipped import made_up


def test_rows_are_those_recorded_here_and_for_the_rest_those_shipped(fresh):
    made_up(names=("train_mmcl", "train_mmcl_ssl", "clean"))
    shipped.pack("tiny")
    first, second = (experiments.folder(one) for one in experiments.of_file("tiny", "clean"))
    shutil.rmtree(second)
    train, clean = anywhere.rows_of_scale("tiny")
    assert clean.groupby("run")["source"].first().to_dict() == {
        first.name: "here",
        second.name: "shipped",
    }
    assert set(train["source"]) == {"here"}
    assert not second.exists()  # reading puts nothing among the runs


def test_without_shipped_rows_there_are_those_here_and_without_any_none(fresh):
    made_up(names=("train_mmcl",))
    train, clean = anywhere.rows_of_scale("tiny")
    assert len(train) == 2
    assert clean.empty


def test_a_scale_that_is_only_shipped_is_read_whole_and_runs_are_where_they_were(fresh):
    made_up()
    where, before = runs_folder(), anywhere.rows_of_scale("tiny")
    shipped.pack("tiny")
    shutil.rmtree(where)
    found = anywhere.rows_of_scale("tiny")
    for mine, own in zip(found, before, strict=True):
        assert mine.drop(columns="source").equals(own.drop(columns="source"))
    assert runs_folder() == where
