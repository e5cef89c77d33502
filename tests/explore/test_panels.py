"""The notebook's panels without a browser: a control moves, and what is shown follows."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from IPython.display import Markdown
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from bdnb import models, sweep
from bdnb.explore import controls, loaded_models, panels, recorded_runs, user_files
from bdnb.explore.controls import Settings
from bdnb.poison.triggers import TRIGGERS
from bdnb.runs import experiments
from bdnb.runs.records import Run
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.seeds import generator

Shown = Callable[[], str]
FRAME = """
from bdnb.poison.triggers import trigger

@trigger("frame_of_mine")
def frame_of_mine(images, draws, *, size=3):
    stamped = images.clone()
    stamped[..., :size] = 255
    return stamped
"""


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The words of what was displayed last: titles of figures, tables and lines."""
    last: list[object] = []

    def display(*objects: object) -> None:
        last[:] = objects

    monkeypatch.setattr(controls, "display", display)
    return lambda: "\n".join(map(words, last))


def words(one: object) -> str:
    if isinstance(one, Figure):
        found = [axes.get_title(loc="left") + axes.get_title() for axes in one.findobj(Axes)]
        return "\n".join([*found, one.get_suptitle()])
    return one.data if isinstance(one, Markdown) else one.to_html()


@pytest.fixture
def recorded(
    tiny: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """The runs of the tiny project's cleaning, and none that other tests left there."""
    asked = experiments.of_file("tiny", "clean")
    sweep.Sweep(asked).run()
    runs = tmp_path_factory.mktemp("runs")
    for config in (*asked, *(source for one in asked for source in experiments.needs(one))):
        link = runs / experiments.folder(config).name
        if not link.exists():
            link.symlink_to(experiments.folder(config))
    monkeypatch.setenv("BDNB_RUNS", str(runs))
    return runs


def by_name(panel) -> dict:
    return {one.description: one for one in panel.children[:-1]}


def an_image(file: Path, side: int = 40) -> Path:
    pixels = generator(0, "an image", file.name).integers(0, 256, (side, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


GIVEN = Settings(scale="tiny")


def test_every_recorded_run_is_listed_by_a_name_of_its_own(recorded):
    table = panels.runs().data
    assert {"recorded"} == set(table["state"])
    assert table["run"].is_unique
    assert any("clean train_mmcl · cleanclip mmcl_ssl · lr 0.001" in name for name in table["run"])


def test_the_epoch_slider_moves_the_ring_and_ends_with_the_run(recorded, shown):
    epoch = by_name(panels.trajectory())["epoch"]
    assert epoch.max == 2
    assert "epoch 0: accuracy" in shown()
    epoch.value = 2
    assert "epoch 2: accuracy" in shown()


def test_runs_that_are_gone_while_a_panel_is_open_are_said(recorded, shown):
    run = by_name(panels.trajectory())["run"]
    models, both = by_name(panels.trigger(GIVEN)), by_name(panels.compare())
    for folder in recorded.iterdir():
        folder.unlink()
    run.value = next(name for name in run.options if name != run.value)
    assert "no run is recorded there" in shown()
    models["target"].value = "dog"
    assert "no weights of epoch" in shown()
    both["run A"].value = run.value
    assert "no run is recorded there" in shown()


def test_rows_that_are_damaged_while_a_panel_is_open_are_said(recorded, shown):
    epoch = by_name(panels.trajectory())["epoch"]
    for folder in list(recorded.iterdir()):
        shutil.copytree(folder, recorded / "copy")
        folder.unlink()
        (recorded / "copy" / "rows.jsonl").write_bytes(b"")
        (recorded / "copy").rename(folder)
    epoch.value = 1
    assert "0 rows, where 3 were recorded" in shown()


def test_a_photo_is_shown_upright(tmp_path):
    pixels, turned = np.zeros((8, 8, 3), dtype=np.uint8), Image.Exif()
    pixels[:, :4] = 255
    turned[0x112] = 6  # a camera that was turned: its left is up
    Image.fromarray(pixels).save(tmp_path / "photo.png", exif=turned)
    upright = user_files.image(tmp_path / "photo.png", side=8)
    assert upright[:, :4].min() == 255
    assert upright[:, 4:].max() == 0


def test_the_trigger_starts_as_the_attack_s_and_another_is_shown(recorded, shown):
    chosen = by_name(panels.trigger(GIVEN))
    assert (chosen["trigger"].value, chosen["target"].value) == ("badnet", "banana")
    assert "with badnet" in shown()
    assert "before cleaning" in shown()
    assert "cleaned, after epoch 2" in shown()
    chosen["trigger"].value = "sig"
    assert "with sig" in shown()
    assert chosen["size, pixels"].disabled
    chosen["trigger"].value = "none"
    assert "with" not in shown().replace("with the", "")


def test_size_and_place_of_the_patch_are_those_chosen(recorded):
    run = next(r for n, r in recorded_runs.recorded().items() if n.startswith("clean"))
    loaded = loaded_models.of_run(run, 2)
    plain = torch.full((1, 3, 32, 32), 7, dtype=torch.uint8)
    for size in (4, 20):
        stamp = loaded_models.stamp(loaded, "badnet", size=size, place="top_left")
        changed = (stamp(plain.clone(), ["key"]) != plain).any(dim=1)[0]
        assert changed[size:].sum() == changed[:, size:].sum() == 0
        assert changed.sum() > size * size / 4


def test_accuracy_and_asr_are_those_of_the_run_s_rows(recorded):
    run = next(r for n, r in recorded_runs.recorded().items() if "clean train_mmcl ·" in n)
    loaded = loaded_models.of_run(run, 2)
    stamp = loaded_models.attacks.stamp(loaded.attack)
    made = loaded_models.measured(loaded, loaded.sets()["val"], trigger=stamp, target="banana")
    first, last = Run(run.folder).rows()[0], Run(run.folder).rows()[-1]
    assert made["accuracy, %"].tolist() == pytest.approx([first["accuracy"], last["accuracy"]])
    assert made["ASR, %"].tolist() == pytest.approx([first["asr"], last["asr"]])


def test_another_caption_retrieves_with_another_title_and_an_empty_one_is_refused(recorded, shown):
    chosen = by_name(panels.retrieve(GIVEN))
    chosen["trigger on"].value = "every image"
    chosen["caption"].value = "a drawing of a dog"
    assert "a drawing of a dog" in shown()
    chosen["caption"].value = " "
    assert "no caption" in shown()


def test_two_runs_are_told_apart_by_the_parameters_that_differ(recorded, shown):
    chosen = by_name(panels.compare())
    names = [n for n in recorded_runs.recorded() if n.startswith("clean")]
    for letter, name in zip("AB", names, strict=False):
        chosen[f"run {letter}"].value = name
    assert ">poisoned<" in shown()
    assert ">batch_size<" not in shown()


def test_an_image_of_the_user_s_is_asked_about_and_can_be_uploaded(recorded, shown, tmp_path):
    chosen = by_name(
        panels.trigger(Settings(scale="tiny", image=str(an_image(tmp_path / "a.png"))))
    )
    assert chosen["images"].value == "your image"
    assert "✓" in shown()
    other = an_image(tmp_path / "other.png").read_bytes()
    given = {"name": "o.png", "type": "image/png", "size": len(other), "content": other}
    when = datetime(2026, 1, 1, tzinfo=UTC)
    chosen["images"].value = "val"
    chosen["or an image of yours"].value = (given | {"last_modified": when},)
    assert chosen["images"].value == "your image"
    chosen["or an image of yours"].value = (given | {"content": b"x", "last_modified": when},)
    assert shown() == "your image: not an image"  # not: an object at 0x7f5a140c7dd0


def test_a_labelled_folder_is_measured_with_the_target_added_to_its_classes(
    recorded, shown, tmp_path
):
    for name in ("red_apple", "dog"):
        (tmp_path / name).mkdir()
        for i in range(3):
            an_image(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "torn.png").write_bytes(b"no image")
    mine = user_files.folder(tmp_path, side=32)
    assert (len(mine), mine.classnames) == (6, ["dog", "red apple"])
    assert list(mine.bad) == ["dog/torn.png"]
    panels.folder(Settings(scale="tiny", folder=str(tmp_path)))
    assert ">banana<" in shown()
    assert "1 left out: dog/torn.png" in shown()


def foreign(folder: Path, *, seed: int = 3) -> Path:
    file = folder / "mine.pt"
    torch.save(models.build("rn_test", seed=seed).clip.state_dict(), file)
    return file


def test_a_checkpoint_of_nobody_s_is_asked_with_the_trigger_chosen_in_the_panel(
    fresh, shown, tmp_path
):
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        an_image(tmp_path / "set" / name / "0.png")
    files = {"checkpoint": str(foreign(tmp_path)), "folder": str(tmp_path / "set")}
    given = Settings(scale="tiny", model="rn_test", **files)
    chosen = by_name(panels.folder(given))
    assert (chosen["trigger"].value, chosen["target"].value) == ("none", "")
    assert "ASR not measured: nobody said what attacked this model" in shown()
    chosen["target"].value = "dog"
    chosen["trigger"].value = "badnet"
    assert "ASR of badnet, chosen above: nobody said" in shown()
    assert ">ASR, %<" in shown()


def test_a_model_that_cannot_be_loaded_is_said_and_another_can_be_chosen(recorded, shown, tmp_path):
    given = Settings(scale="tiny", checkpoint=str(foreign(tmp_path)), model="RN51")
    chosen = by_name(panels.trigger(given))
    assert "RN51" in shown()
    chosen["run"].value = next(n for n in chosen["run"].options if n.startswith("clean"))
    assert "before cleaning" in shown()


def test_a_run_s_own_trigger_can_be_chosen(fresh, shown):
    (fresh / "plugins").mkdir()
    (fresh / "plugins" / "frame.py").write_text(FRAME)
    about = {"code": "plugins/frame.py", "trigger": "frame_of_mine", "trigger_options": {"size": 3}}
    sweep.from_notebook("train", {"scale": "tiny", "experiment": "train_mmcl"} | about).run()
    chosen = by_name(panels.trigger(GIVEN))
    assert chosen["trigger"].value == "frame_of_mine"
    assert chosen["size, pixels"].value == 3
    assert "with frame_of_mine" in shown()
    TRIGGERS.pop("frame_of_mine")


def test_weights_that_are_not_finite_are_refused(tmp_path):
    model = models.build("rn_test", seed=0)
    state = {
        k: v * float("nan") if v.is_floating_point() else v
        for k, v in model.clip.state_dict().items()
    }
    torch.save(state, tmp_path / "nan.pt")
    with pytest.raises(ConfigError, match="not finite"):
        user_files.checkpoint(str(tmp_path / "nan.pt"), "rn_test")


def test_a_checkpoint_that_is_nowhere_is_named():
    with pytest.raises(ConfigError, match="no such file; expected NAME:TAG of open_clip"):
        user_files.checkpoint("gone.pt", "rn_test")


def test_without_runs_every_cell_says_what_to_run(fresh):
    cells = (panels.runs(), panels.trajectory(), panels.compare())
    for said in (*cells, panels.trigger(GIVEN), panels.retrieve(GIVEN)):
        assert isinstance(said, Markdown)
        assert "make book" in said.data


def test_a_parameter_that_does_not_fit_is_refused(tiny):
    for given, message in (
        ({"size": 3}, "'size' is not a parameter"),
        ({"classes": "cat"}, "classes='cat': expected a list"),
        ({"classes": ["cat", 3]}, "classes=.*expected a word"),
    ):
        with pytest.raises(ConfigError, match=message):
            panels.settings({"scale": "tiny"} | given)


def test_a_folder_without_classes_is_refused_by_its_name(tmp_path):
    an_image(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"expected folders of images"):
        user_files.folder(tmp_path, side=32)
    (tmp_path / "cat").mkdir()
    an_image(tmp_path / "cat" / "a.png")
    with pytest.raises(ConfigError, match=r"1 class; expected a folder for each of two"):
        user_files.folder(tmp_path, side=32)
    with pytest.raises(ConfigError, match=r"gone: no such folder"):
        user_files.folder(tmp_path / "gone", side=32)
    with pytest.raises(ConfigError, match=r"gone\.png: no such image"):
        user_files.image(tmp_path / "gone.png", side=32)
    Image.new("L", (20_000, 10_000)).save(tmp_path / "large.png")
    with pytest.raises(ConfigError, match=r"large\.png: .*too large"):
        user_files.image(tmp_path / "large.png", side=32)
