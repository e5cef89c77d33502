"""Every notebook under papermill at the tiny scale, as a user types it, and what it refuses."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch

from bdnb import models

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PAPERMILL = [str(Path(sys.executable).with_name("papermill")), "--no-progress-bar"]

pytestmark = pytest.mark.slow


def papermill(home: Path, name: str, *given: str, to: Path | None = None):
    source = str(REPOSITORY / "notebooks" / f"{name}.ipynb")
    output = [str(to)] if to else []
    return subprocess.run(
        [*PAPERMILL, source, *output, *given],
        env=os.environ | {"BDNB_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        cwd=home,
        timeout=900,
    )


def text_of(path: Path) -> str:
    cells = nbformat.read(path, as_version=4).cells
    outputs = [o for cell in cells if cell.cell_type == "code" for o in cell.outputs]
    return "\n".join(str(o.get("data", o.get("text", ""))) for o in outputs)


@pytest.mark.parametrize(
    ("name", "given", "shows"),
    [
        ("data", ["-p", "scale", "tiny"], "banana"),
        ("poison", ["-p", "scale", "tiny"], "svg"),
        ("train", ["-f", "{params}/tiny/train_mmcl_ssl.yaml"], "MMCL + SSL"),
        ("clean", ["-p", "scale", "tiny", "-p", "lr", "1e-5"], "1e-5"),
        ("clean", ["-f", "{params}/tiny/clean.yaml"], "train_mmcl_ssl"),
        ("ablations", ["-p", "scale", "tiny", "-p", "study", "shrink_perturb"], "C12"),
        ("other_models", ["-p", "scale", "tiny"], "With a ViT"),
        ("nonideal", ["-f", "{params}/tiny/nonideal.yaml"], "2 poisons left"),
        ("stopping", ["-f", "{params}/tiny/stopping.yaml"], "oracle: best accuracy"),
        ("summary", ["-p", "scale", "tiny"], "not decided"),
        ("regime", ["-p", "scale", "tiny"], "had both models a backdoor to clean"),
        ("effect", ["-p", "scale", "tiny", "-p", "scales", "tiny"], "criteria"),
        ("arena", ["-p", "scale", "tiny", "-p", "defence", "par"], "arXiv 2412.00727"),
        ("plan", ["-p", "scale", "tiny"], "checkpoints of"),
        ("performance", ["-p", "rows", "gone.jsonl"], "Nothing has been measured yet"),
        ("explore", ["-p", "scale", "tiny"], "Name a folder of yours"),
        ("howto", ["-p", "scale", "tiny", "-p", "pairs", "40"], "wise_ft"),
    ],
)
def test_a_notebook_runs_alone_and_makes_what_it_needs(tiny_home, tmp_path, name, given, shows):
    given = [word.format(params=tiny_home / "params") for word in given]
    done = papermill(tiny_home, name, *given, to=tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr[-2000:]
    assert shows in text_of(tmp_path / "out.ipynb")


def test_the_page_of_departures_shows_the_runs_that_are_recorded(tiny_home, tmp_path):
    made = papermill(tiny_home, "clean", "-f", str(tiny_home / "params" / "tiny" / "clean.yaml"))
    assert made.returncode == 0, made.stderr[-2000:]
    done = papermill(tiny_home, "fidelity", "-p", "scale", "tiny", to=tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "badnet: overflow" in text_of(tmp_path / "out.ipynb")


@pytest.mark.parametrize(
    ("kept", "attack"),
    [
        (lambda weights: weights, False),
        (lambda weights: {"model": {f"module.{k}": v for k, v in weights.items()}}, True),
    ],
    ids=["plain, attack unknown", "model with module., attack given"],
)
def test_a_checkpoint_from_elsewhere_is_cleaned_and_shown(tiny_home, tmp_path, kept, attack):
    path = tmp_path / "mine.pt"
    torch.save(kept(models.build("rn_test", seed=5).clip.state_dict()), path)
    given = {"scale": "tiny", "poisoned": str(path), "model": "rn_test", "data": "tiny"}
    if attack:
        given |= {"trigger": "badnet", "trigger_size": "8", "target": "banana"}
    words = [word for name, value in given.items() for word in ("-p", name, value)]
    done = papermill(tiny_home, "clean", *words, to=tmp_path / "out.ipynb")
    assert done.returncode == 0, done.stderr[-2000:]
    shown = text_of(tmp_path / "out.ipynb")
    assert "a checkpoint from elsewhere" in shown
    assert "trained from scratch" not in shown
    assert "pre-trained with" not in shown
    say = "give -p trigger, -p trigger_size and -p target"
    assert shown.count(say) == (0 if attack else 1)
    assert ("ASR not measured" in shown) is not attack
    assert ("application/vnd.vegalite" in shown) is attack
    assert ("None of the paper" in shown) is True


def test_the_page_on_speed_shows_the_rows_there_are(tiny_home, tmp_path, measured):
    done = papermill(tiny_home, "performance", "-p", "rows", str(measured), to=tmp_path / "o.ipynb")
    assert done.returncode == 0, done.stderr[-2000:]
    shown = text_of(tmp_path / "o.ipynb")
    assert "A training step is 4.0 times (laptop, fp32) as fast" in shown
    assert shown.count("'image/svg+xml'") == 2  # how fast, and how it grows


def test_without_an_output_path_the_notebook_goes_to_stdout(tiny_home):
    done = papermill(tiny_home, "clean", "-p", "scale", "tiny", "-p", "lr", "1e-5")
    assert done.returncode == 0, done.stderr[-2000:]
    nbformat.validate(nbformat.reads(done.stdout, as_version=4))


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("clean", ["-p", "learning_rate", "1"], "'learning_rate' is not a parameter"),
        ("clean", ["-p", "lr", "fast"], "lr='fast': expected a number"),
        ("clean", ["-p", "lr", "-1e-3"], "lr=-0.001: expected a number above 0"),
        ("clean", ["-p", "poisoned", "gone.safetensors"], "poisoned='gone.safetensors': no such"),
        ("clean", ["-p", "defence", "magic"], "defence='magic': unknown"),
        ("train", ["-p", "trigger", "sticker"], "trigger 'sticker': unknown"),
        ("train", ["-p", "model", "RN51"], "model='RN51': no such model"),
        ("ablations", ["-p", "study", "magic"], "study='magic': no such study; params/tiny/ has"),
        ("data", ["-p", "size", "3"], "'size' is not a parameter"),
        ("summary", ["-p", "scale", "huge"], "scale='huge': no such folder"),
        ("performance", ["-p", "file", "a"], "'file' is not a parameter"),
        ("explore", ["-p", "folders", "mine"], "'folders' is not a parameter"),
        ("arena", ["-p", "defence", "magic"], "defence='magic': unknown"),
        ("howto", ["-p", "rate", "1"], "'rate' is not a parameter"),
        ("howto", ["-p", "lr", "fast"], "lr='fast': expected a number"),
    ],
)
def test_a_bad_parameter_stops_the_first_cell_and_leaves_nothing(fresh, name, given, message):
    if "scale" not in given:
        given = [*given, "-p", "scale", "tiny"]
    (fresh / "data").unlink()
    done = papermill(fresh, name, *given, to=fresh / "out.ipynb")
    assert done.returncode != 0
    assert message in done.stderr
    assert not (fresh / "runs").exists()
    assert not (fresh / "data").exists()
    cells = nbformat.read(fresh / "out.ipynb", as_version=4).cells
    ran = [c for c in cells if c.cell_type == "code" and c.execution_count]
    assert sum("ConfigError" in str(cell.outputs) for cell in ran) == 1
    assert "ConfigError" in str(ran[-1].outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_holds_no_outputs_and_has_its_parameters_marked(path):
    cells = nbformat.read(path, as_version=4).cells
    assert not any(cell.get("outputs") for cell in cells)
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells) == 1
