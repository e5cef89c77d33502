"""Files that are whole or not there; errors of the disk that say where and what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bdnb.runtime.errors import BdnbError

REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space there",
    errno.EDQUOT: "the quota is used up: free some space there",
    errno.EROFS: "that file system is read-only: make it writable, or set BDNB_HOME to a copy",
    errno.EACCES: "it may not be written to: change its permissions, or set BDNB_HOME to a copy",
    errno.EPERM: "it may not be written to: change its permissions, or set BDNB_HOME to a copy",
}


class StorageError(BdnbError, OSError):
    """A folder that cannot be written to: says which, why, and what to do."""


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Work that writes to ``path`` (a file or a folder).

    Errors: StorageError naming it when the disk is full, over quota or not writable; what was
    written before is as it was.
    """
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        raise StorageError(
            f"{error.filename or path}: {REMEDIES[error.errno]}, then give the same command again; "
            "what is recorded so far is kept"
        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to instead: on success its file is flushed and renamed to ``path``.

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


def remove_parts(folder: Path) -> None:
    """Remove what processes that were killed left beside the files that they were writing."""
    for path in folder.rglob(".*.part"):
        path.unlink(missing_ok=True)
