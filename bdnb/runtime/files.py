"""Files that are whole or not there; folders that say who made them; errors of the disk in words.

Nothing is removed or replaced but what was written here: a folder of ours holds ``MARK``, written
before anything else.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from bdnb.runtime.errors import BdnbError, ConfigError

MARK = ".bdnb"
"""File of a folder that was made here; its one line says what the folder is."""

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space there",
    errno.EDQUOT: "the quota is used up: free some space there",
    errno.ENOTDIR: "a file is where a folder should be: move that file, or name another folder",
    errno.EROFS: "that file system is read-only: make it writable, or set BDNB_HOME to a copy",
    errno.EACCES: "it may not be written to: change its permissions, or set BDNB_HOME to a copy",
    errno.EPERM: "it may not be written to: change its permissions, or set BDNB_HOME to a copy",
}


class StorageError(BdnbError, OSError):
    """A folder that cannot be written to: says which, why, and what to do."""


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Watch over work that writes to ``path`` (a file or a folder).

    Errors: StorageError naming it when the disk is full, over quota or not writable; what was
    written before is as it was.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise StorageError(
            f"{error.filename or path}: {REMEDIES[error.errno]}, then give the same command again; "
            "what is recorded so far is kept"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to instead: on success its file is flushed and renamed to ``path``.

    So a file that matters is whole or not there, whenever the process ends. Errors: StorageError.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            with beside.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file so that it is whole or not there. Errors: StorageError."""
    with replacing(path) as beside:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)


def append_line(path: Path, line: bytes) -> None:
    """Append a line and see it to the disk; a part of it that was written is taken back.

    Errors: StorageError.
    """
    with storing(path), path.open("ab", buffering=0) as file:
        before, left = file.tell(), memoryview(line)
        try:
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise


PART = re.compile(r"\..+\.[0-9]+\.part")
"""Name of a file that ``replacing`` writes."""


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed left beside the files that they were writing.

    folder: of a run. Only the files that ``replacing`` names, in it and in its ``checkpoints/``.
    """
    for path in (*folder.glob(".*.part"), *folder.glob("checkpoints/.*.part")):
        if PART.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def begin(folder: Path, what: str, *, remedy: str = "") -> None:
    """Make an empty folder with our mark; one that was left half-made is replaced.

    Errors: ConfigError, as ``check_ours``; StorageError.
    """
    discard(folder, what, remedy=remedy)
    with storing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MARK).write_text(f"{what}\n", "utf-8")


def marked(folder: Path, what: str) -> bool:
    """Return whether a folder holds our mark, of this kind."""
    path = folder / MARK
    return path.is_file() and path.read_text("utf-8", "replace").strip() == what


def check_ours(folder: Path, what: str, *, known: bool = False, remedy: str = "") -> None:
    """Refuse to touch what was not made here. A folder that is empty or not there passes.

    what: it should be, in words. known: it is known to be ours by something else than the mark.
    remedy: what else the user may do. Errors: ConfigError naming the folder, which stays as it is.
    """
    if not os.path.lexists(folder):
        return
    plain = folder.is_dir() and not folder.is_symlink()
    if plain and (known or marked(folder, what) or not any(map(_holds, folder.iterdir()))):
        return
    raise ConfigError(
        f"{folder}: not made by bdnb (no mark {MARK} of {what} in it); it was left as it is: "
        f"{remedy or 'move it, or remove it if a version of bdnb without marks left it there'}"
    )


def _holds(path: Path) -> bool:
    """Whether this is something; a mark is empty where the disk was full when it was written."""
    return path.name != MARK or path.stat().st_size > 0


def discard(folder: Path, what: str, *, known: bool = False, remedy: str = "") -> None:
    """Remove a folder of ours, its mark last, so that what a kill leaves is known, too.

    Errors: ConfigError, as ``check_ours``; StorageError.
    """
    check_ours(folder, what, known=known, remedy=remedy)
    if not folder.is_dir():
        return
    with storing(folder):
        if not marked(folder, what) and any(folder.iterdir()):
            (folder / MARK).write_text(f"{what}\n", "utf-8")
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != MARK:
                path.unlink()
        (folder / MARK).unlink(missing_ok=True)
        folder.rmdir()


@contextmanager
def building(folder: Path, what: str, *, known: bool = False) -> Iterator[Path]:
    """Give an empty folder to fill, which then takes the place of ``folder``; to one at a time.

    So ``folder`` is whole or not there. A block that writes nothing, since another process has made
    the folder meanwhile, replaces nothing. what, known: as for ``check_ours``. Errors:
    ConfigError for a folder of the user's, before the block begins; StorageError.
    """
    part, making = folder.with_name(f".{folder.name}.part"), f"{what}, being made"
    with storing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            check_ours(folder, what, known=known)
            if marked(part, what):  # whole, but killed before it took its place
                discard(part, what)
            begin(part, making)
            try:
                yield part
                if any(path.name != MARK for path in part.iterdir()):
                    write_atomic(part / MARK, f"{what}\n")
                    discard(folder, what, known=known)
                    os.replace(part, folder)
            finally:
                discard(part, what if marked(part, what) else making)
