import dataclasses
import io
import shutil

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from bdnb import losses, train
from bdnb.config.parameters import part
from bdnb.config.recipes import TrainConfig
from bdnb.data import datasets, shards
from bdnb.data.batches import Batch
from bdnb.explore import poison_examples
from bdnb.runs import experiments, results
from bdnb.runs.records import Run, weights_of
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks, fit, objectives, setup
from bdnb.training.attacks import Attack
from bdnb.training.loop import Features, Loop
from tests.data import shard_files

TIMES = ("seconds", "eval_seconds", "pairs_per_s")


def config(name: str = "train_mmcl", **changes) -> TrainConfig:
    return dataclasses.replace(experiments.trained("tiny", name, 0), **changes)


def values(run: Run) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in run.rows()]


def weights(run: Run, epoch: int) -> bytes:
    return weights_of(run, epoch).read_bytes()


def test_training_records_a_row_before_and_after_every_epoch(tiny):
    run = train.train(config())
    rows = run.rows()
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    wanted = {
        "accuracy",
        "accuracy_top5",
        "asr",
        "asr_all",
        "unseen_accuracy",
        "loss_total",
        "step_lr",
    }
    assert wanted | set(TIMES) <= set(rows[-1])
    assert rows[-1]["loss_total"] < rows[1]["loss_total"]
    assert rows[-1]["step"] == 6
    assert run.manifest["about"] == {"poisoned_pairs": 10, "pairs": 96, "dropped": 0}
    assert len((run.folder / "poisoned_keys.txt").read_text().split()) == 10
    assert not (run.folder / "state.pt").exists()


def test_two_runs_of_one_seed_give_equal_rows_and_weights(tiny, fresh):
    first = values(train.train(config("train_mmcl_ssl")))
    one = weights(Run(experiments.folder(config("train_mmcl_ssl"))), 2)
    experiments.folder(config("train_mmcl_ssl")).rename(fresh / "elsewhere")
    assert values(train.train(config("train_mmcl_ssl"))) == first
    again = weights(Run(experiments.folder(config("train_mmcl_ssl"))), 2)
    assert one == again


def test_another_seed_gives_other_rows(tiny):
    other = dataclasses.replace(config(), seed=1)
    assert values(train.train(other)) != values(train.train(config()))


def test_a_recorded_run_is_not_run_again(tiny, monkeypatch):
    train.train(config())
    monkeypatch.setattr(datasets, "dataset", None)
    assert train.train(config()).finished


SAFECLIP = {"objective": "safeclip", "loss_options": {"in_modal_epochs": 0}}


