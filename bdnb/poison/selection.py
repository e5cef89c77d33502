"""Which pairs are poisoned, and which clean the model: lists of sample keys, by key and seed.

In: the keys of a data set, their captions where the attack asks for them; out: a list of keys,
kept with the run as a text file, so that a run can be repeated or audited.
"""

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from bdnb.poison.targets import mentions
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic


def rank(keys: Sequence[str], seed: int, purpose: str, count: int | None = None) -> list[str]:
    """Return the keys in the seed's order, whatever order they come in; the first ``count``.

    Each key's place depends on its own hash: the first n of a data set stay in front when other
    keys are taken away. Takes 24 bytes a key besides what is returned.
    Errors: ConfigError for a key that is there twice.
    """
    name = f"{seed}\x1f{purpose}\x1f".encode()
    hashes = np.empty((len(keys), 2), dtype=">u8")
    for i, key in enumerate(keys):
        hashes[i] = np.frombuffer(blake2b(name + key.encode(), digest_size=16).digest(), ">u8")
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    hashes = hashes[order]
    for twice in np.flatnonzero((hashes[1:] == hashes[:-1]).all(axis=1)):
        key = keys[int(order[twice])]
        raise ConfigError(f"key {key!r} is there twice: samples are told apart by their keys")
    return [keys[int(i)] for i in order[:count]]


def select(
    keys: Sequence[str],
    captions: Sequence[str] | None = None,
    *,
    seed: int,
    rate: float = 0,
    count: int | None = None,
    attack: str = "template",
    target: str = "banana",
    victims: Sequence[str] = (),
    match: str = "word",
) -> list[str]:
    """Return the keys to poison, in the seed's order: exactly as many as asked for.

    keys: of all pairs, each once, in any order. captions: theirs, for ``label_consistent`` and
    ``mismatched`` only.
    count: how many; None: ``rate``, the share of *all* pairs (0.0005 in the paper), whichever can
    be poisoned, rounded to the nearest whole number.
    attack: ``template``, ``natural``: any pair; ``label_consistent``: those whose caption mentions
    the target; ``mismatched``: those whose caption mentions one of the victims and not the target.
    match: see ``targets.mentions``. Errors: ConfigError for a rate that is less than one pair, or
    more pairs than can be poisoned; the message says how many there are.
    """
    wanted = int(rate * len(keys) + 0.5) if count is None else count
    if rate and not wanted:
        raise ConfigError(f"rate={rate:g} of {len(keys)} pairs is less than one pair")
    pool, what = keys, "pairs"
    if attack == "label_consistent":
        pairs = zip(keys, captions or (), strict=True)
        pool = [key for key, caption in pairs if mentions(caption, target, match=match)]
        what = f"captions that mention {target!r} (match={match!r})"
    if attack == "mismatched":
        check_victims(victims, target)
        pairs = zip(keys, captions or (), strict=True)
        pool = [key for key, caption in pairs if is_victim(caption, victims, target, match=match)]
        what = f"captions that mention {' or '.join(victims)} (match={match!r})"
    if wanted > len(pool):
        asked = f"rate={rate:g}" if count is None else f"count={count}"
        raise ConfigError(
            f"{asked}: {wanted} of {len(keys)} pairs to poison, but there are "
            f"{len(pool)} {what}; at most rate={len(pool) / max(1, len(keys)):.6g}"
        )
    return rank(pool, seed, "poison", wanted)


def check_victims(victims: Sequence[str], target: str) -> None:
    """Refuse a mismatched attack without victims, or on the target. Errors: ConfigError."""
    if not all(victims) or not victims or target in victims:
        raise ConfigError(
            f"attack='mismatched': victim={'+'.join(victims)!r}: expected other classes than the "
            "target, joined by +"
        )


def is_victim(caption: str, victims: Sequence[str], target: str, *, match: str = "word") -> bool:
    """Whether a caption mentions one of the victims, and not the target."""
    named = any(mentions(caption, victim, match=match) for victim in victims)
    return named and not mentions(caption, target, match=match)


def cleaning_keys(
    train_keys: Sequence[str],
    clean_keys: Sequence[str],
    poisoned: Iterable[str],
    *,
    seed: int,
    count: int = 0,
    overlap: str = "separate",
) -> list[str]:
    """Return the keys of the pairs that clean the model, in the seed's order.

    overlap: ``separate``: from ``clean_keys``, pairs that were never trained on (paper);
    ``authors``: from ``train_keys`` less the poisoned ones, as the authors do.
    count: how many; 0: all of ``clean_keys``, or as many of ``train_keys``.
    Errors: ConfigError for more pairs than there are.
    """
    without, pool = set(poisoned), clean_keys
    if overlap == "authors":
        pool = [key for key in train_keys if key not in without]
    wanted = count or min(len(clean_keys), len(pool))
    if wanted > len(pool):
        raise ConfigError(f"{wanted} cleaning pairs asked for, overlap={overlap!r} has {len(pool)}")
    return rank(pool, seed, "clean", wanted)


def write_keys(path: Path, keys: Sequence[str]) -> None:
    """Keep a list of keys as text, one a line, in its order; the file is whole or not there.

    Errors: ConfigError for a key that is empty or does not fit on a line.
    """
    for key in keys:
        if key != key.strip() or not key or len(key.splitlines()) != 1:
            raise ConfigError(f"key {key!r}: expected a word that fits on a line of {path}")
    write_atomic(path, "".join(f"{key}\n" for key in keys))


def read_keys(path: Path, *, among: Iterable[str] | None = None) -> list[str]:
    """Return a list of keys as ``write_keys`` kept it, to poison the same pairs again.

    among: keys of the pairs that a run trains on.
    Errors: ConfigError for a missing file, a key that is there twice, or keys not ``among`` them.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a list of keys, one a line")
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 ({error}): save it as UTF-8") from error
    keys = [line.strip() for line in lines if line.strip()]
    if len(set(keys)) != len(keys):
        raise ConfigError(f"{path}: {len(keys) - len(set(keys))} keys are there more than once")
    strange = sorted(set(keys) - set(among)) if among is not None else []
    if strange:
        said = f"{len(strange)} of {len(keys)} keys are not among the pairs to train on"
        raise ConfigError(f"{path}: {said}, first {strange[0]!r}")
    return keys
