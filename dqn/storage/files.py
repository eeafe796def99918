"""Files that are either whole or not there: write aside, sync, rename."""

import hashlib
import logging
import os
import shutil
from pathlib import Path


def write_synced(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the folder's entries: what was created, renamed or removed in it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path`` in one instant."""
    aside = path.with_name(f".{path.name}.part")
    write_synced(aside, data)
    os.replace(aside, path)
    sync_folder(path.parent)


def remove_folder(folder: Path) -> None:
    """Delete a folder so that no reader ever finds half of it under its name."""
    if not folder.exists():
        return
    aside = folder.with_name(f".{folder.name}.gone")
    shutil.rmtree(aside, ignore_errors=True)
    os.replace(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)


def sha256(data: bytes) -> str:
    """Hex digest."""
    return hashlib.sha256(data).hexdigest()


log = logging.getLogger("dqn")


class Journal:
    """Appends records; what the disk refuses is kept, and tried again with the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting = b""
        self._complained = False

    def append(self, record: bytes) -> None:
        """Add a record. A full disk is one line in the log, and no reason to stop."""
        self._waiting += record
        try:
            self.write()
        except OSError as error:
            if not self._complained:
                self._complained = True  # first: the line below may be for this very file
                log.warning(
                    "%s waits until it can be written again (%s).",
                    self._path.name, error.strerror,
                )  # fmt: skip

    def write(self) -> None:
        """Write what waits.

        Raises:
            OSError: the disk is full, say; then nothing of it is in the file.
        """
        if not self._waiting:
            return
        with open(self._path, "ab", buffering=0) as file:
            whole = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(self._waiting)
                while rest:
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(whole)
                raise
        self._waiting, self._complained = b"", False

    def sync(self) -> int:
        """Wait until the disk has it all; returns the file's length in bytes.

        Raises:
            OSError: it cannot be written.
        """
        self.write()
        if not self._path.exists():
            return 0
        with open(self._path, "rb") as file:
            os.fsync(file.fileno())
            return file.seek(0, os.SEEK_END)

    def cut(self, length: int) -> None:
        """Take away what was written after the first ``length`` bytes."""
        if self._path.exists():
            os.truncate(self._path, min(length, self._path.stat().st_size))
