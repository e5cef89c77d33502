"""Every random stream of the project, from one seed, a purpose and an index.

No global state: what a sample draws does not depend on batch, worker, rank or restart.
"""

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
