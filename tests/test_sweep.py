import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import yaml

from bdnb import clean, sweep
from bdnb.config.recipes import TrainConfig
from bdnb.runs import experiments, results
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError


def namespace(**given):
    return {"scale": "tiny", "experiment": "clean", "epochs": 1, "lr": None} | given


def test_what_a_notebook_leaves_at_none_comes_from_the_file(tiny):
    made = sweep.from_notebook("clean", namespace())
    assert [c.poisoned for c in made.requested] == ["train_mmcl", "train_mmcl_ssl"]
    assert {c.lr for c in made.requested} == {1e-3}
    assert {c.epochs for c in made.requested} == {1}


def test_a_sweep_in_a_notebook_asks_for_the_same_runs_as_the_file(tiny):
    by_file = {experiments.folder(c) for c in experiments.of_file("tiny", "clean")}
    made = sweep.from_notebook("clean", {"scale": "tiny", "experiment": "clean"})
    assert {experiments.folder(c) for c in made.requested} == by_file


def test_a_run_that_fails_does_not_stop_the_others(tiny, monkeypatch):
    made = sweep.from_notebook("clean", namespace(lr=[1e-3, 2e-3, 4e-3], poisoned="train_mmcl"))
    real = clean.clean

    def failing(config):
        if config.lr == 2e-3:
            raise RuntimeError("no luck")
        return real(config)

    monkeypatch.setattr(clean, "clean", failing)
    with pytest.raises(sweep.SweepError, match=r"(?s)1 of 3 runs failed.*lr2e-3.*no luck"):
        made.run()
    assert sorted(made.rows()["lr"].unique()) == [1e-3, 4e-3]
    monkeypatch.setattr(clean, "clean", real)
    assert made.run()["run"].nunique() == 3


def test_the_table_says_what_is_recorded_and_what_tells_runs_apart(tiny):
    made = sweep.from_notebook("clean", namespace(lr=[1e-3, 9e-3], poisoned="train_mmcl"))
    sweep.Sweep(made.requested[:1]).run()
    table = made.table
    assert table["state"].tolist() == ["recorded", "to do"]
    assert table["lr"].tolist() == [1e-3, 9e-3]
    assert "epochs" not in table


def test_a_model_to_be_like_is_trained_before_the_one_like_it(fresh):
    made = sweep.from_notebook("train", {"scale": "tiny", "experiment": "train_mmcl_ssl"})
    made.run()
    assert results.kept_epoch(made.requested[0]) in (1, 2)
    assert Run(experiments.folder(experiments.trained("tiny", "train_mmcl", 0))).finished


def test_a_parameter_of_another_stage_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"clean\.ipynb: 'objective' is not a parameter"):
        sweep.from_notebook("clean", namespace(objective="mmcl"))


def test_a_value_that_does_not_fit_is_said_to_stand_where_it_stands(fresh):
    (fresh / "params" / "tiny" / "clean_mine.yaml").write_text("base: clean\nbatch_size: many\n")
    for given, message in (
        ({"experiment": "clean_mine"}, r"params/tiny/clean_mine\.yaml: batch_size='many'"),
        ({"experiment": "clean_mine", "lr": "fast"}, r"clean\.ipynb: lr='fast'"),
        (
            {"experiment": "train_mmcl"},
            r"clean\.ipynb: params/tiny/train_mmcl\.yaml is for train\.",
        ),
        ({"lr": "[1e-3, 1e-4]"}, r"lr='\[1e-3, 1e-4\]' \(papermill: a list or a mapping by -y"),
    ):
        with pytest.raises(ConfigError, match=message):
            sweep.from_notebook("clean", namespace(**given))


def test_a_sweep_is_checked_before_its_data_is_made(fresh):
    (fresh / "data").unlink()
    asked = [replace(one, defence="magic") for one in experiments.of_file("tiny", "clean")]
    with pytest.raises(ConfigError, match="defence='magic': unknown"):
        sweep.Sweep(asked).check()
    assert not (fresh / "data").exists()


