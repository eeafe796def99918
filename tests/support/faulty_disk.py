"""A full disk, a killed process or a power cut at a chosen file operation.

Python's own file operations are wrapped: open for writing, write, sync, truncate, rename, link,
make and remove. So every operation in a folder is counted, from wherever it is called.
"""

import builtins
import errno
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest


class Died(BaseException):
    """The process was killed here. A BaseException: no handler of errors may catch it."""


class FaultyDisk:
    """While entered, counts the operations in ``folder`` and makes some of them fail.

    ``mode`` is ``trace`` (none fails), ``fail`` (the operation ``at`` raises OSError, a write after
    half of its bytes; the others succeed) or ``die`` (``at`` and every later one raise Died, so
    nothing is cleaned up).
    """

    def __init__(self, folder: Path, mode: str = "trace", at: int = -1) -> None:
        self.operations: list[str] = []
        self._folder, self._mode = str(folder.resolve()), mode
        self._failing = range(at, {"trace": at, "fail": at + 1, "die": sys.maxsize}[mode])
        self._patch = pytest.MonkeyPatch()
        self._open = builtins.open
        self._synced_bytes: dict[int, bytes] = {}
        self._synced_names: dict[int, dict[str, int]] = {}
        self._held: dict[int, int] = {}  # inode -> descriptor, so that no inode is used again
        for path in [folder, *folder.rglob("*")]:
            self._remember(path)

    def __enter__(self) -> Self:
        self._patch.setattr(builtins, "open", self._opened)
        for name in ("rename", "replace", "link", "mkdir", "unlink", "remove", "rmdir", "truncate"):
            self._patch.setattr(os, name, self._counted(name, getattr(os, name)))
        self._patch.setattr(os, "fsync", self._fsync(os.fsync))
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()
        for descriptor in self._held.values():
            os.close(descriptor)

    def lose_power(self, names_too: bool) -> None:
        """Leave in the folder only what was synced: the bytes of files and, if ``names_too``, the
        names in folders. (Disks may write names long after bytes, or long before.)"""
        if not names_too:
            for path in Path(self._folder).rglob("*"):
                synced = self._synced_bytes.get(path.stat().st_ino, b"")
                if path.is_file() and path.read_bytes() != synced:
                    path.write_bytes(synced)
            return
        root = Path(self._folder).stat().st_ino
        shutil.rmtree(self._folder)
        self._rebuild(Path(self._folder), root)

    def _rebuild(self, path: Path, inode: int) -> None:
        if inode not in self._synced_names:
            path.write_bytes(self._synced_bytes.get(inode, b""))
            return
        path.mkdir()
        for name, child in self._synced_names[inode].items():
            self._rebuild(path / name, child)

    def _remember(self, path: Path) -> None:
        """Note what is now on the disk for certain."""
        inode = path.stat().st_ino
        if inode not in self._held:
            self._held[inode] = os.open(path, os.O_RDONLY)
        if path.is_dir():
            self._synced_names[inode] = {entry.name: entry.inode() for entry in os.scandir(path)}
            for entry in os.scandir(path):
                if entry.inode() not in self._held:
                    self._held[entry.inode()] = os.open(entry.path, os.O_RDONLY)
                if entry.is_dir():
                    self._synced_names.setdefault(entry.inode(), {})
        else:
            self._synced_bytes[inode] = path.read_bytes()

    def _happens(self, what: str, path: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count an operation; raise if it is to fail, or comes after death."""
        number = len(self.operations)
        self.operations.append(f"{what} {path.removeprefix(self._folder)}")
        if number not in self._failing:
            return
        if self._mode == "fail" or number == self._failing.start:
            half()
        if self._mode == "die":
            raise Died
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _inside(self, path: Any, dir_fd: int | None = None) -> str | None:
        if isinstance(path, int):
            place = Path(f"/proc/self/fd/{path}").readlink()
        elif dir_fd is not None:
            place = Path(f"/proc/self/fd/{dir_fd}").readlink() / path
        else:
            place = Path.cwd() / path
        return str(place) if str(place).startswith(self._folder) else None

    def _counted(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **keywords: Any) -> Any:
            if inside := self._inside(path, keywords.get("dir_fd")):
                self._happens(name, inside)
            return real(path, *arguments, **keywords)

        return call

    def _fsync(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            if inside := self._inside(descriptor):
                self._happens("sync", inside)
                real(descriptor)
                self._remember(Path(inside))

        return call

    def _opened(self, path: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
        inside = None if isinstance(path, int) else self._inside(path)
        if not inside or not set(mode) & set("wax+"):
            return self._open(path, mode, *arguments, **keywords)
        self._happens("open", inside)
        if "b" in mode:
            return _File(self, inside, mode)
        return self._open(path, mode, *arguments, **keywords)


class _File(io.FileIO):
    """A file open for writing, without a buffer."""

    def __init__(self, disk: FaultyDisk, path: str, mode: str) -> None:
        super().__init__(path, mode)
        self._disk, self._path = disk, path

    def write(self, data: Any) -> int:
        half = bytes(data)[: len(data) // 2]
        self._disk._happens("write", self._path, lambda: io.FileIO.write(self, half))
        return super().write(data)
