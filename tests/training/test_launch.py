"""What a run needs is made before it, each on as many processes as its own parameters say."""

from bdnb import clean
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.training import launch


def test_what_a_cleaning_run_needs_is_made_first_on_processes_of_its_own(fresh, monkeypatch):
    for name, count in (("train_mmcl", 3), ("train_mmcl_ssl", 2)):
        path = fresh / "params" / "tiny" / f"{name}.yaml"
        path.write_text(path.read_text() + f"processes: {count}\n")
    asked = []

    def here(count, work, config, makers):
        asked.append((config.experiment, count))
        makers[type(config)](config, Run(experiments.folder(config)))

    monkeypatch.setattr(launch, "on_processes", here)
    (config,) = [c for c in experiments.of_file("tiny", "clean") if c.poisoned == "train_mmcl_ssl"]
    assert clean.clean(config).finished
    assert sorted(asked) == [("train_mmcl", 3), ("train_mmcl_ssl", 2)]


def test_what_a_run_needs_is_said_in_order_and_made_once(fresh, capsys):
    (chosen,) = [c for c in experiments.of_file("tiny", "ablations_shrink_perturb") if c.pick]
    needed = experiments.before(chosen)
    assert [c.experiment for c in needed] == ["train_mmcl", *["ablations_shrink_perturb"] * 2]
    clean.clean(chosen)
    assert all(Run(experiments.folder(c)).finished for c in needed)
    said = capsys.readouterr().out
    assert said.count("train_mmcl is not there yet: making it first") == 1
    clean.clean(chosen)
    assert "not there yet" not in capsys.readouterr().out
