"""A run on streamed pairs is the run on decoded ones; what a run leaves out, it names."""

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bdnb import models, train
from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets, shards
from bdnb.runs import experiments
from bdnb.runs.records import Run, read_runs, weights_of
from bdnb.runtime.command import command
from bdnb.runtime.errors import ConfigError
from bdnb.training.loop import Loop
from tests.data import web_pairs

TIMES = ("seconds", "eval_seconds", "pairs_per_s")


def config(name: str, **changes: object) -> TrainConfig:
    return dataclasses.replace(experiments.trained("tiny", name, 0), **changes)


def equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    """Weights are equal to the last bit; but the decay of rows of tokens that no caption uses, of
    which nothing that is computed depends, is one product for a run on decoded pairs."""
    for key, value in theirs.items():
        if key == "token_embedding.weight":
            torch.testing.assert_close(ours[key], value, rtol=1e-5, atol=1e-8)
            captions = datasets.dataset("tiny").pairs("train", 32).captions
            used = models.build("rn_test", seed=0).tokens(captions).unique()
            assert len(used) > 10
            assert torch.equal(ours[key][used], value[used])
        else:
            assert torch.equal(ours[key], value)


def rows(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]


@pytest.fixture
def web(fresh: Path) -> Path:
    """The tiny set under another name, with one bad sample of each kind among its pairs."""
    datasets.dataset("tiny")
    home, source = fresh / "data", (fresh / "data").resolve() / "tiny"
    home.unlink()
    for part in ("train", "clean", "val"):
        shutil.copytree(source / part, home / "web" / part)
    samples = [sample for _, sample in web_pairs.bad().values()]
    shards.write_pair_shard(home / "web" / "train", 99, samples)
    return home / "web"


@pytest.mark.parametrize("name", ["train_mmcl", "train_mmcl_ssl"])
def test_a_streamed_run_is_the_decoded_one_to_the_last_bit(fresh: Path, name: str) -> None:
    decoded = train.train(config(name, stream="no"))
    decoded.folder.rename(fresh / "decoded")
    streamed = train.train(config(name, stream="yes", stream_workers=2))
    assert streamed.folder == decoded.folder
    decoded = Run(fresh / "decoded")
    assert rows(streamed) == rows(decoded)
    for epoch in (1, 2):
        ours, theirs = (load_file(weights_of(run, epoch)) for run in (streamed, decoded))
        equal(ours, theirs)
    keys = [(run.folder / "poisoned_keys.txt").read_text() for run in (streamed, decoded)]
    assert keys[0] == keys[1]


def test_a_streamed_run_stopped_in_mid_epoch_goes_on_to_the_same_weights(
    fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = train.train(config("train_mmcl_ssl", stream="no"))
    decoded.folder.rename(fresh / "decoded")
    wanted = config("train_mmcl_ssl", stream="yes", stream_workers=2)
    real, steps = Loop.descend, []

    def interrupted(*given: object) -> object:
        steps.append(1)
        if len(steps) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*given)

    monkeypatch.setattr(Loop, "descend", interrupted)
    with pytest.raises(SystemExit), command("bdnb.train"):
        train.train(dataclasses.replace(wanted, save_every=0))
    run = Run(experiments.folder(wanted))
    assert len(steps) == 5
    assert len(run.rows()) == 2
    train.train(wanted)
    assert len(steps) == 7, "the fifth step, which had begun, is made again"
    assert rows(run) == rows(Run(fresh / "decoded"))
    ours, theirs = (load_file(weights_of(r, 2)) for r in (run, Run(fresh / "decoded")))
    equal(ours, theirs)


def test_a_labelled_set_with_a_fault_is_found_before_pairs_are_read(
    web: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (web / "val" / "test" / "nshards.txt").write_text("9\n")
    monkeypatch.setattr(datasets.Dataset, "training_pairs", None)
    with pytest.raises(ConfigError, match=r"val/test/\d\.tar: no such shard"):
        train.train(config("train_mmcl", data="web"))


def test_every_labelled_set_of_a_folder_is_measured_val_first(web: Path) -> None:
    for name in ("imagenet-r", "a-shift"):
        shutil.copytree(web / "val", web / name)
    found = datasets.Dataset(web).labelled(32)
    assert [labelled.name for labelled in found] == ["val", "a-shift", "imagenet-r"]


@pytest.mark.parametrize("how", ["yes", "no"])
def test_a_run_counts_and_names_what_it_left_out(web: Path, how: str) -> None:
    run = train.train(config("train_mmcl", data="web", stream=how, bad_share=0.2, epochs=1))
    about = run.manifest["about"]
    assert (about["pairs"], about["dropped"]) == (96, 12)
    assert about["dropped_by"]["broken image"] == 2
    lines = (run.folder / "dropped.tsv").read_text().splitlines()
    assert len(lines) == 13
    assert "pairs\thtml\tnot an image\t" in lines
    assert set(read_runs(run.folder)["dropped"]) == {12}


@pytest.mark.parametrize("how", ["yes", "no"])
def test_a_run_with_too_many_bad_samples_stops_before_it_begins(web: Path, how: str) -> None:
    wanted = config("train_mmcl", data="web", stream=how)
    with pytest.raises(ConfigError, match=r"12 of 108 samples .*bad_share=0\.05: 2 broken image"):
        train.train(wanted)
    assert not experiments.folder(wanted).exists()
