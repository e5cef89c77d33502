import numpy as np
import open_clip
import pytest
import torch
from clip_benchmark.metrics import zeroshot_classification
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from bdnb import models
from bdnb.data.labelled import LabelledSet
from bdnb.evaluate import benchmark, zero_shot
from bdnb.evaluate.benchmark import Benchmark
from bdnb.losses import NonFiniteLoss
from bdnb.runtime.errors import ConfigError

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


def one_hot(*classes: int, width: int = 4) -> torch.Tensor:
    return torch.eye(width)[list(classes)]


def test_accuracy_is_the_hand_counted_confusion():
    """Six images, four classes; scores written out so that every rank can be counted by eye."""
    scores = torch.tensor(
        [
            [0.9, 0.3, 0.2, 0.1],  # label 0, first
            [0.4, 0.8, 0.2, 0.1],  # label 0, second
            [0.1, 0.9, 0.2, 0.3],  # label 1, first
            [0.8, 0.1, 0.6, 0.7],  # label 2, third
            [0.6, 0.7, 0.1, 0.5],  # label 2, fourth
            [0.1, 0.2, 0.3, 0.9],  # label 3, first
        ]
    )
    labels = torch.tensor([0, 0, 1, 2, 2, 3])
    found = dict(zero_shot.accuracy(scores, labels, torch.eye(4), topk=(1, 2, 3)))
    assert found == {
        "accuracy": pytest.approx(100 * 3 / 6),
        "accuracy_top2": pytest.approx(100 * 4 / 6),
        "accuracy_top3": pytest.approx(100 * 5 / 6),
    }


def test_top_k_with_fewer_classes_than_k_counts_them_all():
    found = dict(zero_shot.accuracy(one_hot(1, 2), torch.tensor([0, 2]), torch.eye(4)))
    assert found == {"accuracy": 50.0, "accuracy_top5": 100.0, "accuracy_top10": 100.0}


def test_classes_are_ranked_in_float32_where_a_run_measures_in_bf16():
    draws = torch.Generator().manual_seed(0)
    features = F.normalize(torch.randn(200, 16, generator=draws), dim=-1)
    head = F.normalize(torch.ones(16) + 0.05 * torch.randn(50, 16, generator=draws), dim=-1)
    scores = features.double() @ head.double().T
    with torch.autocast("cpu", torch.bfloat16):
        found = zero_shot.predictions(features, head, k=3)
    assert torch.equal(found, scores.topk(3, dim=1).indices)


def test_accuracy_does_not_depend_on_the_chunk(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    features, head = (F.normalize(torch.randn(n, 6, generator=draws), dim=-1) for n in (50, 12))
    labels = torch.arange(50) % 12
    whole = list(zero_shot.accuracy(features, labels, head))
    monkeypatch.setattr(zero_shot, "ROWS", 7)
    assert list(zero_shot.accuracy(features, labels, head)) == whole


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), "no images"),
        (torch.eye(4), torch.tensor([0, 1]), r"labels of shape \(2,\) for 4 images"),
        (torch.eye(4), torch.tensor([0, 1, 2, 4]), r"0\.\.4: expected 0\.\.3"),
        (torch.eye(4), torch.tensor([-1, 1, 2, 3]), r"-1\.\.3"),
        (torch.zeros(4, 3), torch.arange(4), "widths 3 and 4"),
    ],
)
def test_what_does_not_fit_is_refused(features, labels, message):
    with pytest.raises(ConfigError, match=message):
        list(zero_shot.accuracy(features, labels, torch.eye(4)))


def test_a_diverged_model_has_no_accuracy():
    features = torch.eye(4)
    features[2] = torch.nan
    with pytest.raises(NonFiniteLoss, match=r"diverged\. Try a lower lr"):
        list(zero_shot.accuracy(features, torch.arange(4), torch.eye(4)))
    with pytest.raises(NonFiniteLoss):
        list(zero_shot.accuracy(torch.eye(4), torch.arange(4), features))


def fake_text(prompts: list[str]) -> torch.Tensor:
    """A feature of any length, fixed by the prompt alone."""
    draws = (torch.Generator().manual_seed(sum(map(ord, prompt))) for prompt in prompts)
    return torch.stack([torch.randn(5, generator=g) for g in draws])