@pytest.mark.parametrize(
    ("epoch", "changes"),
    [(1, {}), (2, {}), (2, {"objective": "roclip"}), (1, SAFECLIP), (2, SAFECLIP)],
)
def test_a_run_that_is_cut_off_goes_on_to_the_same_rows_and_weights(
    tiny, fresh, epoch, changes, monkeypatch, capsys
):
    asked = config(epochs=3, **changes)
    whole = train.train(asked)
    expected, final = values(whole), weights(whole, 3)
    whole.folder.rename(fresh / "whole")
    real = fit.run_epoch

    def cut(loop, batches, loss, number, *rest, **last):
        if number == epoch + 1:
            raise KeyboardInterrupt
        return real(loop, batches, loss, number, *rest, **last)

    monkeypatch.setattr(fit, "run_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        train.train(asked)
    monkeypatch.setattr(fit, "run_epoch", real)
    run = Run(experiments.folder(asked))
    assert not run.finished
    assert [row["epoch"] for row in run.rows()] == list(range(epoch + 1))
    capsys.readouterr()
    train.train(asked)
    # What was done before counts for neither the rate nor the time left.
    assert f"{100 * epoch / 3:3.0f} % of 288 pairs, ? pairs/s" in capsys.readouterr().err
    assert values(run) == expected
    assert weights(run, 3) == final


def test_a_state_is_written_after_each_epoch_but_the_last(tiny, monkeypatch):
    real, saved = Loop.save, []

    def save(loop, path):
        saved.append(loop.progress.step)
        real(loop, path)

    monkeypatch.setattr(Loop, "save", save)
    train.train(config(epochs=3))
    assert saved == [3, 6]


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_rows(fresh, monkeypatch):
    real, calls = losses.mmcl, []

    def breaking(*given):
        calls.append(1)
        return real(*given) * (float("nan") if len(calls) > 4 else 1)

    monkeypatch.setattr(losses, "mmcl", breaking)
    with pytest.raises(losses.NonFiniteLoss, match="Try a lower lr"):
        train.train(config())
    run = Run(experiments.folder(config()))
    assert [row["epoch"] for row in run.rows()] == [0, 1]
    assert weights_of(run, 1).is_file()


def test_poison_by_fine_tuning_starts_from_the_clean_model_s_kept_epoch(fresh):
    path = fresh / "params" / "tiny" / "train_clean.yaml"
    text = (fresh / "params" / "tiny" / "train_mmcl.yaml").read_text()
    path.write_text(text.replace("train_mmcl", "train_clean") + "attack: none\n")
    tuned = config(init="train_clean", lr=1e-12, epochs=1)
    rows = train.train(tuned).rows()
    source = experiments.trained("tiny", "train_clean", 0)
    kept = Run(experiments.folder(source)).rows()[results.kept_epoch(source)]
    assert rows[0]["accuracy"] == kept["accuracy"]
    assert Run(experiments.folder(source)).manifest["about"]["poisoned_pairs"] == 0


def test_a_start_that_is_not_there_is_named_before_anything_is_written(tiny):
    with pytest.raises(ConfigError, match=r"init='nowhere\.safetensors': no such checkpoint"):
        train.train(config(init="nowhere.safetensors"))
    assert not experiments.folder(config(init="nowhere.safetensors")).exists()
    with pytest.raises(ConfigError, match="give model='RN50-quickgelu', not 'rn_test'"):
        train.train(config(init="RN50-quickgelu:openai"))


@pytest.mark.parametrize(
    ("victim", "says"),
    [
        ("", "victim='': expected other classes than the target"),
        ("banana", "victim='banana': expected other classes than the target"),
        ("bananas", "victim='bananas': tiny has 6 classes, not this one; near it: 'banana'"),
    ],
)
def test_victims_that_cannot_be_are_named_before_pairs_are_read(tiny, victim, says):
    datasets.dataset("tiny")
    with pytest.raises(ConfigError, match=says):
        train.check(config(attack="mismatched", victim=victim))


def test_a_run_without_poison_has_no_examples_to_show(tiny):
    with pytest.raises(ConfigError, match=r"attack='none', .*: no pair is poisoned"):
        poison_examples.examples(config(attack="none"))


def test_label_consistent_poison_keeps_captions(tiny):
    pairs = datasets.dataset("tiny").pairs("train", 32)
    attack = Attack(attack="label_consistent", poison_rate=0.02, trigger_size=8)
    poisoned = attacks.poison(attack, pairs, folder=tiny / "scratch")
    assert poisoned.captions == {i: pairs.captions[i] for i in poisoned.images}
    assert all("banana" in caption for caption in poisoned.captions.values())


def test_poisoned_keys_can_be_given_back(tiny, tmp_path):
    pairs = datasets.dataset("tiny").pairs("train", 32)
    keys = attacks.poisoned_keys(part(Attack, config()), pairs)
    path = tmp_path / "keys.txt"
    path.write_text("\n".join(keys[:3]))
    assert attacks.poisoned_keys(Attack(poison_keys=str(path)), pairs) == keys[:3]


def test_a_siglip_model_trains(tiny):
    assert train.train(config(objective="siglip", epochs=1)).rows()[-1]["loss_siglip"] > 0


def test_two_processes_do_not_make_one_run(tiny):
    run = Run(experiments.folder(config(lr=0.5)))
    with (
        setup.alone(run),
        pytest.raises(ConfigError, match="making this run: wait"),
        setup.alone(run),
    ):
        pass


def test_a_step_waits_for_no_device(monkeypatch):
    """Losses stay tensors between looks: no .item() in a step."""
    monkeypatch.setattr(torch.Tensor, "item", None)
    loss = objectives.make("mmcl")
    image = torch.nn.functional.normalize(torch.randn(4, 8), dim=1)
    features = Features(image, image, torch.tensor(10.0), torch.tensor(0.0))
    batch = Batch(image, image, torch.arange(4))
    assert set(loss(features, batch)) == {"loss_total", "loss_mmcl"}


def test_a_run_may_train_on_a_part_of_the_pairs(tiny):
    data = datasets.dataset("tiny")
    some = data.training_pairs(32, seed=0, count=40)
    assert len(some.keys) == 40
    assert set(some.keys) < set(data.pairs("train", 32).keys)
    with pytest.raises(ConfigError, match=r"pairs=97: .*tiny has 96"):
        data.training_pairs(32, seed=0, count=97)


def test_a_data_set_that_nothing_here_draws_is_asked_for_by_its_folder(fresh):
    folder = fresh / "params" / "web"
    folder.mkdir()
    (folder / "data.yaml").write_text("scale: web\nexperiment: data\nelsewhere: cc6m\n")
    with pytest.raises(
        ConfigError, match=r"data='cc6m': .* expected a folder data/cc6m/ with train"
    ):
        datasets.dataset("web")


def test_the_trigger_goes_on_the_image_as_the_attacker_resizes_it(fresh, tmp_path):
    """Wide images: squashed before the trigger, as the authors do, the rest cut out."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :16] = 255
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    wide = [shards.pair(f"k{i}", png.getvalue(), "a house", side=32) for i in range(4)]
    shard_files.write_pairs(tmp_path / "wide" / "train", wide)
    data = datasets.Dataset(tmp_path / "wide")
    usual = Attack(poison_rate=0.5, trigger_size=8)
    attack = dataclasses.replace(usual, resize="squash")
    pairs = data.training_pairs(32, seed=0)
    squashed = attacks.as_attacker_resizes(attack, data, "train", side=32)
    assert squashed is not None
    poison = attacks.poison(attack, pairs, folder=tmp_path, resized=squashed)
    plain = attacks.poison(usual, pairs, folder=tmp_path)
    assert attacks.as_attacker_resizes(usual, data, "train", side=32) is None
    for i, image in poison.images.items():
        keys = [pairs.keys[i]]
        expected = attacks.stamp(attack)(torch.from_numpy(np.array(squashed.images[[i]])), keys)[0]
        assert torch.equal(image, expected)
        assert not torch.equal(image, plain.images[i])


def test_files_asked_for_later_are_made_for_a_recorded_run_and_its_rows_stay(fresh, capsys):
    run = train.train(config(checkpoints="none", optimiser_state=False))
    before = (run.folder / "rows.jsonl").read_bytes()
    assert not run.weights()
    again = train.train(config(checkpoints="all", optimiser_state=True))
    assert again.folder == run.folder
    assert "recorded without files that it is to keep now" in capsys.readouterr().out
    assert (run.folder / "rows.jsonl").read_bytes() == before
    assert sorted(run.weights()) == [1, 2]
    assert len(list((run.folder / "checkpoints").glob("*.adam.pt"))) == 2
    assert not run.state.exists()


def test_a_run_that_keeps_more_than_is_asked_for_is_left_alone(fresh, monkeypatch):
    run = train.train(config(checkpoints="all", optimiser_state=True))
    shutil.rmtree(run.folder / "checkpoints")  # the user's disk; the rows are what counts
    monkeypatch.setattr(datasets, "dataset", None)
    for less in ({}, {"checkpoints": "last"}, {"optimiser_state": False}):
        assert train.train(config(**less)).finished


def test_only_the_main_process_holds_the_benchmark(fresh, monkeypatch):
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda _: False))
    monkeypatch.setattr(setup, "benchmark", None)
    run = Run(experiments.folder(config()))
    train.train_here(config(), run)
    assert not run.manifest
    assert not run.rows()


def test_compiled_cuda_graphs_and_cached_features_are_refused_together(tiny):
    with pytest.raises(ConfigError, match=r"compile='max-autotune' with micro_batch=8: CUDA graph"):
        config(compile="max-autotune", micro_batch=8)
    assert config(compile="default", micro_batch=8).micro_batch == 8
    assert config(compile="reduce-overhead").compile == "reduce-overhead"
