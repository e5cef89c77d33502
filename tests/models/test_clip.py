import pickle

import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from bdnb import models
from bdnb.runtime.errors import ConfigError

CAPTIONS = ["a banana", "a photo of two red apples on a large wooden table", "x"]


@pytest.fixture(scope="module")
def model():
    return models.build("rn_test", seed=0).eval()


def test_trimmed_tokens_give_the_features_of_the_full_77(model):
    full = model.tokenizer(CAPTIONS)
    trimmed = model.tokens(CAPTIONS)
    assert trimmed.shape[1] < full.shape[1] == 77
    with torch.no_grad():
        expected = model.clip.encode_text(full, normalize=True)
        torch.testing.assert_close(model.encode_text(trimmed), expected)


def test_images_are_normalised_as_open_clip_does(model):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = model.clip.encode_image((images / 255 - mean) / std, normalize=True)
        torch.testing.assert_close(model.encode_image(images), expected, rtol=1e-4, atol=1e-5)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    one, two, other = (models.build("rn_test", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert any(not torch.equal(one[k], other[k]) for k in one)


def test_weights_come_back_with_what_was_said_of_them(model, tmp_path):
    path = tmp_path / "w.safetensors"
    models.save_weights(model, path, about={"epoch": 3})
    other = models.build("rn_test", seed=5)
    models.load_weights(other, path)
    about = models.read_about(path)
    assert (about["epoch"], about["model"]) == (3, "rn_test")
    pairs = zip(model.clip.state_dict().values(), other.clip.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert models.load_any(str(path)).name == "rn_test"


class Draws(TorchDispatchMode):
    """How many tensors were filled with random numbers."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.normal_, torch.ops.aten.uniform_)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["rn_test", "vit_tiny"])
def test_a_model_that_is_loaded_draws_no_weights_and_has_those_of_the_file(tmp_path, name):
    with Draws() as draws:
        saved = models.build(name, seed=3)
    assert draws.count > 10
    models.save_weights(saved, tmp_path / "w.safetensors", about={})
    state = torch.random.get_rng_state()
    with Draws() as draws:
        loaded = models.load(name, tmp_path / "w.safetensors")
    assert draws.count == 0
    assert torch.equal(torch.random.get_rng_state(), state)
    for one, two in zip(saved.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_weights_of_another_architecture_are_refused_by_name_and_shape(tmp_path):
    path = tmp_path / "w.pt"
    torch.save(models.build("vit_tiny", seed=0).clip.state_dict(), path)
    with pytest.raises(ConfigError, match=r"w\.pt.*another model than rn_test.*\(\d"):
        models.load_weights(models.build("rn_test", seed=0), path)


def test_weights_of_an_equally_shaped_model_are_refused_by_the_name_in_their_file(tmp_path):
    path = tmp_path / "w.safetensors"
    quick = models.build("rn_tiny32-quickgelu", seed=0)
    models.save_weights(quick, path, about={})
    plain = models.build("rn_tiny32", seed=0)
    assert {k: v.shape for k, v in quick.state_dict().items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    with pytest.raises(ConfigError, match="of rn_tiny32-quickgelu; give model: rn_tiny32-quick"):
        models.load_weights(plain, path)


def test_a_model_with_quick_gelu_has_it_in_both_towers():
    quick, plain = (models.build(n, seed=0) for n in ("rn_tiny32-quickgelu", "rn_tiny32"))
    quick.load_state_dict(plain.state_dict())
    batch = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), plain.tokens(["a", "b c"])
    with torch.no_grad():
        mine, theirs = (model.eval()(*batch) for model in (quick, plain))
    assert not torch.allclose(mine[1], theirs[1], atol=1e-6)
    kinds = {type(m).__name__ for m in quick.clip.transformer.modules()}
    assert "QuickGELU" in kinds


def test_openai_s_weights_are_refused_in_a_model_with_gelu_and_the_right_one_named():
    with pytest.raises(ConfigError, match="RN50 has GELU: give RN50-quickgelu in its place"):
        models.load_pretrained("RN50", "openai")


def made_here(monkeypatch):
    """A small model in the place of each of open_clip's, so that nothing is fetched."""
    build = open_clip.create_model

    def create(name, pretrained=None, **rest):
        return build("rn_test", load_weights=False)

    monkeypatch.setattr(open_clip, "create_model", create)
    monkeypatch.setattr("bdnb.models.clip._tokenizer", lambda name: None)


@pytest.mark.parametrize(
    ("name", "tag"), [("RN50-quickgelu", "openai"), ("ViT-B-16-SigLIP", "webli")]
)
def test_published_weights_bring_the_statistics_of_their_images(monkeypatch, tmp_path, name, tag):
    made_here(monkeypatch)
    wanted = open_clip.get_pretrained_cfg(name, tag)
    model = models.load_any(f"{name}:{tag}")
    path = tmp_path / "w.safetensors"
    models.save_weights(model, path, about={})
    for one in (model, models.load_any(str(path)), models.build(name, seed=0)):
        for key in ("mean", "std"):
            found = getattr(one, key).flatten() / 255
            torch.testing.assert_close(found, torch.tensor(wanted[key]))


def test_statistics_of_other_weights_of_the_same_model_are_kept_with_them(monkeypatch, tmp_path):
    made_here(monkeypatch)
    halves = open_clip.get_pretrained_cfg("RN50-quickgelu", "openai") | {"mean": (0.5,) * 3}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *names: halves)
    path = tmp_path / "w.safetensors"
    models.save_weights(models.load_pretrained("RN50-quickgelu", "openai"), path, about={})
    monkeypatch.undo()
    made_here(monkeypatch)
    assert models.build("RN50-quickgelu", seed=0).mean.flatten()[0] != 127.5
    assert models.load_any(str(path)).mean.flatten().tolist() == [127.5] * 3


def test_an_open_clip_checkpoint_is_read(model, tmp_path):
    path = tmp_path / "clip.pt"
    torch.save({"state_dict": model.clip.state_dict()}, path)
    other = models.build("rn_test", seed=9)
    models.load_weights(other, path)
    assert torch.equal(other.clip.ln_final.weight, model.clip.ln_final.weight)


def test_a_torchscript_archive_as_openai_publishes_gives_its_weights(tmp_path):
    model = models.build("rn_tiny32-quickgelu", seed=0).eval()
    path = tmp_path / "scripted.pt"
    torch.jit.trace(model.clip.visual, torch.zeros(1, 3, 32, 32)).save(path)
    with pytest.raises(ConfigError, match=r"scripted\.pt: weights of another model"):
        models.load_weights(models.build("rn_tiny32-quickgelu", seed=9), path)
    whole = tmp_path / "whole.pt"
    images, tokens = torch.zeros(1, 3, 32, 32), model.tokenizer(["x"])
    torch.jit.trace(model.clip, (images, tokens), strict=False).half().save(whole)
    with pytest.raises(ConfigError, match="rn_tiny32 has GELU: give rn_tiny32-quickgelu"):
        models.load("rn_tiny32", whole)
    other = models.build("rn_tiny32-quickgelu", seed=9)
    models.load_weights(other, whole)
    expected = model.clip.ln_final.weight.half().float()
    assert torch.equal(other.clip.ln_final.weight, expected)


class Hostile:
    def __reduce__(self):
        import os

        return (os.mkdir, ("hostile",))


def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bad.pt"
    path.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(ConfigError, match=r"bad\.pt: not weights that can be read safely"):
        models.load_weights(models.build("rn_test", seed=0), path)
    assert not (tmp_path / "hostile").exists()


def test_missing_and_foreign_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such checkpoint"):
        models.load_weights(models.build("rn_test", seed=0), tmp_path / "none.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"expected NAME:TAG"):
        models.load_any(str(tmp_path / "x.safetensors"))
    (tmp_path / "torn.safetensors").write_bytes(b"torn")
    with pytest.raises(ConfigError, match=r"not a safetensors file.*: fetch or make it again"):
        models.read_about(tmp_path / "torn.safetensors")


def test_an_unknown_model_lists_near_ones():
    with pytest.raises(ConfigError, match=r"model='RN51'.*RN50"):
        models.build("RN51", seed=0)
    with pytest.raises(ConfigError, match=r"RN50:none: open_clip has openai"):
        models.load_pretrained("RN50", "none")


def test_a_siglip_model_has_a_bias():
    assert models.build("rn_test", seed=0, bias=True).clip.logit_bias.item() == -10


def test_a_caption_too_long_keeps_its_end_token_or_loses_it_as_the_authors_do(model):
    long = "banana " * 100
    kept, lost = model.tokens([long, "x"]), model.tokens([long, "x"], truncation="authors")
    end, word = model.tokenizer.eot_token_id, model.tokenizer.encode("banana")[0]
    assert kept.shape == lost.shape == (2, 77)
    assert kept[0, -1] == end
    assert lost[0, -1] == word
    assert torch.equal(kept[1], lost[1])
    assert torch.equal(kept[0, :-1], lost[0, :-1])
    assert lost[0].argmax() == 0


def test_a_caption_that_just_fits_is_the_same_either_way(model):
    fits = "banana " * 75
    assert torch.equal(model.tokens([fits]), model.tokens([fits], truncation="authors"))