def test_a_class_embedding_is_the_renormalised_mean_of_unit_prompt_embeddings():
    names, templates = ["cat", "dog", "kiwi"], ["a {}.", "{c}", "the {} there"]
    found = zero_shot.head(fake_text, names, templates)
    for row, name in zip(found, names, strict=True):
        prompts = [f"a {name}.", name, f"the {name} there"]
        mean = sum(v / v.norm() for v in fake_text(prompts)) / 3
        torch.testing.assert_close(row, mean / mean.norm())


def test_the_head_is_the_same_for_every_batch_size():
    names, templates = [f"class {i}" for i in range(7)], ["a {}.", "{}"]
    whole = zero_shot.head(fake_text, names, templates)
    for batch in (1, 2, 5):
        torch.testing.assert_close(zero_shot.head(fake_text, names, templates, batch=batch), whole)


def test_several_sets_share_one_pass_over_their_prompts(monkeypatch):
    def labelled(name, classnames):
        images = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
        return LabelledSet(name, images, np.arange(6) % 3, list("abcdef"), classnames, ["{c}"], {})

    def measure(*sets):
        given = {"stamp": None, "target": "", "templates": ["a {}.", "{}"]}
        return Benchmark(sets, **given).measure(model)

    asked, encode = [], benchmark.text_features
    monkeypatch.setattr(
        benchmark, "text_features", lambda model, p: asked.extend(p) or encode(model, p)
    )
    model = models.build("rn_test", seed=0)
    one, two = labelled("val", ["cat", "dog", "kiwi"]), labelled("unseen", ["kiwi", "cat", "emu"])
    both = measure(one, two)
    assert len(asked) == len(set(asked)) == 4 * 2
    assert both["accuracy"] == measure(one)["accuracy"]
    assert both["unseen_accuracy"] == measure(two)["accuracy"]


@pytest.mark.parametrize("template", ["a photo", "{d}", "{} and {1}", "{"])
def test_a_template_without_a_place_for_the_class_is_refused(template):
    with pytest.raises(ConfigError, match="template"):
        zero_shot.head(fake_text, ["cat"], [template])


def test_no_classes_or_templates_are_refused():
    with pytest.raises(ConfigError, match="0 classes, 1 templates"):
        zero_shot.head(fake_text, [], ["{}"])


class Labelled(TensorDataset):
    """What clip_benchmark asks for: classes beside the samples."""

    classes = tuple(f"kind {i}" for i in range(12))


@pytest.fixture
def numpy_of_one_value_is_a_scalar(monkeypatch):
    """clip_benchmark 1.6 calls float() on an array of shape (1,), which numpy 2.4 refuses."""
    numpy = torch.Tensor.numpy
    monkeypatch.setattr(torch.Tensor, "numpy", lambda self: numpy(self.squeeze()))


@pytest.mark.usefixtures("numpy_of_one_value_is_a_scalar")
def test_top_1_and_top_5_are_those_of_clip_benchmark_on_the_same_model_and_set():
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG).eval()
    tokenizer = open_clip.get_tokenizer("RN50")
    images, labels = torch.randn(60, 3, 16, 16), torch.randint(12, (60,))
    names = list(Labelled.classes)
    loader = DataLoader(Labelled(images, labels), batch_size=25)
    theirs = zeroshot_classification.evaluate(
        model, loader, tokenizer, names, ["a photo of a {c}.", "{c}"], "cpu", amp=False
    )
    with torch.inference_mode():
        features = F.normalize(model.encode_image(images), dim=-1)
        head = zero_shot.head(
            lambda prompts: model.encode_text(tokenizer(prompts), normalize=True),
            names,
            ["a photo of a {c}.", "{c}"],
        )
    ours = dict(zero_shot.accuracy(features, labels, head))
    assert ours["accuracy"] == pytest.approx(100 * theirs["acc1"])
    assert ours["accuracy_top5"] == pytest.approx(100 * theirs["acc5"])
    assert 0 < ours["accuracy"] < ours["accuracy_top5"] < 100
