"""The references of tests/benchmarks give the package's results: what is timed is the same work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bdnb.data import datasets
from bdnb.data.augment.second_views import ImageViews
from tests.benchmarks import reference, rows
from tests.benchmarks.cases import CASES, Bench

REPOSITORY = Path(__file__).parents[2]


@contextmanager
def ready(case: str, home: Path, precision: str) -> Iterator[Bench]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BDNB_HOME", str(home))
        yield Bench(CASES[case], home, REPOSITORY / "data" / ".npm", {"precision": precision})
        datasets._pairs.cache_clear()
        datasets._labelled.cache_clear()


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    with ready("smoke", tmp_path_factory.mktemp("bench"), "no") as made:
        yield made


def once(bench: Bench, row: str) -> dict:
    return {way: ready() for way, ready in rows.ROWS[row](bench).items()}


@pytest.mark.parametrize("row", ["step MMCL", "step MMCL+SSL"])
def test_a_step_of_each_reference_has_the_package_s_loss(bench, row):
    losses = {way: float(work()) for way, work in once(bench, row).items()}
    assert len(losses) == (2 if "SSL" in row else 3)
    for loss in losses.values():
        assert loss == pytest.approx(losses["bdnb"], rel=1e-5)


@pytest.mark.parametrize("row", ["step MMCL", "step MMCL+SSL"])
def test_in_bf16_the_laptop_model_s_loss_is_within_a_thousandth(tmp_path, row):
    with ready("laptop", tmp_path, "bf16") as bench:
        losses = {way: float(work()) for way, work in once(bench, row).items()}
    assert losses["bdnb"] == pytest.approx(losses["authors"], rel=1e-3)
    assert losses["bdnb"] != losses["authors"]


def test_a_cleaning_epoch_of_the_reference_has_the_package_s_loss(bench, monkeypatch):
    views = ImageViews(0)

    def same_view(image: Image.Image, epoch: int, key: str) -> Image.Image:
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None]
        return Image.fromarray(views(pixels, epoch, [key])[0].permute(1, 2, 0).numpy())

    plain = rows.plain_pairs
    monkeypatch.setattr(rows, "plain_pairs", lambda *a, **k: plain(*a, **k, image_view=same_view))
    works = once(bench, "cleaning epoch")
    assert works["authors"]() == pytest.approx(works["bdnb"](), rel=1e-5)


def test_the_references_evaluation_counts_what_the_package_s_counts(bench):
    values = {way: work() for way, work in once(bench, "evaluation").items()}
    for found in (values["authors"], values["open_clip"]):
        assert found == pytest.approx({name: values["bdnb"][name] for name in found})
        assert set(found) == {"accuracy", "unseen_accuracy", "asr"}


def test_every_image_gets_the_package_s_class_from_the_reference(bench):
    from bdnb.evaluate import zero_shot
    from bdnb.evaluate.benchmark import evaluating, folded, image_features, text_features

    model, clip, labelled = bench.model(), bench.clip().eval(), bench.data.labelled(bench.side)[0]
    with evaluating(model), folded(model):
        head = torch.nn.functional.normalize(
            torch.stack([text_features(model, own).mean(dim=0) for own in bench.prompts]), dim=-1
        )
        ours = zero_shot.predictions(image_features(model, labelled.images), head)[:, 0]
    with torch.no_grad():
        plain_head = reference.authors_head(clip, bench.tokenizer, bench.prompts)
        found = reference.predictions(clip, plain_head, bench.files("val"), bench.side, stamp=None)
    torch.testing.assert_close(plain_head, head.clone(), rtol=1e-5, atol=1e-6)
    assert found.tolist() == ours.tolist()


def test_a_sweep_makes_a_run_for_each_rate_in_both(bench, monkeypatch):
    monkeypatch.setattr(rows, "RATES", (1e-5, 1e-4))
    found = {way: work() for way, work in once(bench, "sweep of 8").items()}
    assert len(found["bdnb"]) == len(found["authors"]) == 2
