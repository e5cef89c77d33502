import dataclasses
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from bdnb import plan
from bdnb.plan import Rate
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError

RATE = Rate(mmcl=10, ssl=5, device="core", source="a test")


def test_a_run_costs_its_steps_and_an_evaluation_more_than_epochs(tiny):
    config = experiments.trained("tiny", "train_mmcl", 0)
    evaluations = 3 * (2 * 24 + 24) / (3 * 10)
    assert plan.seconds(config, RATE) == pytest.approx(2 * 96 / 10 + evaluations)
    other = experiments.trained("tiny", "train_mmcl_ssl", 0)
    assert plan.seconds(other, RATE) == pytest.approx(2 * 96 / 5 + evaluations)


def test_a_screened_model_costs_evaluations_only(tiny):
    screen = experiments.of_file("tiny", "ablations_shrink_perturb")[0]
    assert plan.seconds(screen, RATE) == pytest.approx(2 * (2 * 24 + 24) / (3 * 10))


def test_a_run_that_two_experiments_ask_for_is_counted_once(fresh):
    made = plan.sections("tiny").set_index("experiment")
    assert made.loc["clean", "runs"] == 2
    assert made.loc["stopping", ["runs", "shared"]].tolist() == [0, 2]


def test_a_recorded_run_is_not_to_do(fresh):
    run = Run(experiments.folder(experiments.trained("tiny", "train_mmcl", 0)))
    run.start(stage="train", config={}, device="cpu")
    run.finish()
    made = plan.sections("tiny").set_index("experiment")
    assert made.loc["train_mmcl", ["runs", "to do"]].tolist() == [1, 0]


def test_the_paper_s_plan_says_runs_gpu_hours_and_whose_throughput(monkeypatch):
    monkeypatch.setenv("BDNB_HOME", str(Path(__file__).parents[1]))
    text = plan.text("paper")
    assert "GPU-hours" in text
    assert "510 pairs/s" in text
    assert "until this scale has runs recorded" in text
    train = next(line for line in text.splitlines() if line.split()[:1] == ["train_mmcl"])
    # 64 epochs of 6M pairs at 510 a second, on 8 GPUs: the authors' 24 to 28 hours.
    assert 24 * 8 < float(train.split()[-2].replace(",", "")) / 3 < 28 * 8


def test_the_throughput_is_that_of_the_recorded_epochs_a_device(fresh):
    assert plan.throughput("tiny") == plan.SMALL
    begun = Run(experiments.folder(experiments.of_file("tiny", "clean")[0]))
    begun.start(stage="clean", config={}, device="cpu")
    begun.append({"epoch": 0, "accuracy": 1.0, "asr": 1.0})
    assert plan.throughput("tiny") == plan.SMALL  # nothing but what was measured before an epoch
    device = {"train_mmcl": "2 x NVIDIA H100, bf16", "train_mmcl_ssl": "cpu, 4 threads, fp32"}
    for name, speeds in {"train_mmcl": (90, 100, 300), "train_mmcl_ssl": (40, 80, 90)}.items():
        config = experiments.trained("tiny", name, 0)
        run = Run(experiments.folder(config))
        run.start(stage="train", config=vars(config), device=device[name])
        for epoch, speed in enumerate(speeds, 1):
            run.append({"epoch": epoch, "accuracy": 1.0, "asr": 1.0, "pairs_per_s": speed})
        run.finish()
    found = plan.throughput("tiny")
    assert (found.mmcl, found.ssl) == (50, 20)
    assert "6 epochs" in found.source


def test_an_unknown_scale_is_named(tiny):
    with pytest.raises(ConfigError, match="scale='huge'"):
        plan.text("huge")


def test_the_paper_s_headline_has_seeds_for_a_verdict_and_the_plan_names_what_has_one(monkeypatch):
    monkeypatch.setenv("BDNB_HOME", str(Path(__file__).parents[1]))
    for name in ("train_mmcl", "train_mmcl_ssl", "clean"):
        assert len({c.seed for c in experiments.of_file("paper", name)}) == 3
    told = plan.text("paper").splitlines()[-1]
    named = told.rpartition(": ")[2].rstrip(".").split(", ")
    assert {"clean_vit", "train_siglip", "nonideal"} <= set(named)
    assert not {"clean", "train_mmcl", "train_mmcl_ssl", "stopping"} & set(named)
    assert plan.verdicts("laptop").startswith("Every section has 2 seeds")


def test_planning_needs_no_torch():
    code = "import sys, bdnb.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_scale_of_ones_own_data_is_planned_from_what_lies_there(fresh):
    own = fresh / "params" / "own"
    own.mkdir()
    tiny = (fresh / "params" / "tiny" / "train_mmcl.yaml").read_text()
    (own / "train_mmcl.yaml").write_text(tiny.replace(": tiny", ": own"))
    data = fresh / "data"
    data.unlink()
    for split, stats in (("train", 70), ("clean", None), ("val/test", None)):
        folder = data / "own" / split
        folder.mkdir(parents=True)
        with tarfile.open(folder / "00000.tar", "w") as shard:
            for name in ("a.jpg", "a.txt", "b.jpg"):
                shard.addfile(tarfile.TarInfo(name))
        if stats:
            (folder / "00000_stats.json").write_text(json.dumps({"successes": stats}))
    (data / "own" / "val" / "classnames.txt").write_text("a\n")
    assert plan.sizes("own") == plan.Sizes(70, 2, 4)
    assert plan.sections("own")["runs"].tolist() == [1]
    assert experiments.shown_data("own") == "own"
    with pytest.raises(ConfigError, match=r"data='gone': neither params/gone/data.yaml nor"):
        plan.sizes("gone")


def test_a_damaged_parameter_file_is_named_and_the_others_are_planned(fresh):
    (fresh / "params" / "tiny" / "stopping.yaml").write_text("lr: [")
    with pytest.warns(UserWarning, match=r"left out of scale tiny: .*stopping.yaml, line 1"):
        made = plan.sections("tiny")["experiment"].tolist()
    assert "stopping" not in made
    assert "clean" in made
    (fresh / "params" / "tiny" / "train_mmcl.yaml").write_text("lr: [")
    with pytest.warns(UserWarning, match=r"left out of scale tiny: .*train_mmcl.yaml"):
        made = list(experiments.of_scale("tiny"))
    assert made == []
    with pytest.raises(ConfigError, match=r"train_mmcl\.yaml"):
        experiments.of_scale("tiny", whole=True)


@pytest.mark.parametrize(("defence", "pairs"), [("detect", 0), ("drop", 96), ("cleanclip", 48)])
def test_detection_takes_no_steps_and_dropping_those_of_pre_training(tiny, defence, pairs):
    first = experiments.of_file("tiny", "clean")[0]
    config = dataclasses.replace(first, defence=defence, loss="mmcl", epochs=3)
    assert plan.steps_seconds(config, RATE) == pytest.approx(3 * pairs / 10)


@pytest.mark.parametrize(("loss", "seconds"), [("mmcl", 4.8), ("mmcl_barlow", 9.6)])
def test_a_loss_with_second_views_takes_the_time_of_ssl(tiny, loss, seconds):
    first = experiments.of_file("tiny", "clean")[0]
    config = dataclasses.replace(first, loss=loss, epochs=1)
    assert plan.steps_seconds(config, RATE) == pytest.approx(seconds)
