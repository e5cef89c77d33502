"""The tiny set, built once, and the art as the packages hold it."""

from pathlib import Path

import pytest

from bdnb.data import art, emoji
from tests.data.tiny_scenes import NPM_CACHE, TINY, project


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = project(tmp_path_factory.mktemp("project"))
    emoji.build(TINY, root)
    return root


@pytest.fixture(scope="session")
def icons() -> dict[str, art.Icons]:
    return {style: art.load(style, NPM_CACHE) for style in art.STYLES}
