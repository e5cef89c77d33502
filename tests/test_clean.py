import dataclasses
import json
from pathlib import Path

import pytest
import torch

from bdnb import clean, defences, models
from bdnb.config import parameters
from bdnb.config.recipes import CleanConfig
from bdnb.data import datasets
from bdnb.defences import registry
from bdnb.runs import experiments, results
from bdnb.runs.records import Run, read_runs, weights_of
from bdnb.runtime.errors import ConfigError
from bdnb.train import train
from bdnb.training import attacks
from bdnb.training.attacks import Attack


def config(**changes) -> CleanConfig:
    first = experiments.of_file("tiny", "clean")[0]
    return dataclasses.replace(first, **({"epochs": 1} | changes))


def test_cleaning_starts_from_the_kept_epoch_and_measures_every_epoch(tiny):
    run = clean.clean(config(epochs=2))
    rows = run.rows()
    source = experiments.trained("tiny", "train_mmcl", 0)
    kept = Run(experiments.folder(source)).rows()[results.kept_epoch(source)]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert (rows[0]["accuracy"], rows[0]["asr"]) == (kept["accuracy"], kept["asr"])
    about = run.manifest["about"]
    assert about["pretrain_objective"] == "mmcl"
    assert about["cleaning_pairs"] == 48
    assert about["overlap_with_training"] == 0


def test_retrieval_is_measured_on_the_same_held_out_pairs_before_and_after_cleaning(tiny):
    source = dataclasses.replace(experiments.trained("tiny", "train_mmcl", 0), retrieval=16)
    trained = train(source).rows()
    cleaned = clean.clean(config(pairs=32, retrieval=16)).rows()
    kept = trained[results.kept_epoch(source)]
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "retrieval_asr"):
        assert 0 <= kept[name] <= 100
        assert cleaned[0][name] == kept[name]
    with pytest.raises(ConfigError, match="retrieval=17: 48 clean pairs, of which 32 clean"):
        clean.clean(config(pairs=32, retrieval=17))


@pytest.mark.parametrize(
    ("defence", "options", "extra"),
    [
        ("cleanclip", {}, "loss_ssl"),
        ("heavy_regularisation", {"weight": 0.1}, "loss_l2"),
        ("heavy_regularisation", {"weight": 5.0, "by": "decay"}, "loss_ssl"),
        ("shrink_perturb", {"shrink": 0.9, "perturb": 0.001}, "loss_ssl"),
        ("deep_cluster", {"k": 8}, "loss_deep_cluster"),
        ("par", {}, "loss_away_text"),
        ("par", {"noise": 0.2, "erase": 0.5}, "loss_away_image"),
        ("clp", {"u": [2.0]}, "clp_u"),
        ("interpolate", {"alphas": [0.5]}, "alpha"),
        ("fine_pruning", {"nad": 100.0}, "loss_nad"),
        ("invertune", {"images": 24, "steps": 2}, "loss_align"),
        ("retrain", {}, "loss_ssl"),
        ("probe", {"batches": 1}, "grad_ssl_text"),
        ("swap", {"clean_model": "train_mmcl_ssl"}, "aligned"),
        ("deep_cluster", {"k": 8, "lookup": "batch", "features": "train"}, "loss_deep_cluster"),
    ],
)
def test_every_defence_yields_a_row_an_epoch(tiny, defence, options, extra):
    rows = clean.clean(config(defence=defence, options=options)).rows()
    assert [row["epoch"] for row in rows] == [0, 1]
    assert rows[1][extra] > 0


def test_deep_clustering_takes_labels_from_another_model(tiny):
    other = results.kept_weights(experiments.trained("tiny", "train_mmcl", 0))
    options = {"labels": "classifier", "classifier": str(other)}
    assert clean.clean(config(defence="deep_cluster", options=options)).finished


def test_a_model_trained_anew_keeps_nothing_of_the_backdoored_one(tiny):
    made = {
        source: clean.clean(config(defence="retrain", poisoned=source)).rows()
        for source in ("train_mmcl", "train_mmcl_ssl")
    }
    first, second = made.values()
    assert first[0]["accuracy"] != second[0]["accuracy"]
    assert (first[1]["loss_total"], first[1]["accuracy"]) == (
        second[1]["loss_total"],
        second[1]["accuracy"],
    )


