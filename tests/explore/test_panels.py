"""The desk's widgets without a browser: a control moves, and what is shown follows."""

import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.display import Markdown
from PIL import Image

from bdnb import models, sweep
from bdnb.explore import loaded_models, panels, recorded_runs, user_files
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator


@pytest.fixture
def desk(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> panels.Desk:
    """The desk of the tiny project with its cleaning runs, and none that other tests left there."""
    asked = experiments.of_file("tiny", "clean")
    sweep.Sweep(asked).run()
    runs = tmp_path_factory.mktemp("runs")
    for config in (*asked, *(source for one in asked for source in experiments.needs(one))):
        link = runs / experiments.folder(config).name
        if not link.exists():
            link.symlink_to(experiments.folder(config))
    monkeypatch.setenv("BDNB_RUNS", str(runs))
    return panels.Desk(scale="tiny")


def shown(panel) -> str:
    return panel.children[-1].value


def controls(panel) -> dict:
    return {one.description: one for one in panel.children[:-1]}


def alt(panel) -> str:
    return re.search('alt="([^"]*)"', shown(panel))[1]


def a_picture(file: Path, side: int = 40) -> Path:
    pixels = generator(0, "a picture", file.name).integers(0, 256, (side, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def test_every_recorded_run_is_listed_by_a_name_of_its_own(desk):
    table = desk.runs().data
    assert {"recorded"} == set(table["state"])
    assert table["run"].is_unique
    assert any("clean train_mmcl · cleanclip mmcl_ssl · lr 0.001" in name for name in table["run"])


def test_the_epoch_slider_moves_the_ring_and_ends_with_the_run(desk):
    panel = desk.trajectory()
    epoch = controls(panel)["epoch"]
    assert epoch.max == 2
    before = shown(panel)
    epoch.value = 2
    assert shown(panel) != before
    assert "epoch 2 ringed" in alt(panel)


def test_a_trigger_larger_or_elsewhere_changes_the_picture_and_the_answer_names_both_models(desk):
    panel = desk.look()
    seen = [shown(panel)]
    for name, value in (("size, pixels", 20), ("place", "middle"), ("trigger", "sig")):
        controls(panel)[name].value = value
        seen.append(shown(panel))
    assert len(set(seen)) == 4
    assert controls(panel)["size, pixels"].disabled
    assert "poisoned, before cleaning" in alt(panel)
    assert "cleaned, after epoch 2" in alt(panel)


def test_the_answers_are_those_that_accuracy_is_counted_with(desk):
    run = next(r for n, r in recorded_runs.recorded("clean").items() if "train_mmcl ·" in n)
    subject = loaded_models.of_run(run, 2)
    found = loaded_models.measured(subject, subject.sets()["val"]).set_index("model")
    row = Run(run.folder).rows()[-1]
    line = found.loc["cleaned, after epoch 2"]
    assert line["accuracy, %"] == pytest.approx(row["accuracy"])
    assert line["ASR, %"] == pytest.approx(row["asr"])
    before = found.loc["poisoned, before cleaning"]
    assert before["accuracy, %"] == pytest.approx(Run(run.folder).rows()[0]["accuracy"])


def test_another_caption_retrieves_with_another_title_and_an_empty_one_is_refused(desk):
    panel = desk.retrieve()
    controls(panel)["trigger on"].value = "every image"
    controls(panel)["caption"].value = "a drawing of a dog"
    assert "a drawing of a dog" in alt(panel)
    controls(panel)["caption"].value = " "
    assert "no caption" in shown(panel)


def test_two_runs_are_told_apart_by_the_parameters_that_differ(desk):
    panel = desk.compare()
    names = [n for n in recorded_runs.recorded() if n.startswith("clean")]
    for letter, name in zip("AB", names, strict=False):
        controls(panel)[f"run {letter}"].value = name
    assert "<td>poisoned</td>" in shown(panel)
    assert "<td>batch_size</td>" not in shown(panel)


def test_a_picture_of_one_s_own_is_asked_about_and_can_be_uploaded(desk, tmp_path):
    desk.image = str(a_picture(tmp_path / "mine.png"))
    panel = desk.look()
    assert controls(panel)["images"].value == "your picture"
    before = shown(panel)
    other = a_picture(tmp_path / "other.png").read_bytes()
    given = {"name": "o.png", "type": "image/png", "size": len(other), "content": other}
    when = datetime(2026, 1, 1, tzinfo=UTC)
    controls(panel)["or a picture of yours"].value = (given | {"last_modified": when},)
    assert shown(panel) != before


def test_a_labelled_folder_is_measured_with_the_target_added_to_its_classes(desk, tmp_path):
    for name in ("red_apple", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            a_picture(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "torn.png").write_bytes(b"no image")
    mine = user_files.folder(tmp_path, side=32)
    assert (len(mine), mine.classnames) == (6, ["dog", "red apple"])
    assert list(mine.bad) == ["dog/torn.png"]
    desk.folder = str(tmp_path)
    text = shown(desk.own_folder())
    assert "<td>3</td>" in text  # classes, banana among them
    assert "1 left out: dog/torn.png" in text


def test_a_checkpoint_of_one_s_own_is_questioned_beside_no_run(fresh, tmp_path):
    file = tmp_path / "mine.pt"
    torch.save(models.build("rn_test", seed=3).clip.state_dict(), file)
    desk = panels.Desk(scale="tiny", checkpoint=str(file), model="rn_test")
    assert f"yours: {file}" in alt(desk.look())
    desk.model = "RN51"
    assert "model='RN51': no such model" in desk.look().data


def test_a_checkpoint_that_is_nowhere_is_named():
    with pytest.raises(ConfigError, match="expected NAME:TAG of open_clip"):
        user_files.checkpoint("gone.pt", "rn_test")


def test_without_runs_every_cell_says_what_to_run(fresh):
    desk = panels.Desk(scale="tiny")
    for cell in (desk.runs, desk.trajectory, desk.look, desk.retrieve, desk.compare):
        said = cell()
        assert isinstance(said, Markdown)
        assert "make book" in said.data


def test_a_parameter_that_the_desk_does_not_have_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"'size' is not a parameter; it takes: scale, image"):
        panels.open_desk({"scale": "tiny", "size": 3})
    with pytest.raises(ConfigError, match=r"classes='cat': expected a list"):
        panels.open_desk({"scale": "tiny", "classes": "cat"})


def test_a_folder_without_classes_is_refused_by_its_name(tmp_path):
    a_picture(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"0 folders with 0 images .*expected two or more"):
        user_files.folder(tmp_path, side=32)
    with pytest.raises(ConfigError, match=r"gone: no such folder"):
        user_files.folder(tmp_path / "gone", side=32)
    with pytest.raises(ConfigError, match=r"gone\.png: no such picture"):
        user_files.picture(tmp_path / "gone.png", side=32)
