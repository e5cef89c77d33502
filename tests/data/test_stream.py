"""A stream gives the batches of decoded pairs, on any number of processes, from any batch on."""

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from bdnb import models
from bdnb.data import datasets, shards, stream
from bdnb.data import index as indexes
from bdnb.data.augment.eda import ShiftedViews, TextViews
from bdnb.data.augment.second_views import ImageViews
from bdnb.data.batches import Batch, Batches, Poison
from bdnb.data.index import index
from bdnb.runtime.errors import ConfigError
from bdnb.training import attacks, device, setup
from bdnb.training.attacks import Attack
from tests.data import shard_files, web_pairs

SIDE, COUNT = web_pairs.SIDE, 40


def tokens(captions: Sequence[str]) -> Tensor:
    return torch.tensor([[*c.encode()[:40], *[0] * (40 - len(c.encode()))] for c in captions])


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return web_pairs.write(tmp_path_factory.mktemp("set") / "train", COUNT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def streamed(tars: list[Path], cache: Path, fit: str = "crop") -> stream.StreamedPairs:
    return stream.streamed(index(tars, cache, bad_share=1), side=SIDE, fit=fit)


def prepared(tars: list[Path], cache: Path, fit: str = "crop") -> shards.Pairs:
    return shard_files.decoded(tars, SIDE, cache, bad_share=1, fit=fit)


def batches(pairs: shards.Pairs, **more: object) -> Batches:
    attack = Attack(poison_rate=0.2, trigger="badnet", trigger_size=4)
    trigger = attacks.stamp(attack)
    poison = attacks.poisoned(trigger, pairs, attacks.poisoned_keys(attack, pairs), target="banana")
    views = {"image_views": ImageViews(0), "text_views": TextViews(0)}
    given = {"batch_size": 8, "seed": 3, "tokens": tokens, "poison": poison} | views | more
    return Batches(pairs, **given)


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(
        one.sizes == two.sizes
        and torch.equal(one.images, two.images)
        and torch.equal(one.tokens, two.tokens)
        and torch.equal(one.places, two.places)
        for one, two in pairs
    )


@pytest.mark.parametrize("fit", ["crop", "squash"])
def test_streamed_pairs_are_the_prepared_ones(tars: list[Path], cache: Path, fit: str) -> None:
    ours, theirs = streamed(tars, cache, fit), prepared(tars, cache, fit)
    assert list(ours.keys) == list(theirs.keys)
    assert list(ours.captions) == list(theirs.captions)
    assert ours.bad == theirs.bad
    assert np.array_equal(np.asarray(ours.images), np.asarray(theirs.images))
    assert np.array_equal(ours.images[5:9], theirs.images[5:9])
    assert np.array_equal(ours.images[[7, 2, 2]], theirs.images[[7, 2, 2]])


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_stream_gives_the_batches_of_decoded_pairs_to_the_last_bit(
    tars: list[Path], cache: Path, workers: int
) -> None:
    ours = batches(streamed(tars, cache), workers=workers)
    theirs = batches(prepared(tars, cache))
    assert len(ours) == len(theirs) == 5
    assert len(ours.poison) == 8
    for epoch in (1, 2):
        assert same(list(ours.epoch(epoch)), list(theirs.epoch(epoch)))


def test_a_stream_can_be_taken_up_at_any_batch(tars: list[Path], cache: Path) -> None:
    ours = batches(streamed(tars, cache), workers=2)
    whole = list(ours.epoch(1))
    for first in (0, 2, 5):
        assert same(list(ours.epoch(1, first=first)), whole[first:])


def test_a_stream_leaves_the_random_numbers_of_torch_alone(tars: list[Path], cache: Path) -> None:
    ours = batches(streamed(tars, cache), workers=1)
    before = torch.get_rng_state()
    list(ours.epoch(1))
    assert torch.equal(before, torch.get_rng_state())


def keys_of(rank: int, world: int, tars: list[Path], cache: Path, epoch: int) -> list[str]:
    """The keys that one process of a run sees in an epoch, with a worker of its own."""
    pairs = streamed(tars, cache)
    ours = Batches(pairs, batch_size=8, seed=0, tokens=tokens, rank=rank, world=world, workers=1)
    return [pairs.keys[i] for batch in ours.epoch(epoch) for i in batch.places.tolist()]


@pytest.mark.parametrize("world", [1, 2, 4])
def test_each_key_comes_once_an_epoch_on_any_number_of_processes(
    tars: list[Path], tmp_path: Path, world: int
) -> None:
    fork = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(world, fork) as pool:
        for epoch in (1, 2):
            jobs = [
                pool.submit(keys_of, r, world, tars, tmp_path / "cache", epoch)
                for r in range(world)
            ]
            seen = [job.result() for job in jobs]
            assert [len(keys) for keys in seen] == [COUNT // world] * world
            assert sorted(k for keys in seen for k in keys) == [f"{i:09d}" for i in range(COUNT)]


def test_the_trigger_goes_on_the_image_as_the_attacker_resizes_it(
    tars: list[Path], cache: Path
) -> None:
    made = []
    for read in (streamed, prepared):
        pairs, squashed = read(tars, cache), read(tars, cache, "squash")
        keys = list(pairs.keys)[3:6]
        trigger = attacks.stamp(Attack(trigger_size=4))
        made.append(attacks.poisoned(trigger, pairs, keys, target=None, resized=squashed))
    ours, theirs = made
    assert isinstance(ours.images, stream.Stamped)
    assert ours.captions == theirs.captions
    assert list(ours.images) == list(theirs.images)
    assert all(torch.equal(ours.images[i], theirs.images[i]) for i in ours.images)


@pytest.mark.parametrize("trigger", ["badnet", "blended", "warped"])
def test_what_a_trigger_fixes_for_the_run_is_there_to_be_kept(
    tars: list[Path], cache: Path, trigger: str
) -> None:
    """A batch's processes stamp with what the run's record says."""
    states = []
    for pairs in (streamed(tars, cache), prepared(tars, cache)):
        one = attacks.stamp(Attack(trigger=trigger, trigger_size=4))
        attacks.poisoned(one, pairs, [pairs.keys[0]], target="banana")
        states.append(one.state())
    assert list(states[0]) == list(states[1])
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_part_of_a_stream_is_that_part_of_the_pairs(tars: list[Path], cache: Path) -> None:
    ours, theirs = streamed(tars, cache), prepared(tars, cache)
    keys = [theirs.keys[i] for i in (9, 3, 30)]
    mine, yours = datasets.subset(ours, keys), datasets.subset(theirs, keys)
    assert isinstance(mine, stream.StreamedPairs)
    assert list(mine.keys) == list(yours.keys)
    assert list(mine.captions) == list(yours.captions)
    assert np.array_equal(np.asarray(mine.images), np.asarray(yours.images))
    assert datasets.subset(ours, list(theirs.keys)) is ours


def test_label_consistent_poison_and_shifted_views_read_captions_from_the_index(
    tars: list[Path], cache: Path
) -> None:
    attack = Attack(attack="label_consistent", poison_rate=0.1)
    wanted = setup.Parts(batch_size=4, seed=0, text_views="shifted")
    found = []
    for pairs in (streamed(tars, cache), prepared(tars, cache)):
        keys = attacks.poisoned_keys(attack, pairs)
        views = setup.text_views(pairs, Poison(), wanted)
        assert isinstance(views, ShiftedViews)
        found.append((keys, views(list(pairs.captions), 1, list(pairs.keys))))
    assert found[0] == found[1]
    assert len(found[0][0]) == 4


def test_a_shard_that_changed_under_a_run_is_named(tmp_path: Path) -> None:
    (tar,) = web_pairs.write(tmp_path / "in", 5, spoilt=False)
    pairs = streamed([tar], tmp_path / "cache")
    tar.write_bytes(b"\x00" * tar.stat().st_size)
    with pytest.raises(ConfigError, match=r"00000\.tar: an image at byte \d+ that was whole"):
        pairs.images[0]


def test_no_more_shards_are_held_open_than_allowed(
    tars: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "OPEN", 2)
    pairs = streamed(tars, cache)
    assert np.array_equal(np.asarray(pairs.images), np.asarray(prepared(tars, cache).images))
    held = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    assert len([path for path in held if path in map(str, tars)]) == 2


def test_pairs_are_streamed_where_they_are_too_many_to_be_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tars = web_pairs.write(tmp_path / "in", COUNT, spoilt=False)
    monkeypatch.setattr(stream, "_memory", lambda: 2 * COUNT * 3 * SIDE**2)
    assert not stream.too_large(tars, SIDE, tmp_path)
    assert stream.too_large(tars, SIDE + 1, tmp_path)
    for tar in tars:
        tar.with_name(f"{tar.stem}_stats.json").unlink()
    assert not stream.too_large(tars, SIDE, tmp_path)
    assert stream.too_large(tars, SIDE + 1, tmp_path)
    monkeypatch.setattr(stream, "_memory", lambda: 0)
    assert stream.too_large(tars, SIDE, tmp_path)
    prepared(tars, tmp_path)
    assert not stream.too_large(tars, SIDE, tmp_path)


@pytest.mark.parametrize(("how", "kind"), [("yes", "StreamedPairs"), ("no", "Pairs")])
def test_a_run_says_how_its_pairs_are_read(tars: list[Path], how: str, kind: str) -> None:
    data = datasets.Dataset(tars[0].parents[1], stream=how, bad_share=0.5)
    pairs = data.training_pairs(SIDE, seed=0)
    assert type(pairs).__name__ == kind
    wanted = setup.Parts(batch_size=4, seed=0, stream_workers=2)
    parts = models.build("rn_test", seed=0), device.accelerator()
    made = setup.batches(pairs, Poison(), wanted, *parts, second_views=False)
    assert made.workers == (2 if how == "yes" else 0)
    with pytest.raises(ConfigError, match=r"more than bad_share=0\.1"):
        replace(data, bad_share=0.1).training_pairs(SIDE, seed=0)


TERMINATED = """
import signal, sys
from pathlib import Path
import torch
from bdnb.data import stream
from bdnb.data.batches import Batches
from bdnb.data.index import index
from torch.utils.data._utils import signal_handling

# A process that has barely begun hears it as well: the loader's other ones may be that far.
begin = signal_handling._set_worker_signal_handlers
signal_handling._set_worker_signal_handlers = lambda: (begin(), signal.raise_signal(signal.SIGTERM))

heard = []
signal.signal(signal.SIGTERM, lambda *_: heard.append("SIGTERM"))
found = index(sorted(Path(sys.argv[1]).glob("*.tar")), Path(sys.argv[2]), bad_share=1)
pairs = stream.streamed(found, side=16)
tokens = lambda captions: torch.zeros(len(captions), 1)
places = []
for batch in Batches(pairs, batch_size=4, seed=0, tokens=tokens, workers=2).epoch(1):
    places += batch.places.tolist()
    if len(places) == 4:
        print("ready", flush=True)
        sys.stdin.readline()
print(len(set(places)), *heard)
"""


def test_a_scheduler_s_signal_to_all_processes_leaves_the_loop_to_answer_it(
    tars: list[Path], tmp_path: Path
) -> None:
    run = subprocess.Popen(
        [sys.executable, "-c", TERMINATED, str(tars[0].parent), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    os.killpg(run.pid, signal.SIGTERM)
    said, _ = run.communicate("\n", timeout=500)
    assert said == f"{COUNT} SIGTERM\n"
    assert run.returncode == 0