@pytest.mark.parametrize("loss", ["mmcl", "ssl"])
def test_each_cleaning_loss_works_alone(tiny, loss):
    row = clean.clean(config(loss=loss)).rows()[1]
    assert row["loss_total"] == pytest.approx(row[f"loss_{loss}"])


def test_a_defence_of_one_s_own_is_recorded_like_any_other(tiny, monkeypatch):
    monkeypatch.setattr(registry, "DEFENCES", dict(defences.DEFENCES))

    @defences.defence("nothing")
    def nothing(model, pairs, setting, *, candidates: int = 2):
        for number in range(1, candidates + 1):
            yield defences.Epoch(number, model, {"loss_total": 0.0})

    rows = clean.clean(config(defence="nothing", options={"candidates": 3})).rows()
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert len({row["accuracy"] for row in rows}) == 1
    with pytest.raises(ConfigError, match=r"no option 'much'. It takes: candidates"):
        clean.clean(config(defence="nothing", options={"much": 1}))


def test_an_unknown_defence_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"defence='magic': unknown.*cleanclip.*deep_cluster"):
        defences.check("magic", {})


def test_cleaning_pairs_can_be_fewer_poisoned_or_the_authors(tiny):
    data, source = datasets.dataset("tiny"), experiments.trained("tiny", "train_mmcl", 0)
    pairs, poison, counts = clean.cleaning_pairs(config(pairs=20, poisons=3), source, data, side=32)
    assert (len(pairs.keys), len(poison)) == (20, 3)
    assert counts["overlap_with_training"] == 0
    pairs, poison, counts = clean.cleaning_pairs(config(overlap="authors"), source, data, side=32)
    assert counts["overlap_with_training"] == len(pairs.keys) == 48
    attack = parameters.part(Attack, source)
    assert not set(pairs.keys) & set(attacks.poisoned_keys(attack, data.pairs("train", 32)))


def test_the_authors_optimiser_state_overwrites_the_run_s_weight_decay(tiny):
    train(experiments.trained("tiny", "train_mmcl", 0))
    settings = config(optimiser="authors", weight_decay=50.0, defence="heavy_regularisation")
    seen = []
    real = registry.fit

    def spy(loop, *given, **options):
        seen.append((loop.optimizer.param_groups[0]["weight_decay"], len(loop.optimizer.state)))
        return real(loop, *given, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "fit", spy)
        clean.clean(settings)
        clean.clean(dataclasses.replace(settings, optimiser="fresh"))
    (decay, moments), (fresh_decay, fresh_moments) = seen
    assert (decay, fresh_decay) == (0.1, 50.0)
    assert moments > 0 == fresh_moments


def test_the_authors_optimiser_needs_its_state(tiny):
    with pytest.raises(ConfigError, match="optimiser_state=true"):
        clean.clean(config(poisoned="train_mmcl_ssl", optimiser="authors"))


def test_a_checkpoint_by_path_brings_its_attack_along(tiny):
    source = experiments.trained("tiny", "train_mmcl", 0)
    path = results.kept_weights(source)
    by_path = clean.clean(config(poisoned=str(path)))
    by_name = clean.clean(config())
    assert by_path.rows()[0]["asr"] == by_name.rows()[0]["asr"]
    assert by_path.manifest["about"]["target"] == "banana"


def test_a_checkpoint_that_is_not_there_is_named_before_anything_is_written(tiny):
    settings = config(poisoned="gone.safetensors")
    with pytest.raises(ConfigError, match=r"poisoned='gone\.safetensors': no such checkpoint"):
        clean.clean(settings)
    assert not experiments.folder(settings).exists()


def test_a_checkpoint_from_elsewhere_must_say_its_model(tiny, tmp_path):
    model = models.build("rn_test", seed=0)
    path = tmp_path / "clip.pt"
    torch.save(model.clip.state_dict(), path)
    with pytest.raises(ConfigError, match="say which open_clip model"):
        clean.clean(config(poisoned=str(path)))
    settings = config(poisoned=str(path), model="rn_test", data="tiny", trigger_size=8)
    assert clean.clean(settings).finished


def foreign(path: Path) -> Path:
    """The weights of the tiny poisoned model as somebody else would keep them."""
    source = results.kept_weights(experiments.trained("tiny", "train_mmcl", 0))
    torch.save(models.load("rn_test", source).clip.state_dict(), path)
    return path


