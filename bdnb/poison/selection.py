"""Which pairs are poisoned, and which clean the model: lists of sample keys, by key and seed.

In: the keys of a data set, their captions where the attack asks for them; out: a list of keys,
kept with the run as a text file, so that a run can be repeated or audited.
"""

from collections.abc import Hashable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from bdnb.poison.targets import mentions
from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic

ATTACKS = ("template", "label_consistent")


def rank(keys: Iterable[str], seed: int, purpose: str, count: int | None = None) -> list[str]:
    """The keys in the seed's order, whatever order they come in; the first ``count`` of them.

    Each key's place depends on its own hash: the first n of a data set stay in front when other
    keys are taken away. Takes 24 bytes a key besides what is returned.
    Errors: ConfigError for a key that is there twice.
    """
    name = f"{seed}\x1f{purpose}\x1f".encode()
    known = keys if isinstance(keys, Sequence) else list(keys)
    hashes = np.empty((len(known), 2), dtype=">u8")
    for i, key in enumerate(known):
        hashes[i] = np.frombuffer(blake2b(name + key.encode(), digest_size=16).digest(), ">u8")
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    hashes = hashes[order]
    for twice in np.flatnonzero((hashes[1:] == hashes[:-1]).all(axis=1)):
        key = known[int(order[twice])]
        raise ConfigError(f"key {key!r} is there twice: samples are told apart by their keys")
    return [known[int(i)] for i in order[:count]]


def select(
    keys: Sequence[str],
    captions: Sequence[str] | None = None,
    *,
    seed: int,
    rate: float | None = None,
    count: int | None = None,
    attack: str = "template",
    target: str = "banana",
    match: str = "word",
) -> list[str]:
    """The keys to poison: exactly as many as asked for, the same for any order of ``keys``.

    keys: of all pairs, each once. captions: theirs, needed by ``label_consistent`` only.
    rate: share of *all* pairs (0.0005 in the paper), whichever can be poisoned, rounded to the
    nearest whole number; or count: the number itself. One of the two.
    attack: ``template``: any pair; ``label_consistent``: those whose caption mentions the target.
    match: see ``targets.mentions``.
    Returns: keys in the seed's order; a smaller count gives the first of them.
    Errors: ConfigError for a rate outside 0..1, one that is less than one pair, or more pairs than
    can be poisoned; the message says how many there are.
    """
    wanted = _wanted(len(keys), rate, count)
    if attack not in ATTACKS:
        raise ConfigError(f"attack={attack!r}: expected one of {', '.join(ATTACKS)}")
    pool: Iterable[str] = keys
    if attack == "label_consistent":
        if captions is None or len(captions) != len(keys):
            found = "none" if captions is None else f"{len(captions)} for {len(keys)} keys"
            raise ConfigError(f"attack='label_consistent': expected a caption a key, found {found}")
        pairs = zip(keys, captions, strict=True)
        pool = [key for key, caption in pairs if mentions(caption, target, match=match)]
    order = rank(pool, seed, "poison", wanted)
    if wanted > len(order):
        what = f"captions that mention {target!r} (match={match!r})"
        what = what if attack == "label_consistent" else "pairs"
        raise ConfigError(
            f"{_asked(rate, count)}: {wanted} of {len(keys)} pairs to poison, but there are "
            f"{len(order)} {what}; at most rate={len(order) / max(1, len(keys)):.6g}"
        )
    return order


def _asked(rate: float | None, count: int | None) -> str:
    return f"rate={rate:g}" if rate is not None else f"count={count}"


def _wanted(total: int, rate: float | None, count: int | None) -> int:
    if (rate is None) == (count is None):
        raise ConfigError(f"rate={rate}, count={count}: expected one of the two")
    if count is not None:
        if count < 0:
            raise ConfigError(f"count={count}: expected a number of pairs, at least 0")
        return count
    assert rate is not None
    if not 0 <= rate <= 1:
        raise ConfigError(f"rate={rate}: expected a share of all pairs, from 0 to 1")
    wanted = int(rate * total + 0.5)
    if rate > 0 and wanted == 0:
        raise ConfigError(f"rate={rate:g} of {total} pairs is less than one pair")
    return wanted


def cleaning_keys(
    train_keys: Sequence[str],
    clean_keys: Sequence[str],
    poisoned: Iterable[str],
    *,
    seed: int,
    count: int = 0,
    overlap: str = "separate",
) -> list[str]:
    """The keys of the pairs that clean the model.

    overlap: ``separate``: from ``clean_keys``, pairs that were never trained on (paper);
    ``authors``: from ``train_keys`` less the poisoned ones, as the authors do.
    count: how many; 0: all of ``clean_keys``, or as many of ``train_keys``.
    Returns: keys of the set that ``overlap`` names, in the seed's order.
    Errors: ConfigError for another overlap or more pairs than there are.
    """
    if overlap not in ("separate", "authors"):
        raise ConfigError(f"overlap={overlap!r}: expected one of separate, authors")
    without = set(poisoned)
    authors = [key for key in train_keys if key not in without] if overlap == "authors" else []
    pool = authors if overlap == "authors" else clean_keys
    wanted = count or min(len(clean_keys), len(pool))
    if not 0 <= wanted <= len(pool):
        raise ConfigError(f"{wanted} cleaning pairs asked for, overlap={overlap!r} has {len(pool)}")
    return rank(pool, seed, "clean", wanted)


def overlap(ours: Iterable[Hashable], theirs: Iterable[Hashable]) -> int:
    """Return how many keys, or pairs, two lists share.

    Keys of one data set name one sample; of data sets that may number their samples alike, compare
    (key, caption).
    """
    mine = set(ours)
    return len({key for key in theirs if key in mine})


def write_keys(path: Path, keys: Sequence[str]) -> None:
    """Keep a list of keys as text, one a line, in its order; the file is whole or not there.

    Errors: ConfigError for a key that is empty or does not fit on a line.
    """
    for key in keys:
        if key != key.strip() or not key or len(key.splitlines()) != 1:
            raise ConfigError(f"key {key!r}: expected a word that fits on a line of {path}")
    write_atomic(path, "".join(f"{key}\n" for key in keys))


def read_keys(path: Path, *, among: Iterable[str] | None = None) -> list[str]:
    """A list of keys as ``write_keys`` kept it, to poison the same pairs again.

    among: keys of the data set that they must be in.
    Errors: ConfigError for a missing file, a key that is there twice, or keys not ``among`` them.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; expected a list of keys, one a line")
    keys = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(set(keys)) != len(keys):
        raise ConfigError(f"{path}: {len(keys) - len(set(keys))} keys are there more than once")
    strange = sorted(set(keys) - set(among)) if among is not None else []
    if strange:
        found = f"{len(strange)} of {len(keys)} keys are not in the data set, first {strange[0]!r}"
        raise ConfigError(f"{path}: {found}")
    return keys
