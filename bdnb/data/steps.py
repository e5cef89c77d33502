"""How many steps an epoch has: counts in, a count out. No torch, so that a plan can ask, too."""


def steps_of_epoch(
    samples: int, batch_size: int, *, last_batch: str = "keep", world: int = 1
) -> int:
    """Return the whole batches, and one more for a smaller last one that is kept.

    last_batch: "keep" it, where each of ``world`` processes has a sample and all have two, or
    "drop" it (authors).
    """
    full, rest = divmod(samples, batch_size)
    return full + (last_batch == "keep" and rest >= max(2, world))
