"""A tiny set of emoji scenes, and where the project keeps the art for it."""

from pathlib import Path

from bdnb.data.emoji import EmojiData

NPM_CACHE = Path(__file__).parents[2] / "data" / ".npm"

TINY = EmojiData(
    name="tiny",
    pairs=24,
    cleaning_pairs=8,
    val_images=12,
    unseen_images=13,
    classes=6,
    side=32,
)


def project(folder: Path) -> Path:
    """An empty project's folder that shares the cache of fetched packages."""
    NPM_CACHE.mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(parents=True)
    (folder / "data" / ".npm").symlink_to(NPM_CACHE)
    return folder
