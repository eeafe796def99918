"""Files and folders that appear whole or not at all, and journals that survive a full disk."""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from pathlib import Path

log = logging.getLogger("dqn")


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
    sync(path)


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's entries (created, renamed, removed), are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AtomicFile:
    """A file with either its old content or all of the new: written as ``part``, a hidden name
    beside it, then synced and renamed.

    As a context manager it yields ``part``, commits at a normal exit and discards on an exception.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.part = path.with_name(f".{path.name}.part")
        remove(self.part)  # left by a killed process

    def commit(self) -> None:
        """Put the new content in place of the old.

        Raises:
            OSError: the old content is still there; or, if only the folder's sync failed, a power
                cut may bring it back.
        """
        try:
            sync(self.part)
            self._replace()
        except BaseException:
            self.discard()
            raise
        sync(self._path.parent)

    def discard(self) -> None:
        """Delete the new content."""
        remove(self.part)

    def _replace(self) -> None:
        os.replace(self.part, self._path)

    def __enter__(self) -> Path:
        return self.part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


class AtomicFolder(AtomicFile):
    """The same for a folder, which is created empty. The files in it are the caller's to sync."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._old = path.with_name(f".{path.name}.gone")
        self.part.mkdir()

    def commit(self) -> None:
        super().commit()
        remove(self._old)

    def _replace(self) -> None:
        if not self._path.exists():
            os.rename(self.part, self._path)
            return
        remove(self._old)
        os.rename(self._path, self._old)
        try:
            os.rename(self.part, self._path)
        except OSError:
            os.rename(self._old, self._path)
            raise


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file's content atomically."""
    with AtomicFile(path) as part, open(part, "wb") as file:
        file.write(data)


def why_unwritable(file: str | Path, error: OSError) -> str:
    """Why a file cannot be written, and where it could."""
    why = f"{file}: {error.strerror}"
    if error.errno in (errno.EACCES, errno.EROFS):
        why += "; name a file in a folder that you may write"
        if os.access("checkpoints", os.W_OK):  # in a container often the only one
            why += f", such as checkpoints/{Path(file).name}"
    return why


def remove(path: Path) -> None:
    """Delete a file or folder if it exists; errors are ignored."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no reader ever finds half of it under its name."""
    gone = folder.with_name(f".{folder.name}.gone")
    remove(gone)
    os.rename(folder, gone)
    remove(gone)


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


class Journal:
    """Appends records to a file; what cannot be written is kept and retried with the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending = b""
        self._has_warned = False

    def append(self, record: bytes) -> None:
        """Add a record. If the disk is full that is logged once, and nothing is raised."""
        self._pending += record
        try:
            self.write()
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True  # set first: this very journal may be the log's
                what = self._path.name, error.strerror
                log.warning("%s is written later, when that is possible again (%s).", *what)

    def write(self) -> None:
        """Write the pending records.

        Raises:
            OSError: the disk is full, for instance; then the file is unchanged.
        """
        if not self._pending:
            return
        with open(self._path, "ab", buffering=0) as file:
            length = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(self._pending)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(length)
                raise
        self._pending, self._has_warned = b"", False

    def sync(self) -> int:
        """Wait until all records are on disk; returns the file's length in bytes.

        Raises:
            OSError: they cannot be written.
        """
        self.write()
        if not self._path.exists():
            return 0
        sync(self._path)
        return self._path.stat().st_size

    def cut(self, length: int) -> None:
        """Remove everything after the first ``length`` bytes."""
        if self._path.exists():
            os.truncate(self._path, min(length, self._path.stat().st_size))
