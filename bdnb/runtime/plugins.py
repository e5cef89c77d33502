"""Triggers and defences of the user's: a Python file, named by ``code`` in a parameter file.

Every process that makes or measures a run imports the file first, so what it registers works in
notebooks, sweeps, Snakemake's jobs and ``accelerate launch`` alike.
"""

import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

from bdnb.runtime.command import Stopped
from bdnb.runtime.errors import BdnbError, ConfigError
from bdnb.runtime.project import root

HOW = "the book's page howto shows how"
PREFIX = "bdnb_plugin_"
"""What the names of these files' modules begin with."""
LOADED: dict[Path, str] = {}
"""The files imported by this process, with the digest of what they said then."""

Plug = TypeVar("Plug", bound=Callable[..., Any])


def place(name: str) -> Path:
    """Where a notebook writes such a file: ``plugins/<name>`` in the project's folder."""
    folder = root() / "plugins"
    folder.mkdir(exist_ok=True)
    return folder / name


def path_of(code: str) -> Path:
    """The file that ``code`` names, from the project's folder. Errors: ConfigError.

    Only files inside the project are taken: a run or a checkpoint from elsewhere says its
    ``code``, too, and must not name a file that its user never put there.
    """
    path = (root() / code).resolve()
    if not path.is_relative_to(root().resolve()) or path.suffix != ".py" or not path.is_file():
        there = "outside the project's folder" if path.is_file() else "no such file"
        raise ConfigError(
            f"code={code!r}: {there}; expected a Python file in the project's folder, such as "
            f"plugins/mine.py; {HOW}"
        )
    return path


def digest(code: str) -> str:
    """What tells one state of the file from another: runs with another are other runs."""
    return blake2b(path_of(code).read_bytes(), digest_size=5).hexdigest()


@contextmanager
def calling(what: str) -> Iterator[None]:
    """A call of the user's code. Errors: ConfigError for whatever it raises, with file and line.

    ``sys.exit`` there is such an error, too: it would end the notebook as if all had been done.
    """
    try:
        yield
    except (BdnbError, Stopped):
        raise
    except (Exception, SystemExit) as error:
        ours = Path(__file__).parents[1]
        found = [(Path(f.filename), f.lineno) for f in traceback.extract_tb(error.__traceback__)]
        if isinstance(error, SyntaxError) and error.filename:
            found.append((Path(error.filename), error.lineno))
        mine = [(p, n) for p, n in found if p.is_relative_to(root()) and not p.is_relative_to(ours)]
        line = f"{mine[-1][0].relative_to(root())}:{mine[-1][1]}: " if mine else ""
        raise ConfigError(f"{what}: {line}{type(error).__name__}: {error}; {HOW}") from error


def load(code: str) -> None:
    """Import the file, unless this process has done so and it has not changed; "": nothing.

    Errors: ConfigError for a file that is not there, or fails: which, and why.
    """
    if not code:
        return
    path, now = path_of(code), digest(code)
    if LOADED.get(path) == now:
        return
    name = _module(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with calling(f"code={code!r}"):
        spec.loader.exec_module(module)
    LOADED[path] = now


def of_run(table: Mapping[str, Plug], code: str) -> dict[str, Plug]:
    """Return what a run may use of a registry: this package's, and what its ``code`` registers.

    What this process imported for other runs is not the run's: its record would not say whose it
    was, nor be another's once the file changes. Errors: ConfigError as ``load``.
    """
    load(code)
    own = _module(path_of(code)) if code else ""
    return {n: f for n, f in table.items() if f.__module__ == own or not _foreign(f)}


def not_named(table: Mapping[str, Plug], name: str) -> str:
    """Say which file has a name that ``of_run`` lacks; "" for none."""
    if (function := table.get(name)) is None or not _foreign(function):
        return ""
    path = Path(sys.modules[function.__module__].__file__ or "")
    path = path.relative_to(root()) if path.is_relative_to(root()) else path
    return f" ({path} has it, which this run does not name as its code)"


def _foreign(function: Callable[..., Any]) -> bool:
    return function.__module__.startswith(PREFIX)


def _module(path: Path) -> str:
    return f"{PREFIX}{path.stem}_{blake2b(str(path).encode(), digest_size=4).hexdigest()}"
