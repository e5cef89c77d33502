"""Where the project's folder is: parameters, data and runs lie in it."""

import os
from functools import lru_cache
from pathlib import Path

from bdnb.runtime.errors import ConfigError


def root() -> Path:
    """Return the project's folder: ``BDNB_HOME``, or the nearest one upwards with ``params/``.

    Errors: ConfigError where there is none.
    """
    return _found(os.environ.get("BDNB_HOME", ""), os.getcwd())


@lru_cache(maxsize=64)
def _found(home: str, cwd: str) -> Path:
    """Looked for once from each folder: thousands of runs' names are worked out from it."""
    if home:
        return Path(home).resolve()
    here = Path(cwd)
    for folder in (here, *here.parents):
        if (folder / "params").is_dir():
            return folder
    raise ConfigError(
        f"no folder params/ in {here} or above it: start from the project's folder, "
        "or name it in the environment variable BDNB_HOME"
    )
