"""A text tower with the used tokens alone computes and learns what one with all of them does."""

import pytest
import torch
from torch.optim import AdamW

from bdnb import models
from bdnb.models.used_tokens import UsedTokens, use_only_
from bdnb.runtime.errors import ConfigError

CAPTIONS = ["a photo of a banana", "a red apple", "the cat, twice", ""]


@pytest.fixture
def two():
    """The same model twice: with all tokens, and with those of the captions alone."""
    whole, compact = (models.build("rn_test", seed=0) for _ in range(2))
    use_only_(compact.clip, whole.tokens(CAPTIONS))
    return whole, compact


def step(model, optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = 1e-2 * factor
    optimizer.zero_grad()
    features = model.encode_text(model.tokens(CAPTIONS))
    (features @ features.T).pow(2).sum().backward()
    optimizer.step()
    embedding = model.clip.token_embedding
    if isinstance(embedding, UsedTokens):
        embedding.shrink(1e-2 * factor * 0.1)


def test_features_are_equal(two):
    whole, compact = two
    tokens = whole.tokens(CAPTIONS)
    assert torch.equal(whole.encode_text(tokens), compact.encode_text(tokens))


def test_weights_after_steps_of_adamw_are_those_of_the_whole_table(two):
    for model in two:
        optimizer = AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
        for factor in (1.0, 0.5, 0.25):
            step(model, optimizer, factor)
    whole, compact = (model.clip.state_dict() for model in two)
    assert whole.keys() == compact.keys()
    for name, value in whole.items():
        torch.testing.assert_close(compact[name], value, rtol=2e-6, atol=1e-7)
    unused = torch.ones(len(whole["token_embedding.weight"]), dtype=torch.bool)
    unused[two[1].clip.token_embedding.used] = False
    start = models.build("rn_test", seed=0).clip.token_embedding.weight[unused]
    assert not torch.allclose(compact["token_embedding.weight"][unused], start, rtol=1e-4)


def test_a_state_is_put_down_and_taken_up(two):
    _, compact = two
    optimizer = AdamW(compact.parameters(), lr=1e-2, weight_decay=0.1)
    step(compact, optimizer, 1.0)
    state = compact.clip.state_dict()
    other = models.build("rn_test", seed=1)
    use_only_(other.clip, compact.clip.token_embedding.used)
    other.clip.load_state_dict(state)
    for name, value in other.clip.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_word_that_was_not_announced_is_refused_by_name(two):
    with pytest.raises(ConfigError, match=r"tokens \[\d+.*\] are not among the \d+ of this run"):
        two[1].encode_text(two[1].tokens(["a zebra"]))
