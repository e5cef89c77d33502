"""Every random stream of the project, from one seed, a purpose and an index.

No global state: what a sample draws does not depend on batch, worker, rank or restart.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np


def generator(seed: int, purpose: str, *index: int | str) -> np.random.Generator:
    """The stream of random numbers for one purpose, e.g. ``generator(0, "trigger", key)``.

    seed: the run's seed. purpose: what is drawn. index: epoch, sample key and the like.
    Equal arguments give equal streams on every machine; any difference gives an unrelated one.
    """
    name = "\x1f".join([str(seed), purpose, *map(str, index)])
    key = int.from_bytes(blake2b(name.encode(), digest_size=16).digest(), "little")
    return np.random.Generator(np.random.Philox(key=key))


def integer(seed: int, purpose: str, *index: int | str) -> int:
    """A 63-bit seed for a library that takes an integer (``torch.manual_seed``, FAISS)."""
    return int(generator(seed, purpose, *index).integers(2**63))


def sample_seeds(seed: int, purpose: str, epoch: int, keys: Sequence[str]) -> np.ndarray:
    """Return a seed for each sample: (B,) uint64.

    A 64-bit hash of each key with a 64-bit salt from ``generator(seed, purpose, epoch)``, mixed: a
    hundredth of the cost of a generator for each sample, which depends on its own key alone, too.
    """
    salt = generator(seed, purpose, epoch).integers(2**64, dtype=np.uint64)
    hashes = b"".join(blake2b(key.encode(), digest_size=8).digest() for key in keys)
    return _mix(np.frombuffer(hashes, dtype="<u8") ^ salt)


def uniforms(seed: int, purpose: str, epoch: int, keys: Sequence[str], count: int) -> np.ndarray:
    """Return (B, count) float64 in [0, 1): SplitMix64 (Steele et al. 2014) from these seeds."""
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = _mix(sample_seeds(seed, purpose, epoch, keys)[:, None] + steps)
    return (mixed >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of SplitMix64 on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
