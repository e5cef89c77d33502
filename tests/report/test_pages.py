import shutil

import pandas as pd
import pytest

from bdnb.data import datasets
from bdnb.report import data_pages, pages
from bdnb.runtime.errors import ConfigError


def rows(study: str) -> pd.DataFrame:
    line = {"run": "clean-a", "seed": 0, "poisoned": "train_mmcl", "loss": "mmcl_ssl"}
    values = [(0, 80.0, 95.0), (1, 70.0, 4.0), (2, 60.0, 3.0)]
    frame = pd.DataFrame(values, columns=["epoch", "accuracy", "asr"])
    about = {
        "defence": "cleanclip",
        "study": study,
        "device": "cpu",
        "commit": "abc",
        "finished": "2026-11-23",
    }
    return frame.assign(**line, **about)


def test_a_run_that_two_studies_share_is_counted_once():
    twice = pd.concat([rows("main"), rows("stopping")], ignore_index=True)
    shown = pages.best_models(twice).data
    assert shown["best accuracy at ASR ≤ 5 %"].tolist() == ["70.0"]
    assert shown["the authors' points, %"].tolist() == pytest.approx([92.0], abs=0.1)
    assert "n = 1 run, 3 rows; seed 0;" in pages.provenance(twice).data


def test_a_defence_of_one_s_own_has_a_line_of_its_own_without_the_paper_s_numbers():
    own = rows("main").assign(run="clean-b", defence="mine", accuracy=[80.0, 20.0, 10.0])
    both = pd.concat([rows("main"), own], ignore_index=True)
    shown = pages.best_models(both).data
    assert shown["cleaned with"].tolist() == ["CleanCLIP · MMCL + SSL", "mine · MMCL + SSL"]
    assert shown["best accuracy at ASR ≤ 5 %"].tolist() == ["70.0", "20.0"]
    for column in ("the authors' points, %", "paper's best accuracy"):
        assert shown[column].notna().tolist() == [True, False]
    alone = pages.best_models(both.assign(asr=float("nan"))).data
    assert alone["best accuracy after, %"].tolist() == [70.0, 20.0]


def test_seeds_whose_model_was_trained_again_are_named():
    about = {"scale": "a", "from": "{'run': 'train-1', 'epoch': 3}"}
    first = rows("main").assign(**about)
    again = first.assign(run="clean-b", **{"from": "{'run': 'train-2', 'epoch': 3}"})
    other = again.assign(run="clean-c", seed=1)
    cleaned = again.assign(run="clean-d", cleaned_experiment="clean")
    assert "more than once" not in pages.provenance(first, other, cleaned).data
    told = pages.provenance(first, again, other).data
    assert "Models of seed 0 were trained more than once, alike" in told


def test_seeds_whose_models_were_not_run_in_one_precision_are_named():
    fp32 = rows("main").assign(scale="a", experiment="clean", device="cpu, fp32")
    bf16 = {"poisoned": "train_mmcl_ssl", "device": "cpu, bf16"}
    other = fp32.assign(run="clean-b", **bf16)
    again = other.assign(run="clean-c", seed=1), fp32.assign(run="clean-d", seed=1)
    told = pages.provenance(fp32, other, *again).data
    assert "Device or precision is not the same for all models of seeds 0, 1" in told
    same = pages.provenance(fp32, other.assign(device="cpu, fp32")).data
    assert "Device or precision" not in same
    assert "Device or precision" not in pages.provenance(fp32, other.assign(seed=1)).data


def test_a_page_says_what_makes_its_rows_again():
    again = {scale: pages.provenance(rows("main").assign(scale=scale)).data for scale in "ab"}
    assert all(f"--config scale={scale}`" in said for scale, said in again.items())
    assert "`make book SCALE=laptop`" in pages.provenance(rows("main").assign(scale="laptop")).data


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scale": None}, r"scale=None: expected a word"),
        ({"scales": "tiny, quick"}, r"scale='tiny,': expected a name"),
        ({"scales": "tiny huge"}, r"scale='huge': no such folder"),
        ({"sclae": "tiny"}, r"'sclae' is not a parameter of this notebook: scale, scales"),
    ],
)
def test_a_page_that_only_reads_refuses_what_it_cannot_read(tiny, given, said):
    with pytest.raises(ConfigError, match=said):
        pages.only({"scale": "tiny", "scales": "tiny"} | given, "scale", "scales")


def test_no_rows_are_said_to_be_none():
    assert "Nothing is recorded" in pages.best_models(pd.DataFrame()).data
    assert "Nothing is recorded" in pages.provenance(pd.DataFrame()).data


def test_a_set_from_elsewhere_is_counted_by_what_img2dataset_wrote(fresh, tmp_path):
    made = datasets.dataset("tiny")
    web = tmp_path / "web"
    for name in ("train", "clean", "val"):
        shutil.copytree(made.folder / name, web / name)
    other = datasets.Dataset(web)
    theirs, ours = (data_pages.holds(one).data.set_index("part") for one in (made, other))
    assert ours.loc[["train", "clean", "classes"]].equals(theirs.loc[["train", "clean", "classes"]])
    assert "no labelled set `unseen`" in data_pages.labelled(other, "unseen").data