def test_one_run_by_name_leaves_the_others_to_other_jobs(fresh, monkeypatch):
    config = experiments.trained("tiny", "train_mmcl_ssl", 0)
    name = experiments.folder(config).name
    path = "params/tiny/train_mmcl_ssl.yaml"
    monkeypatch.setattr("sys.argv", ["sweep", path, "--only", name])
    sweep.main()
    assert [p.name for p in (fresh / "runs").iterdir()] == [name]
    flag = fresh / "runs" / name / "finished"
    flag.unlink()
    sweep.main()
    assert flag.is_file()


def test_a_run_s_name_that_the_file_does_not_ask_for_is_refused(fresh, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["sweep", "params/tiny/clean.yaml", "--only", "clean-x"])
    with pytest.raises(SystemExit, match="2"):
        sweep.main()
    assert "--only clean-x: no such run in params" in capsys.readouterr().err


def test_a_notebook_s_own_rate_does_not_win_over_that_of_a_file_s_base(fresh):
    values = {"scale": "tiny", "experiment": "clean_more", "base": "clean", "epochs": 1}
    (fresh / "params" / "tiny" / "clean_more.yaml").write_text(yaml.safe_dump(values))
    given = values | {"lr": 1e-3, "loss": "mmcl_ssl"}  # as papermill -f leaves them
    assert {c.lr for c in sweep.from_notebook("clean", given).requested} == {1e-3}
    with pytest.raises(
        ConfigError, match=r"clean_more\.yaml: has lr=\[0.001\] from its base clean"
    ):
        sweep.from_notebook("clean", given | {"lr": 5e-4})
    with pytest.raises(ConfigError, match=r"has poisoned=\['train_mmcl', 'train_mmcl_ssl'\] from"):
        sweep.from_notebook("clean", given | {"poisoned": "train_mmcl"})
    del given["base"]  # named with -p, not read by -f
    assert {c.lr for c in sweep.from_notebook("clean", given | {"lr": 5e-4}).requested} == {5e-4}


def test_a_rate_beside_a_file_s_grids_is_refused_rather_than_ignored(tiny):
    grids = [{"lr": [1e-3, 2e-3]}]
    with pytest.raises(ConfigError, match=r"lr=1e-05, but the grids of the parameter file say lr"):
        sweep.from_notebook("clean", namespace(grids=grids, lr=1e-5))
    made = sweep.from_notebook("clean", namespace(grids=grids, poisoned="train_mmcl"))
    assert len(made.requested) == 2


def test_a_study_stands_for_its_parameter_file(tiny):
    made = sweep.from_notebook("ablations", {"scale": "tiny", "study": "shrink_perturb"})
    assert [c.defence for c in made.requested] == ["screen", "screen", "shrink_perturb"]
    other = {"scale": "tiny", "study": "shrink_perturb", "experiment": "ablations_other"}
    for given in ({"scale": "tiny", "study": "magic"}, other):
        with pytest.raises(ConfigError, match=r"no such study; params/tiny/ has shrink_perturb"):
            sweep.from_notebook("ablations", given)


@pytest.mark.parametrize("name", [*experiments.STAGE_OF, "poison"])
def test_a_notebook_names_every_parameter_of_its_stage(name):
    """So that papermill warns of none, and ``papermill --help-notebook`` tells them all."""
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", []))
    named = {line.partition(" = ")[0].strip() for line in cell["source"] if " = " in line}
    stage = experiments.STAGE_OF.get(name, TrainConfig)
    assert named == {f.name for f in fields(stage)} | {"base", "grids"}


REPOSITORY = Path(__file__).parents[1]
FILES = [
    pytest.param(path.parent.name, path.stem, id=f"{path.parent.name}-{path.stem}")
    for path in sorted((REPOSITORY / "params").glob("*/*.yaml"))
    if experiments.notebook_of(path.stem) in experiments.STAGE_OF
]


