"""A trigger and a defence in a file of the user's, through the sweep as jobs run it."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bdnb import backdoored, defences, models
from bdnb.config.parameters import part
from bdnb.config.recipes import CleanConfig, TrainConfig
from bdnb.evaluate import detectors
from bdnb.poison.triggers import TRIGGERS
from bdnb.runs import experiments, results
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks, objectives

REPOSITORY = Path(__file__).parents[2]
TRIGGER = """
from bdnb.poison.triggers import trigger

@trigger("stripe")
def stripe(images, draws, *, level: int = 255):
    images = images.clone()
    images[:, :, :3] = level
    return images
"""
DEFENCE = """
from bdnb.defences import cleanclip, defence

@defence("twice_as_good")
def twice_as_good(model, pairs, setting, *, hope: float = 1.0):
    yield from cleanclip(model, pairs, setting)
"""
DETECTOR = """
import torch
from bdnb.evaluate.detectors import Scored, detector

@detector("hunch", of="pairs")
def hunch(model, samples, known):
    return Scored(samples.image.mean(dim=1), None)
"""
OBJECTIVE = """
from bdnb import losses
from bdnb.training.objectives import objective

@objective("calm")
def calm(embedded):
    return {"mmcl": losses.mmcl(embedded.image, embedded.text, embedded.scale)}
