"""Objectives against their formulas in plain loops; their hook, their state, the registry."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bdnb import clean, losses, models, train
from bdnb.data.batches import Batch, Batches
from bdnb.runs import experiments
from bdnb.runtime import plugins
from bdnb.runtime.errors import ConfigError
from bdnb.training import device, objectives
from bdnb.training.loop import Features, Loop
from bdnb.training.objectives import registry, roclip, safeclip
from bdnb.training.optimiser import Optimiser

N, D, SCALE = 6, 5, 7.0


def features(seed: int, *, kept: dict[str, Tensor], epoch: int = 1, grad: bool = False) -> Features:
    """Originals with second views behind, of both towers."""
    draws = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(2 * N, D, generator=draws), dim=1) for _ in range(2))
    if grad:
        image, text = image.requires_grad_(), text.requires_grad_()
    return Features(image, text, torch.tensor(SCALE), torch.tensor(0.0), kept, epoch)


BATCH = Batch(torch.zeros(2 * N), torch.zeros(2 * N), torch.arange(N))


def info_nce(queries: Tensor, keys: Tensor, rows: list[int]) -> float:
    """-mean over rows of log softmax of the scaled cosines with the keys of those rows."""
    total = 0.0
    for i in rows:
        scores = [SCALE * float(queries[i] @ keys[j]) for j in rows]
        total += math.log(sum(map(math.exp, scores))) - SCALE * float(queries[i] @ keys[i])
    return total / len(rows)


def nearest(queries: Tensor, pool: list[Tensor]) -> Tensor:
    return torch.stack([max(pool, key=lambda one: float(q @ one)) for q in queries])


def test_the_paper_s_objectives_are_weighted_sums_of_their_losses():
    given = features(0, kept={})
    image, image_view, text, text_view = (*given.image.chunk(2), *given.text.chunk(2))
    mmcl = losses.mmcl(image, text, given.scale)
    ssl = losses.ssl(image, image_view, text, text_view, given.scale)
    parts = objectives.make("mmcl_ssl", mmcl_weight=2.0, ssl_weight=0.5)(given, BATCH)
    assert list(parts) == ["loss_total", "loss_mmcl", "loss_ssl"]
    torch.testing.assert_close(parts["loss_total"], 2.0 * mmcl + 0.5 * ssl)
    torch.testing.assert_close(objectives.make("ssl")(given, BATCH)["loss_ssl"], ssl)


def test_the_halves_of_ssl_make_ssl():
    given = features(0, kept={})
    both = objectives.make("ssl")(given, BATCH)["loss_ssl"]
    names = ("image", "text")
    made = [objectives.make(f"mmcl_ssl_{n}")(given, BATCH)[f"loss_ssl_{n}"] for n in names]
    torch.testing.assert_close(torch.stack(made).mean(), both)


def test_ssl_weight_weighs_whatever_is_self_supervised():
    given = features(0, kept={})
    parts = objectives.make("mmcl_barlow", ssl_weight=3.0)(given, BATCH)
    expected = parts["loss_mmcl"] + 3.0 * parts["loss_barlow"]
    torch.testing.assert_close(parts["loss_total"], expected)


def test_roclip_is_mmcl_of_second_views_but_in_every_second_epoch_with_captions_of_the_pool():
    kept: dict[str, Tensor] = {}
    loss, pool = objectives.make("roclip", options={"pool": N + 2}), []
    for seed, epoch in ((0, 1), (1, 1), (2, 2)):
        given = features(seed, kept=kept, epoch=epoch)
        image, text = given.image[N:], given.text[N:]
        matched = text if epoch == 1 else nearest(image, pool)
        rows = list(range(N))
        expected = (info_nce(image, matched, rows) + info_nce(matched, image, rows)) / 2
        assert loss(given, BATCH)["loss_mmcl"].item() == pytest.approx(expected, rel=1e-5)
        pool = [*text, *pool][: N + 2]
        torch.testing.assert_close(kept["pool"], torch.stack(pool))


def test_roclip_s_captions_learn_nothing_from_the_pool_and_images_do():
    given = features(1, kept={"pool": features(0, kept={}).text}, epoch=2, grad=True)
    objectives.make("roclip")(given, BATCH)["loss_total"].backward()
    assert given.text.grad.abs().max() == 0
    assert given.image.grad[N:].abs().max() > 0


@pytest.mark.parametrize("safe", [[], [0, 2, 3], list(range(N))])
def test_safeclip_is_mmcl_over_safe_pairs_and_the_in_modal_loss_over_the_others(safe):
    flags = torch.tensor([i in safe for i in range(N)])
    kept = {"kinds": flags.flip(0)}
    batch = BATCH._replace(places=torch.arange(N).flip(0))
    loss = objectives.make("safeclip", options={"bank": N + 2})
    risky = [i for i in range(N) if i not in safe]
    banks: list[list[Tensor]] = [[], []]
    for seed in (0, 1):
        given = features(seed, kept=kept)
        sides = [x.chunk(2) for x in (given.image, given.text)]
        near = [
            nearest(own, bank or list(own)) for (own, _), bank in zip(sides, banks, strict=True)
        ]
        (image, image_view), (text, text_view) = sides
        expected = 0.0
        if safe:
            expected += info_nce(image, text_view, safe) + info_nce(text, image_view, safe)
        if risky:
            expected += info_nce(image_view, near[0], risky) + info_nce(text_view, near[1], risky)
        parts = loss(given, batch)
        assert parts["loss_total"].item() == pytest.approx(expected / 2, rel=1e-5)
        assert (parts["loss_mmcl"] == 0) == (not safe)
        assert (parts["loss_in_modal"] == 0) == (not risky)
        banks = [[*own, *bank][: N + 2] for (own, _), bank in zip(sides, banks, strict=True)]


def loop_of(steps: int = 4) -> Loop:
    return Loop(
        models.build("rn_test", seed=0),
        device.accelerator(precision="no"),
        optimiser=Optimiser(lr=1e-3, warmup_steps=2),
        epochs=9,
        epoch_steps=steps,
    )


class Ten:
    """Stands for the batches of ten pairs."""

    samples = 10


def test_safeclip_trains_apart_then_slowly_together_then_by_what_agrees(monkeypatch):
    values = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.8, 0.85, 0.12, 0.95, 0.9, 0.88])
    ones = torch.ones(10, 1)
    monkeypatch.setattr(safeclip, "pair_features", lambda model, pairs: (values[:, None], ones))
    loss = objectives.make("safeclip", options={"in_modal_epochs": 2, "growth": 0.1, "most": 0.85})
    loop, usual = loop_of(), loop_of().lr
    seen, rates = [], []
    for epoch in range(1, 7):
        loss.before_epoch(epoch, loop, Ten())
        seen.append(loop.kept["kinds"].tolist())
        rates.append(loop.lr / usual)
    assert rates == pytest.approx([1, 1, 0.01, 1, 1, 1])
    assert seen[:3] == [[False] * 10, [False] * 10, [True] * 10]
    assert seen[3] == (values > 0.5).tolist()
    assert [sum(one) for one in seen[4:]] == [8, 8]  # 0.7 + 0.1, then at most 0.85


def test_of_safe_pairs_the_share_asked_for_agrees_best():
    cosines = torch.linspace(-1, 1, 20)[torch.randperm(20, generator=torch.manual_seed(0))]
    safe = safeclip.safe_pairs(cosines, 0.25, sure=0.9)
    assert int(safe.sum()) == 5
    assert cosines[safe].min() > cosines[~safe].max()


def test_of_pairs_that_are_all_sure_to_agree_the_closest_are_safe():
    draws = torch.Generator().manual_seed(0)
    cosines = torch.cat([at + 0.01 * torch.randn(50, generator=draws) for at in (0.2, 0.8)])
    cosines = cosines[torch.randperm(100, generator=draws)]
    safe = safeclip.safe_pairs(cosines, 0.2, sure=0.9)
    assert int(safe.sum()) == 20
    assert cosines[safe].min() > cosines[~safe].max()


def test_a_learning_rate_that_was_scaled_follows_the_schedule_and_comes_back(tmp_path):
    plain, scaled = loop_of(), loop_of()
    scaled.scale_lr(0.1)
    for _ in range(3):
        assert scaled.lr == pytest.approx(0.1 * plain.lr)
        assert scaled.optimizer.param_groups[0]["lr"] == scaled.lr
        for loop in (plain, scaled):
            loop.optimizer.step()
            loop.schedule.step()
    scaled.save(tmp_path / "state.pt")
    taken_up = loop_of()
    taken_up.load(tmp_path / "state.pt")
    for loop in (plain, taken_up):
        loop.schedule.step()
    assert taken_up.lr == pytest.approx(0.1 * plain.lr)
    taken_up.scale_lr(1.0)
    assert taken_up.lr == plain.lr


@pytest.mark.parametrize("name", ["mmcl_ssl_image", "mmcl_ssl_text", "mmcl_barlow", "roclip"])
def test_every_objective_trains_and_cleans_the_tiny_model(tiny, name):
    asked = dataclasses.replace(experiments.trained("tiny", "train_mmcl", 0), objective=name)
    assert train.train(asked).rows()[-1]["loss_total"] > 0
    first = experiments.of_file("tiny", "clean")[0]
    rows = clean.clean(dataclasses.replace(first, loss=name, epochs=1)).rows()
    assert rows[1]["loss_mmcl"] > 0


def test_a_cleaning_loss_does_what_it_does_before_an_epoch(tiny):
    first = experiments.of_file("tiny", "clean")[0]
    asked = dataclasses.replace(first, loss="safeclip", loss_options={"in_modal_epochs": 1})
    rows = clean.clean(asked).rows()
    assert [row["loss_mmcl"] > 0 for row in rows[1:]] == [False, True]
    assert [row["loss_in_modal"] > 0 for row in rows[1:]] == [True, False]


def test_the_share_of_pairs_that_safeclip_takes_to_be_safe_is_recorded(tiny, monkeypatch):
    plan, told = Batches.plan, {}

    def watched(self, number, first=0, kinds=None):
        told[number] = kinds.mean()
        return plan(self, number, first, kinds)

    monkeypatch.setattr(Batches, "plan", watched)
    first = experiments.of_file("tiny", "clean")[0]
    given = {"in_modal_epochs": 1, "growth": 0.25, "most": 0.4}
    asked = dataclasses.replace(first, loss="safeclip", loss_options=given, epochs=4)
    rows = clean.clean(asked).rows()
    assert ["kept_share" in row for row in rows] == [False, False, False, True, True]
    assert rows[4]["kept_share"] == pytest.approx(min(rows[3]["kept_share"] + 0.25, 0.4), abs=0.05)
    # Batches are made of them, too.
    assert told == {1: 0, 2: 1, 3: rows[3]["kept_share"], 4: rows[4]["kept_share"]}


MINE = """
from bdnb import losses
from bdnb.training.objectives import objective

