"""Samples that cannot be used: why, how many of each kind, and when they are too many.

In: what was met while a sample was read. Out: ``reason: detail`` in plain text, counts by reason,
a file of names beside the run. The reasons are few, so that they can be counted.
"""

import io
import logging
import struct
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from bdnb.runtime.errors import ConfigError
from bdnb.runtime.files import write_atomic

log = logging.getLogger(__name__)

BAD_SHARE = 0.05
"""Share of samples that may be bad before work stops with an error."""

LONGEST = 100
"""An image longer than this many times its short side is dropped: resizing makes it huge."""

DAMAGE = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What PIL raises for files that are not whole images."""


class BadSample(ValueError):
    """A sample that cannot be used. reason: a few words, the same for all of a kind."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)


def why(error: Exception) -> str:
    """Return what was met in a sample, as ``reason: detail``."""
    if isinstance(error, BadSample):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return f"broken image: {type(error).__name__}: {error}".replace("\n", " ")


def text(data: bytes | None, field: str) -> str:
    """Return a sample's caption or label. Errors: BadSample: missing, empty or not UTF-8."""
    if data is None:
        raise BadSample(f"no .{field}")
    try:
        found = data.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise BadSample(f".{field} is not UTF-8", str(error)) from error
    if not found:
        raise BadSample(f"empty .{field}")
    return found


def open_image(data: bytes) -> Image.Image:
    """Return an image, only its header read.

    Errors: BadSample for more pixels than PIL trusts (89 million), or a line of them; one of
    ``DAMAGE``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(io.BytesIO(data))
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise BadSample("too large", str(error)) from error
    width, height = image.size
    if max(image.size) > LONGEST * min(image.size):
        raise BadSample("too elongated", f"{width} x {height} pixels")
    return image


def _reasons(bad: Iterable[str]) -> dict[str, int]:
    """How many samples were dropped for each reason, the commonest first."""
    return dict(Counter(line.partition(":")[0] for line in bad).most_common())


def report(bad: Mapping[str, str], good: int, bad_share: float, *, where: str) -> None:
    """Warn of the samples left out. Errors: ConfigError when they are too many, or all.

    The message names the reasons, the worst first, each with an example.
    """
    if not bad and good:
        return
    examples = {
        line.partition(":")[0]: f"{key} ({line})" for key, line in reversed(list(bad.items()))
    }
    counts = _reasons(bad.values()).items()
    found = "; ".join(f"{n} {reason}, as {examples[reason]}" for reason, n in counts)
    counted = f"{where}: {len(bad)} of {good + len(bad)} samples cannot be used"
    if good == 0:
        raise ConfigError(f"{where}: no sample that can be used. {found}".rstrip())
    if len(bad) > bad_share * (good + len(bad)):
        raise ConfigError(f"{counted}, more than bad_share={bad_share:g}: {found}")
    log.warning("%s and were left out: %s", counted, found)


def keep(path: Path, sets: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return how many samples of some sets were dropped, by reason, as values of a manifest.

    sets: name -> key -> why. Their names are kept in ``path``: a line a sample, set, key, reason
    and detail, tabs between; no file when there are none.
    """
    lost = [(name, key, why) for name, bad in sets.items() for key, why in bad.items()]
    if not lost:
        return {"dropped": 0}
    lines = ["set\tkey\treason\tdetail"]
    for name, key, why in lost:
        reason, _, detail = why.partition(":")
        lines.append("\t".join(" ".join(part.split()) for part in (name, key, reason, detail)))
    write_atomic(path, "\n".join(lines) + "\n")
    return {"dropped": len(lost), "dropped_by": _reasons(why for _, _, why in lost)}
