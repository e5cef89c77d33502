"""``params/paper`` against Appendix D of the paper's text, where that is at hand."""

import re
from pathlib import Path

import open_clip
import pytest

from bdnb import models
from bdnb.config import parameters
from bdnb.runs import experiments

REPOSITORY = Path(__file__).parents[2]
PAPER = REPOSITORY.parent / "shared" / "paper" / "paper.txt"

MMCL, BOTH = "train_mmcl", "train_mmcl_ssl"
# Section -> our file, the poisoned models, and further values that its runs have in common.
SECTIONS = {
    1: ("clean_cc3m", {"train_cc3m_mmcl"}),
    2: ("clean_cc3m", {"train_cc3m_mmcl_ssl"}),
    3: ("clean", {MMCL}),
    4: ("clean", {BOTH}),
    5: ("clean_finetune", {"train_finetune_mmcl"}),
    6: ("clean_finetune", {"train_finetune_mmcl_ssl"}),
    7: ("clean_label", {"train_label_mmcl"}),
    8: ("clean_label", {"train_label_mmcl_ssl"}),
    9: ("nonideal_cc3m", {"train_cc3m_mmcl", "train_cc3m_mmcl_ssl"}),
    10: ("nonideal", {MMCL, BOTH}),
    11: ("ablations_deep_cluster", {BOTH}),
    12: ("ablations_heavy_regularisation", {BOTH}),
    13: ("ablations_shrink_perturb", {BOTH}),
    14: ("ablations_twice_data", {BOTH}),
    15: ("ablations_more_epochs", {BOTH}),
    16: ("ablations_ssl_weight", {BOTH}),
}
OPTIONS = {
    11: {"weight": "Deep Clustering Loss Weight"},
    12: {"weight": "weight (9 values)"},
    13: {"shrink": "Shrink λ", "perturb": "Perturb p"},
}


@pytest.fixture(autouse=True)
def repository(monkeypatch):
    monkeypatch.setenv("BDNB_HOME", str(REPOSITORY))


def appendix() -> dict[int, list[str]]:
    """The lines of each section D.1 to D.16."""
    text = PAPER.read_text(encoding="utf-8")
    text = text[text.index("\nAppendix D ") : text.index("\nAppendix E ")]
    parts = re.split(r"\nD\.(\d+) ", text)
    return {int(n): body.splitlines() for n, body in zip(parts[1::2], parts[2::2], strict=True)}


def values(lines: list[str], name: str) -> set[float]:
    """The numbers that the appendix gives for a name, each once."""
    (line,) = [line for line in lines if name in line]
    listed = re.findall(r"\{([^{}]*)\}", line)
    given = listed[-1] if listed else line.rpartition(":")[2]
    if "Size" in name:  # written the Indian way: 1,00,000
        given = given.replace(",", "")
    return {float(number) for number in given.split(",")}


def grid(lines: list[str], name: str, default: float = 1.0) -> set[float]:
    return values(lines, name) if any(name in line for line in lines) else {default}


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not there")
@pytest.mark.parametrize("section", SECTIONS, ids=lambda n: f"D.{n}")
def test_a_grid_of_the_paper_is_the_appendix_value_by_value(section):
    name, poisoned = SECTIONS[section]
    lines = appendix()[section]
    asked = experiments.of_file("paper", name)
    assert {run.poisoned for run in asked} >= poisoned
    mine = [run for run in asked if run.poisoned in poisoned]
    cleaned = [run for run in mine if run.defence != "screen"]
    assert {run.lr for run in cleaned} == values(lines, "Learning rates")
    assert {run.epochs for run in cleaned} == values(lines, "Cleaning Epochs")
    assert {run.pairs for run in mine} == values(lines, "Size of the Cleaning Dataset")
    assert {run.mmcl_weight for run in mine} == grid(lines, "MMCL weight")
    assert {run.ssl_weight for run in mine} == grid(lines, "SSL weight")
    for option, words in OPTIONS.get(section, {}).items():
        assert {r.options[option] for r in mine if option in r.options} == values(lines, words)
    assert f"D.{section}" in (REPOSITORY / "params" / "paper" / f"{name}.yaml").read_text()


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's text is not there")
def test_every_section_of_the_appendix_has_its_file():
    assert set(appendix()) == set(SECTIONS)


def test_the_grids_are_whole_products():
    runs = {name: len(asked) for name, asked in experiments.of_scale("paper").items()}
    assert runs["ablations_heavy_regularisation"] == 3 * 9 * 8
    assert runs["ablations_deep_cluster"] == 2 * 8 * 9
    assert runs["ablations_shrink_perturb"] == 17 * 15 + 9
    assert runs["nonideal"] == 2 * 2 * 17


def test_the_three_scales_have_the_same_experiments():
    names = {}
    for scale in ("quick", "laptop", "paper"):
        files = (REPOSITORY / "params" / scale).glob("*.yaml")
        names[scale] = {path.stem for path in files}
    only_paper = {name for name in names["paper"] if "cc3m" in name}
    # At paper scale fine-tuning starts from OpenAI's weights instead of a model made here.
    assert names["quick"] - {"train_clean"} == names["paper"] - only_paper
    # The map asks for the retraining ratio of laptop's settings.
    assert names["laptop"] == names["quick"] | {"clean_retrain"}


def test_the_gpu_scale_is_the_headline_on_rn50_at_half_the_width():
    runs = experiments.of_scale("gpu")
    assert runs.keys() == {"train_mmcl", "train_mmcl_ssl", "clean"}
    config = open_clip.get_model_config("RN50")
    half = open_clip.get_model_config(models.check_name(runs["train_mmcl"][0].model))
    assert half["vision_cfg"]["layers"] == config["vision_cfg"]["layers"]
    assert 2 * half["vision_cfg"]["width"] == config["vision_cfg"]["width"]
    assert 2 * half["text_cfg"]["width"] == config["text_cfg"]["width"]
    assert len({asked[0].data for name, asked in runs.items() if name != "clean"}) == 1


def test_batches_of_the_paper_are_those_of_its_eight_gpus():
    weak = parameters.load("paper", "train_mmcl")["batch_size"]
    strong = parameters.load("paper", "train_mmcl_ssl")["batch_size"]
    assert (weak, strong) == (8 * 256, 8 * 128)