@objective("half_mmcl")
def half_mmcl(batch, *, share: float = 0.5):
    return {"mmcl": share * losses.mmcl(batch.image, batch.text, batch.scale)}
"""


@pytest.fixture
def mine_alone(monkeypatch):
    """What a test registers is gone after it: messages of others list what there is."""
    for name in ("OBJECTIVES", "ABOUT"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def test_a_user_s_file_adds_an_objective_with_options(fresh, mine_alone):
    plugins.place("half.py").write_text(MINE)
    usual = experiments.trained("tiny", "train_mmcl", 0)
    asked = dataclasses.replace(
        usual,
        objective="half_mmcl",
        code="plugins/half.py",
        epochs=1,
        warmup_steps=50,
        loss_options={"share": 0.0},
    )
    assert train.train(asked).rows()[-1]["loss_mmcl"] == 0
    with pytest.raises(ConfigError, match=r"objective 'half_mmcl': no option 'shar'"):
        train.train(dataclasses.replace(asked, loss_options={"shar": 1.0}))


def test_terms_are_the_same_in_every_step_of_an_epoch():
    loop, names = loop_of(), iter(["a", "b"])
    batch = Batch(
        torch.zeros(4, 3, 32, 32, dtype=torch.uint8), loop.model.tokens(["x"] * 4), BATCH.places[:4]
    )

    def loss(given: Features, _: Batch) -> dict[str, Tensor]:
        return {"loss_total": given.image.sum(), f"loss_{next(names)}": given.text.sum()}

    loop.descend(batch, loss)
    with pytest.raises(ConfigError, match="losses loss_total, loss_b after loss_total, loss_a"):
        loop.descend(batch, loss)


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ConfigError, match=r"objective='mmlc': expected one of mmcl, .*'mmcl'\?"):
        objectives.check("mmlc", {})
    with pytest.raises(ConfigError, match=r"loss='siglip': expected one of mmcl, ssl"):
        objectives.check("siglip", {}, cleaning=True)


def test_options_that_are_not_given_are_at_their_defaults():
    assert objectives.check("roclip", {"pool": 7}) == {"pool": 7, "every": 2}


def test_a_pool_s_first_batch_is_its_own_and_the_oldest_leave():
    kept: dict[str, Tensor] = {}
    given = objectives.Embedded(*[None] * 7, kept, 1)
    rows = torch.arange(6.0)[:, None]
    assert torch.equal(roclip.take_in(given, "pool", rows[:2], 3), rows[:2])
    assert torch.equal(roclip.take_in(given, "pool", rows[2:4], 3), rows[:2])
    assert kept["pool"].flatten().tolist() == [2, 3, 0]