"""


@pytest.fixture
def mine(fresh: Path) -> Iterator[Path]:
    """A project with a file of each kind, and the parameter files that name them.

    What the test registers is gone after it.
    """
    tables: list[dict] = [TRIGGERS, defences.DEFENCES, detectors.DETECTORS, objectives.OBJECTIVES]
    tables.append(plugins.LOADED)
    before = [dict(table) for table in tables]
    plugins.place("stripe.py").write_text(TRIGGER)
    plugins.place("hope.py").write_text(DEFENCE)
    folder = fresh / "params" / "tiny"
    (folder / "train_stripe.yaml").write_text(
        "scale: tiny\nexperiment: train_stripe\nbase: train_mmcl\nepochs: 1\n"
        "code: plugins/stripe.py\ntrigger: stripe\n"
    )
    (folder / "clean_hope.yaml").write_text(
        "scale: tiny\nexperiment: clean_hope\nbase: clean\npoisoned: train_stripe\nepochs: 1\n"
        "code: plugins/hope.py\ndefence: [cleanclip, twice_as_good]\n"
    )
    yield fresh
    for table, was in zip(tables, before, strict=True):
        table.clear()
        table.update(was)


def test_a_sweep_of_another_process_has_both_and_records_them(mine):
    done = subprocess.run(
        [sys.executable, "-m", "bdnb.sweep", "params/tiny/clean_hope.yaml"],
        env=os.environ | {"BDNB_HOME": str(mine)},
        cwd=mine,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = results.rows(experiments.of_file("tiny", "clean_hope"))
    assert rows.groupby("defence")["epoch"].max().to_dict() == {"cleanclip": 1, "twice_as_good": 1}
    assert set(rows["trigger"]) == {"stripe"}
    assert rows["asr"].notna().all()


def test_a_file_that_has_changed_makes_other_runs(mine):
    before = experiments.folder(experiments.trained("tiny", "train_stripe", 0))
    plugins.place("stripe.py").write_text(TRIGGER.replace("255", "0"))
    assert experiments.folder(experiments.trained("tiny", "train_stripe", 0)) != before


def test_a_changed_file_takes_its_own_place_but_not_another_s(mine, monkeypatch):
    monkeypatch.setattr(plugins, "LOADED", {})
    for table in (TRIGGERS, defences.DEFENCES):
        monkeypatch.setattr(f"{_home(table)}", dict(table))
    config = experiments.of_file("tiny", "clean_hope")[1]
    first = defences.check(config.defence, config.options, code=config.code)
    plugins.place("hope.py").write_text(DEFENCE.replace("hope: float", "faith: float"))
    assert defences.check(config.defence, {}, code=config.code) is not first
    with pytest.raises(ConfigError, match=r"no option 'hope'\. It takes: faith"):
        defences.check(config.defence, {"hope": 2.0}, code=config.code)
    plugins.place("hope.py").write_text(DEFENCE.replace("twice_as_good", "cleanclip", 1))
    with pytest.raises(ConfigError, match=r"defence 'cleanclip' is there already: bdnb/defences"):
        defences.check(config.defence, {}, code=config.code)


def _home(table: dict) -> str:
    return "bdnb.poison.stamps.TRIGGERS" if table is TRIGGERS else "bdnb.defences.registry.DEFENCES"


@pytest.mark.parametrize("code", ["plugins/gone.py", "../elsewhere.py", "plugins/notes.txt"])
def test_a_file_that_is_not_python_in_the_project_is_refused(mine, code):
    (mine.parent / "elsewhere.py").write_text("raise SystemExit")
    plugins.place("notes.txt").write_text("")
    with pytest.raises(ConfigError, match="expected a Python file in the project's folder"):
        plugins.load(code)


def test_a_file_that_fails_is_named_with_its_error(mine):
    plugins.place("broken.py").write_text("import nothing_of_this_name")
    with pytest.raises(ConfigError, match=r"plugins/broken\.py.*ModuleNotFoundError.*howto"):
        plugins.load("plugins/broken.py")


def test_a_checkpoint_does_not_say_whose_code_is_run(mine):
    config = TrainConfig(model="rn_test", data="tiny", code="plugins/stripe.py")
    path = mine / "given.safetensors"
    model = models.build("rn_test", seed=0)
    models.save_weights(model, path, about={"config": vars(config)})
    assert backdoored.backdoored_model(CleanConfig(poisoned=str(path))).source.code == ""
    asked = CleanConfig(poisoned=str(path), code="plugins/hope.py")
    assert backdoored.backdoored_model(asked).source.code == "plugins/hope.py"


def test_the_code_that_readme_and_howto_show_is_entered_under_its_names(mine):
    """README's indented code, and howto's fenced code; its cells run under papermill."""
    tables = (TRIGGERS, defences.DEFENCES, objectives.OBJECTIVES, detectors.DETECTORS)
    before = [dict(table) for table in tables]
    readme = (REPOSITORY / "README.md").read_text("utf-8").partition("## Add your own")[2]
    cells = json.loads((REPOSITORY / "notebooks" / "howto.ipynb").read_text("utf-8"))["cells"]
    howto = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    indented = re.findall(r"(?m)^ {4}.*\n|^\n", readme.partition("\n## ")[0])
    plugins.place("readme.py").write_text(textwrap.dedent("".join(indented)))
    (fenced,) = re.findall(r"(?s)```python\n(.*?)```", howto)
    plugins.place("howto.py").write_text(fenced)
    try:
        for name in ("readme", "howto"):
            plugins.load(f"plugins/{name}.py")
        new = [table.keys() - old.keys() for table, old in zip(tables, before, strict=True)]
        assert new == [
            {"dot"},
            {"cleanclip_again"},
            {"mmcl_only_images", "one_way"},
            {"unlike_caption"},
        ]
        samples = detectors.Samples(torch.eye(3), torch.eye(3))
        known = detectors.Known(seed=0, reference=torch.eye(3))
        scored = detectors.score("unlike_caption", None, samples, known, {})
        assert scored.scores.tolist() == [-1, -1, -1]
        batch = SimpleNamespace(image=torch.eye(3), text=torch.eye(3), scale=torch.tensor(1.0))
        assert objectives.OBJECTIVES["one_way"](batch)["mmcl"] > 0
    finally:
        for table, old in zip(tables, before, strict=True):
            table.clear()
            table.update(old)


def test_runs_without_code_keep_their_folders():
    assert "code" not in experiments.identity(TrainConfig())
    assert attacks.stamp(attacks.Attack()).name == "badnet"


def test_what_another_run_s_file_registered_is_no_run_s_that_does_not_name_it(mine):
    """Its record would say nothing of the file: the id would outlive a change of it."""
    plugins.place("hunch.py").write_text(DETECTOR)
    plugins.place("calm.py").write_text(OBJECTIVE)
    for name in ("stripe", "hope", "hunch", "calm"):
        plugins.load(f"plugins/{name}.py")
    asked = {
        "stripe": lambda code: attacks.unlearnt(attacks.Attack(trigger="stripe", code=code)),
        "hope": lambda code: defences.check("twice_as_good", {}, code=code),
        "hunch": lambda code: defences.check("detect", {"detectors": ["hunch"]}, code=code),
        "calm": lambda code: objectives.check("calm", {}, code=code),
    }
    for name, call in asked.items():
        call(f"plugins/{name}.py")
        other = "plugins/hope.py" if name != "hope" else "plugins/stripe.py"
        for code in ("", other):
            with pytest.raises(ConfigError, match=rf"plugins/{name}\.py has it, which this run"):
                call(code)


def test_a_cleaning_run_s_own_trigger_is_of_its_own_file(mine):
    model = TrainConfig(data="tiny", code="")
    own = CleanConfig(trigger="stripe", code="plugins/stripe.py")
    assert attacks.unlearnt(part(attacks.Attack, backdoored.attack(own, model))).name == "stripe"
    theirs = CleanConfig(code="plugins/hope.py")
    model = TrainConfig(data="tiny", trigger="stripe", code="plugins/stripe.py")
    assert attacks.unlearnt(part(attacks.Attack, backdoored.attack(theirs, model))).name == "stripe"
