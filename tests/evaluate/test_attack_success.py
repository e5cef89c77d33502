import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bdnb.evaluate import zero_shot
from bdnb.runtime.errors import ConfigError

TARGET = 2
PREDICTED = torch.tensor([2, 2, 1, 2, 2, 0, 3])
LABELS = torch.tensor([0, 1, 1, 2, 2, 2, 0])


def scores(predicted: torch.Tensor, classes: int = 4) -> torch.Tensor:
    return torch.eye(classes)[predicted]


def test_asr_is_the_hand_counted_one_with_and_without_images_of_the_target():
    """Of the four others two are taken for the target; of all seven, four are."""
    found = dict(zero_shot.asr(scores(PREDICTED), LABELS, torch.eye(4), TARGET))
    assert found["asr"] == pytest.approx(100 * 2 / 4)
    assert found["asr_all"] == pytest.approx(100 * 4 / 7)
    assert found["triggered_accuracy"] == pytest.approx(100 * 3 / 7)
    assert found["asr_top5"] == found["asr_top10"] == 100.0


def test_top_k_asr_counts_the_target_among_the_first_k():
    ranked = torch.tensor([[4.0, 3, 2, 1, 0, -1], [4, 3, -1, 2, 1, 0], [1, 0, 9, 2, 3, 4]])
    labels = torch.tensor([0, 0, 5])
    found = dict(zero_shot.asr(ranked, labels, torch.eye(6), TARGET, topk=(1, 3, 5)))
    assert found["asr"] == pytest.approx(100 / 3)
    assert found["asr_top3"] == pytest.approx(200 / 3)
    assert found["asr_top5"] == pytest.approx(200 / 3)


@given(
    data=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30),
)
@settings(max_examples=50, deadline=None)
def test_asr_is_a_share_that_the_slow_count_confirms(data):
    predicted, labels = (torch.tensor(column) for column in zip(*data, strict=True))
    others = [p for p, label in data if label != TARGET]
    if not others:
        return
    found = dict(zero_shot.asr(scores(predicted), labels, torch.eye(4), TARGET))
    assert found["asr"] == pytest.approx(100 * others.count(TARGET) / len(others))
    everyone = [p for p, _ in data]
    assert found["asr_all"] == pytest.approx(100 * everyone.count(TARGET) / len(everyone))
    right = sum(p == label for p, label in data)
    assert found["triggered_accuracy"] == pytest.approx(100 * right / len(data))


def test_a_set_of_target_images_alone_has_no_asr():
    with pytest.raises(ConfigError, match="every image is of the target class 2"):
        list(zero_shot.asr(scores(LABELS[3:6]), LABELS[3:6], torch.eye(4), TARGET))


def test_a_target_that_is_no_class_is_refused():
    with pytest.raises(ConfigError, match="target=4"):
        list(zero_shot.asr(scores(PREDICTED), LABELS, torch.eye(4), 4))