@pytest.mark.parametrize(("scale", "experiment"), FILES)
def test_a_notebook_given_a_parameter_file_asks_for_its_runs(scale, experiment, monkeypatch):
    """As ``papermill -f`` does: the values of the file in place of the notebook's own."""
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))
    monkeypatch.setattr(sweep, "check", lambda config: None)  # may need the data
    name = experiments.notebook_of(experiment)
    cells = json.loads((REPOSITORY / "notebooks" / f"{name}.ipynb").read_text("utf-8"))["cells"]
    cell = next(c for c in cells if "parameters" in c["metadata"].get("tags", []))
    own: dict = {}
    exec("".join(cell["source"]), {}, own)
    file = yaml.safe_load((REPOSITORY / "params" / scale / f"{experiment}.yaml").read_text())
    made = sweep.from_notebook(name, own | file)
    asked = experiments.of_file(scale, experiment)
    assert [experiments.folder(c).name for c in made.requested] == [
        experiments.folder(c).name for c in asked
    ]


def test_bad_numbers_are_refused_before_the_model_is_trained_although_the_data_is_not_made(fresh):
    (fresh / "data").unlink()
    (fresh / "data" / ".npm").parent.mkdir()
    (fresh / "data" / ".npm").symlink_to(REPOSITORY / "data" / ".npm")
    made = sweep.from_notebook("clean", namespace(target="nosuch", poisoned="train_mmcl"))
    with pytest.raises(ConfigError, match=r"target='nosuch': tiny has 6 classes"):
        made.run()
    assert not (fresh / "runs").exists()


def test_what_many_runs_failed_of_is_told_in_three_lines(tiny, monkeypatch, capsys):
    made = sweep.from_notebook(
        "clean", namespace(lr=[5e-3, 6e-3, 7e-3, 8e-3], poisoned="train_mmcl")
    )

    def failing(config):
        raise ConfigError(f"lr={config.lr:g}: no luck")

    monkeypatch.setattr(clean, "clean", failing)
    with pytest.raises(sweep.SweepError) as error:
        made.run()
    assert len(str(error.value).splitlines()) == 3
    assert error.value.status == 2
    printed = capsys.readouterr().err
    assert all(f"lr={lr}: no luck" in printed for lr in (0.005, 0.006, 0.007, 0.008))
    assert "Traceback" not in printed


def test_a_crash_keeps_its_traceback_in_the_log_and_status_1(fresh, monkeypatch, capsys):
    made = sweep.from_notebook("train", {"scale": "tiny", "experiment": "train_mmcl"})
    folder = experiments.folder(made.requested[0])

    def crashing(config):
        folder.mkdir(parents=True)
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr("bdnb.train.train", crashing)
    with pytest.raises(sweep.SweepError) as error:
        made.run()
    assert error.value.status == 1
    assert f"ZeroDivisionError: no luck (traceback: {folder}/error.log)" in str(error.value)
    assert len(str(error.value).splitlines()) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert "ZeroDivisionError: no luck" in (folder / "error.log").read_text()


def test_a_job_of_several_runs_goes_on_after_one_that_fails_and_sets_flags_again(
    fresh, monkeypatch, capsys
):
    """Snakemake takes all flags of a job away when one of its runs fails."""
    text = (fresh / "params" / "tiny" / "clean.yaml").read_text()
    text = text.replace("[train_mmcl, train_mmcl_ssl]", "train_mmcl")
    path = fresh / "params" / "tiny" / "clean_job.yaml"
    path.write_text(
        text.replace("experiment: clean", "experiment: clean_job")
        + "defence: [cleanclip, shrink_perturb]\noptions: {shrink: [0.5, 0.9]}\n"
    )
    names = [experiments.folder(c).name for c in experiments.of_file("tiny", "clean_job")]
    made = [name for name in names if "shrink_perturb" in name]
    sweep.run_one(experiments.trained("tiny", "train_mmcl", 0))
    monkeypatch.setattr("sys.argv", ["sweep", str(path), "--only", *names])
    with pytest.raises(SystemExit, match="2"):
        sweep.main()
    assert "2 of 4 runs failed" in capsys.readouterr().err
    flags = {path.parent.name: path for path in (fresh / "runs").glob("clean-*/finished")}
    assert sorted(flags) == sorted(made)
    for flag in flags.values():
        flag.unlink()
    monkeypatch.setattr(sweep, "run_one", pytest.fail)
    monkeypatch.setattr("sys.argv", ["sweep", str(path), "--only", *made])
    sweep.main()
    assert all(flag.is_file() for flag in flags.values())
