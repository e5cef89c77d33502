import pytest
import torch

from bdnb import models
from bdnb.evaluate.benchmark import evaluating, folded, image_features, text_features

PROMPTS = ["a banana", "x", "a photo of two red apples on a large wooden table", "a banana"]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = models.build("rn_test", seed=0)
    with torch.no_grad():
        for _ in range(5):
            model.encode_image(torch.randint(0, 256, (16, 3, 32, 32), dtype=torch.uint8))
    return model


def test_a_folded_tower_gives_the_features_of_the_tower(model):
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8).numpy()
    with evaluating(model):
        expected = image_features(model, images)
        with folded(model):
            found = image_features(model, images)
            kinds = {type(module).__name__ for module in model.clip.visual.modules()}
    assert not any("BatchNorm" in kind for kind in kinds)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_folding_leaves_the_model_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    visual = model.clip.visual
    with pytest.raises(KeyboardInterrupt), evaluating(model), folded(model):
        raise KeyboardInterrupt
    assert model.clip.visual is visual
    assert model.training
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_vision_transformer_is_not_folded():
    model = models.build("vit_tiny", seed=0)
    visual = model.clip.visual
    with folded(model):
        assert model.clip.visual is visual


def test_prompts_in_batches_of_equal_length_have_the_features_of_each_alone(model):
    with evaluating(model):
        found = text_features(model, PROMPTS)
        alone = torch.cat([model.encode_text(model.tokenizer([prompt])) for prompt in PROMPTS])
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-6)


def test_kept_tokens_are_the_tokenizer_s(model, monkeypatch):
    full = model.tokenizer(PROMPTS)
    for _ in range(2):
        tokens = model.tokens(PROMPTS)
        assert torch.equal(tokens, full[:, : tokens.shape[1]])
        assert not full[:, tokens.shape[1] :].any()
    monkeypatch.setattr(model, "tokenizer", None)
    assert torch.equal(model.tokens(PROMPTS[:2]), full[:2, : model.tokens(PROMPTS[:2]).shape[1]])


def test_no_more_tokens_are_kept_than_allowed(model, monkeypatch):
    monkeypatch.setattr(models.clip, "TOKENS_KEPT", 0)
    kept = len(model._tokens)
    assert torch.equal(model.tokens(["unseen words"]), model.tokens(["unseen words"]))
    assert len(model._tokens) == kept