ATTACK = {"trigger": "badnet", "trigger_size": 8, "target": "banana"}


def test_without_its_attack_a_checkpoint_from_elsewhere_has_accuracy_and_no_asr(tiny, tmp_path):
    ours = clean.clean(config()).rows()
    settings = config(poisoned=str(foreign(tmp_path / "clip.pt")), model="rn_test", data="tiny")
    for left_out in (*ATTACK, None):
        given = {k: v for k, v in ATTACK.items() if k != left_out and left_out}
        run = clean.clean(dataclasses.replace(settings, **given))
        assert [row["asr"] for row in run.rows()] == [None, None]
        assert [row["accuracy"] for row in run.rows()] == [row["accuracy"] for row in ours]
        assert not any("asr_" in name for name in run.rows()[0])
        about = run.manifest["about"]
        assert about["pretrain_objective"] == "elsewhere"
        assert (about["trigger"], about["target"]) == ("", "")


def test_with_its_attack_given_its_asr_is_that_of_the_same_model_of_ours(tiny, tmp_path):
    settings = config(poisoned=str(foreign(tmp_path / "clip.pt")), model="rn_test", data="tiny")
    run = clean.clean(dataclasses.replace(settings, **ATTACK))
    assert run.rows()[0]["asr"] == clean.clean(config()).rows()[0]["asr"]
    assert run.manifest["about"]["pretrain_objective"] == "elsewhere"
    sized = dataclasses.replace(settings, **(ATTACK | {"trigger": "blended", "trigger_size": 0.0}))
    assert clean.clean(sized).rows()[0]["asr"] is not None


def test_poison_of_an_attack_that_nobody_named_is_not_left_in(tiny, tmp_path):
    path = str(foreign(tmp_path / "clip.pt"))
    settings = config(poisoned=path, model="rn_test", data="tiny", poisons=2, trigger="badnet")
    with pytest.raises(ConfigError, match=r"poisons=2, .*give -p trigger_size, -p target"):
        clean.clean(settings)
    assert not (experiments.folder(settings) / "manifest.json").exists()


def test_rows_that_a_default_attack_was_measured_for_are_not_read_as_its_asr(tiny, tmp_path):
    settings = config(poisoned="old.pt", model="rn_test", seed=9)
    run = Run(tmp_path / "old")
    about = {"from": {"run": "old.pt", "epoch": -1}, "pretrain_objective": "mmcl"}
    run.start(stage="clean", config=vars(settings), device="cpu", about=about)
    run.append({"epoch": 0, "accuracy": 50.0, "asr": 3.1})
    frame = read_runs([run.folder])
    assert frame["asr"].isna().all()
    assert set(frame["pretrain_objective"]) == {"elsewhere"}
    assert frame["accuracy"].tolist() == [50.0]


def test_a_run_whose_attack_is_not_known_is_another_one_than_before(tiny):
    given = config(poisoned="old.pt", model="rn_test", **ATTACK)
    assert "asr" not in experiments.identity(given)
    guessed = config(poisoned="old.pt", model="rn_test")
    assert experiments.identity(guessed)["asr"] == "not measured"


def test_weights_kept_say_what_they_are(tiny):
    run = clean.clean(config())
    about = models.read_about(weights_of(run, 1))
    assert about["epoch"] == 1
    assert about["run"] == run.folder.name
    assert json.dumps(about["config"])


def test_all_of_the_authors_ways_can_be_asked_for_at_once(fresh):
    for name in ("train_mmcl", "clean"):
        path = fresh / "params" / "tiny" / f"{name}.yaml"
        path.write_text(path.read_text() + "fidelity: authors\n")
    settings = config(defence="deep_cluster", options={"k": 8})
    assert (settings.overlap, settings.optimiser, settings.text_views) == (
        "authors",
        "authors",
        "shifted",
    )
    run = clean.clean(settings)
    assert run.manifest["about"]["overlap_with_training"] == 48
    source = experiments.trained("tiny", "train_mmcl", 0)
    assert attacks.stamp(parameters.part(Attack, source)).options["overflow"] == "wrap"
    rates = [row["step_lr"] for row in Run(experiments.folder(source)).rows()[1:]]
    assert rates[0] < source.lr / 2
    assert rates[1] > rates[0]
