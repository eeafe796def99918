"""A run's folder, ``checkpoints/<Game>/<config>-seed<seed>/``: one process at a time trains in it.

Readers need no lock.
"""

import contextlib
import fcntl
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import IO

from dqn.config import ConfigError
from dqn.report.tensorboard import hide_from_tensorboard

log = logging.getLogger("dqn")


class FolderInUse(ConfigError):
    """Another process trains in the folder."""


class RunFolder:
    """The folder, locked until it is closed or the process ends."""

    def __init__(
        self, path: Path, elsewhere: str = "--seed, --config or --checkpoints-dir"
    ) -> None:
        """Create and lock the folder; ``elsewhere`` names the options that choose another.

        Raises:
            ConfigError: it cannot be written, or another process trains in it.
        """
        self.path = path
        self._elsewhere = elsewhere
        self._created: list[Path] = []
        self._lock = self._locked()

    def set_aside(self) -> Path | None:
        """Rename the folder, unless it has no run, and create a new one; returns the old run's new
        path."""
        if all(entry.name in (".lock", "train.log") for entry in self.path.iterdir()):
            return None
        now = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        aside = self.path.with_name(f"{self.path.name}.old-{now}")
        os.rename(self.path, aside)  # atomic
        self._lock.close()
        (aside / ".lock").unlink(missing_ok=True)
        self._lock = self._locked()
        try:
            hide_from_tensorboard(aside)
        except OSError as error:  # TensorBoard then lists it, no more
            log.warning("TensorBoard still lists %s (%s).", aside, error.strerror)
        return aside

    def _locked(self) -> IO[str]:
        elsewhere = "choose another --checkpoints-dir"
        try:
            self._created += [p for p in (self.path, *self.path.parents) if not p.exists()]
            self.path.mkdir(parents=True, exist_ok=True)
            links = [entry.name for entry in self.path.iterdir() if entry.is_symlink()]
            if links:  # writing through it would change a file elsewhere
                raise ConfigError(f"{self.path}/{links[0]} is a link; a run's files are its own")
            lock = open(self.path / ".lock", "a+")  # noqa: SIM115  held until the process ends
        except OSError as error:
            reason = error.strerror
            raise ConfigError(f"cannot write in {self.path}: {reason}; {elsewhere}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            raise FolderInUse(
                f"process {owner} is training in {self.path} already; stop it, or choose another "
                f"{self._elsewhere}"
            ) from None
        except OSError as error:  # a network disk without locks
            lock.close()
            reason = error.strerror
            raise ConfigError(f"cannot lock {self.path}: {reason}; {elsewhere}") from None
        if not _same_file(lock, self.path / ".lock"):  # another process's --fresh moved it aside
            lock.close()
            return self._locked()
        try:
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
        except OSError as error:  # the disk is full
            with contextlib.suppress(OSError):
                lock.close()
            reason = error.strerror
            raise ConfigError(f"cannot write in {self.path}: {reason}; {elsewhere}") from None
        return lock

    def close(self) -> None:
        """Release the lock, and delete the folder if nothing was written in it, with the parent
        folders created for it."""
        with contextlib.suppress(OSError):  # it is gone, or another run is in it by now
            if [entry.name for entry in self.path.iterdir()] == [".lock"]:
                (self.path / ".lock").unlink()
                for folder in self._created:
                    folder.rmdir()
        self._lock.close()


def _same_file(opened: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(opened.fileno()), path.stat())
    except FileNotFoundError:
        return False
