import pytest
import torch

from bdnb import models
from bdnb.models import text_tower

CAPTIONS = [" ".join(["banana"] * (1 + 7 * i % 19)) for i in range(131)]


@pytest.fixture(scope="module")
def model():
    """In doubles: gradients of up to 600 are rounded by more than the tests allow in floats."""
    return models.build("rn_test", seed=0).double()


def features_and_gradients(model, encode):
    """Of captions of many lengths, with a weight each so that none stands for another."""
    weights = torch.randn(len(CAPTIONS), 1, generator=torch.Generator().manual_seed(0))
    model.zero_grad()
    features = encode()
    (features * weights).sum().backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return features.detach(), found


@pytest.mark.parametrize("groups", [1, 4])
def test_features_and_gradients_are_open_clip_s(model, monkeypatch, groups):
    monkeypatch.setattr(text_tower, "GROUPS", groups)
    tokens, full = model.tokens(CAPTIONS), model.tokenizer(CAPTIONS)
    ours, found = features_and_gradients(model, lambda: text_tower.encode(model.clip, tokens))
    theirs, expected = features_and_gradients(model, lambda: model.clip.encode_text(full))
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert set(found) == set(expected)
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4, msg=name)


def test_a_tower_of_another_kind_is_computed_in_full(model, monkeypatch):
    tokens = model.tokens(CAPTIONS[:5])
    expected = text_tower.encode(model.clip, tokens)
    monkeypatch.setattr(text_tower, "ResidualAttentionBlock", torch.nn.Linear)
    torch.testing.assert_close(text_tower.encode(model.clip, tokens), expected)


def test_what_follows_the_end_token_does_not_matter(model):
    tokens = model.tokens(CAPTIONS[:3])
    longer = torch.nn.functional.pad(tokens, (0, 9), value=7)
    torch.testing.assert_close(
        text_tower.encode(model.clip, longer), text_tower.encode(model.clip, tokens)
    )
