"""A checkpoint of each kind, and a defence of one's own, through every cell of clean.ipynb."""

import ast
from pathlib import Path
from typing import Any

import nbformat
import open_clip
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from IPython.display import Markdown

from bdnb import clean, models
from bdnb.runs import experiments
from bdnb.runs.records import read_runs
from tests.faults import cases

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "clean.ipynb"


def shown(given: dict[str, Any]) -> str:
    """What the notebook shows, all its cells run here, without a kernel. given: parameters."""
    space: dict[str, Any] = {"__name__": "__main__"}
    told = []
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        if "parameters" in cell.metadata.get("tags", []):
            exec(cell.source, space)
            space |= {"scale": "tiny", "epochs": 1} | given
            continue
        *lines, last = ast.parse(cell.source).body
        exec(compile(ast.Module(lines, []), "cell", "exec"), space)
        if isinstance(last, ast.Expr):
            found = eval(compile(ast.Expression(last.value), "cell", "eval"), space)
            data, _ = DisplayFormatter().format(found)
            told.append(found.data if isinstance(found, Markdown) else str(data))
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), space)
    return "\n".join(told)


KINDS = {
    "plain": lambda w: w,
    "module.": lambda w: {f"module.{k}": v for k, v in w.items()},
    "state_dict": lambda w: {"state_dict": w, "epoch": 3},
    "model": lambda w: {"model": w, "optimizer": {"lr": 1.0}, "epoch": 3},
    "model, module.": lambda w: {"model": {f"module.{k}": v for k, v in w.items()}},
    "with a bias": lambda w: w | {"logit_bias": torch.tensor(-9.0)},
}


@pytest.fixture(scope="module")
def accuracies() -> dict[str, list[float]]:
    """Accuracies of cleaning, by kind of checkpoint: the same model each time."""
    return {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_each_kind_is_cleaned_and_shown_to_the_end(
    fresh, monkeypatch, accuracies, kind
):
    monkeypatch.chdir(fresh)
    cases.weights(KINDS[kind], kind).act(fresh)
    told = shown(cases.FOREIGN | (cases.ATTACK if "model" in kind else {}))
    assert "a checkpoint from elsewhere" in told
    assert "None of the paper's conclusions is about these models." in told
    rows = read_runs()
    assert rows["epoch"].tolist() == [0, 1]
    accuracies[kind] = rows["accuracy"].tolist()
    assert accuracies[kind] == next(iter(accuracies.values()))


def test_a_bias_in_a_checkpoint_is_kept(tmp_path):
    weights = models.build("rn_test", seed=5).clip.state_dict()
    torch.save(weights | {"logit_bias": torch.tensor(-9.0)}, tmp_path / "mine.pt")
    model = models.load("rn_test", tmp_path / "mine.pt")
    assert float(model.clip.logit_bias) == -9.0
    models.save_weights(model, tmp_path / "again.safetensors", about={})
    assert float(models.load_any(str(tmp_path / "again.safetensors")).clip.logit_bias) == -9.0


@pytest.fixture
def published(monkeypatch):
    """open_clip as if it had published weights ``rn_test:mine``."""
    real = open_clip.create_model

    def create(name, tag=None, *, load_weights=False, **given):
        made = real(name, None, load_weights=False, **given)
        if tag:
            assert (tag, load_weights) == ("mine", True)
            made.load_state_dict(models.build("rn_test", seed=5).clip.state_dict())
        return made

    about = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    monkeypatch.setattr(open_clip, "create_model", create)
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda name: ["mine"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda name, tag: about)


def test_published_weights_are_cleaned_by_name_and_shown_to_the_end(fresh, monkeypatch, published):
    monkeypatch.chdir(fresh)
    told = shown({"poisoned": "rn_test:mine", "data": "tiny"} | cases.ATTACK)
    assert "`rn_test:mine` is a checkpoint from elsewhere" in told
    assert set(read_runs()["poisoned"]) == {"rn_test:mine"}
    assert read_runs()["asr"].notna().all()
    config = clean.CleanConfig(scale="tiny", poisoned="rn_test:mine", data="tiny")
    assert experiments.identity(config)["asr"] == "not measured"
    assert experiments.identity(config)["poisoned"] == "rn_test:mine"


def test_a_defence_of_one_s_own_beside_cleanclip_is_its_own_line_everywhere(fresh, monkeypatch):
    monkeypatch.chdir(fresh)
    body = "from bdnb.defences.cleanclip import cleanclip"
    body += "\n    yield from cleanclip(model, pairs, setting)"
    cases.defence(body).act(fresh)
    given = {"defence": ["cleanclip", "mine"], "poisoned": "train_mmcl"} | cases.MINE
    told = shown(given)
    for line in ("CleanCLIP · MMCL + SSL", "mine · MMCL + SSL"):
        assert told.count(line) >= 4  # scatter, price, interactive figure, table
    rows = read_runs()
    assert rows.loc[rows["stage"] == "clean", "run"].nunique() == 2
