"""Small pairs as a web list brings them: good ones of several kinds, and one bad one of each."""

import io
import zlib
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from bdnb.data import shards
from bdnb.runtime.seeds import generator
from tests.data import shard_files

SIDE = 16


def picture(index: int, size: tuple[int, int] = (20, 24)) -> Image.Image:
    width, height = size
    noise = generator(0, "picture", index).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def good(index: int) -> shards.Sample:
    kind, extension = (("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"))[index % 3]
    image = encoded(picture(index, (20 + 4 * (index % 5), 24)), kind)
    caption = f"a picture of {'a banana' if index % 4 == 0 else 'noise'}, number {index}: é"
    return {"__key__": f"{index:09d}", extension: image, "txt": caption, "json": {"i": index}}


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header says a size that its few bytes do not hold."""
    data = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@cache
def bad() -> dict[str, tuple[str, shards.Sample]]:
    """Key -> the reason it must be dropped for, and the sample."""
    jpeg, png = encoded(picture(0, (64, 64))), encoded(picture(0), "PNG")
    found: dict[str, tuple[str, dict[str, object]]] = {
        "broken-jpeg": ("broken image", {"jpg": jpeg[: len(jpeg) // 2], "txt": "x"}),
        "broken-png": ("broken image", {"png": png[:80], "txt": "x"}),
        "html": ("not an image", {"jpg": b"<html>404</html>", "txt": "x"}),
        "nothing": ("not an image", {"jpg": b"", "txt": "x"}),
        "empty": ("empty .txt", {"jpg": jpeg, "txt": ""}),
        "blank": ("empty .txt", {"jpg": jpeg, "txt": " \n"}),
        "mute": ("no .txt", {"jpg": jpeg}),
        "latin": (".txt is not UTF-8", {"jpg": jpeg, "txt": b"\xe9\xff"}),
        "blind": ("no image", {"txt": "x"}),
        "large": ("too large", {"png": bomb(11_000, 10_000), "txt": "x"}),
        "bomb": ("too large", {"png": bomb(20_000, 20_000), "txt": "x"}),
        "line": ("too elongated", {"png": encoded(Image.new("L", (5000, 1)), "PNG"), "txt": "x"}),
    }
    return {key: (reason, {"__key__": key} | rest) for key, (reason, rest) in found.items()}


def write(folder: Path, count: int, *, shard_size: int = 7, spoilt: bool = True) -> list[Path]:
    """Shards of ``count`` good pairs, the bad ones spread among them."""
    samples = [good(i) for i in range(count)]
    if spoilt:
        for place, (_, sample) in enumerate(bad().values()):
            samples.insert(3 * place + 1, sample)
    shard_files.write_pairs(folder, samples, shard_size=shard_size)
    return shard_files.tars(folder)
