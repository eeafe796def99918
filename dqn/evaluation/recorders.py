"""Where the screens of one episode go: a folder of PNGs, a window (and the films of films.py).

What is written to disk is written under a ``.part`` name and renamed when it is whole, so that
nobody meets half of it.
"""

import os
import re
import shutil
import tempfile
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2

from dqn.config import ConfigError
from dqn.types import Array

PNG_LIMIT = 5_000
"""Pictures kept of one episode, about five and a half minutes of play on Atari."""

FRAMES_PER_SECOND = 15
"""Atari's own speed: 60 frames a second, 4 a decision."""

SCALE = 2
"""Film pixels along each side of a screen pixel."""


class Sink(ABC):
    """Takes the screens of one episode, ``[H, W, 3]`` uint8 each.

    Every method may raise OSError (disk full, no permission, encoder missing or failing). As a
    context manager it closes at a normal end and discards at an exception.
    """

    @abstractmethod
    def add(self, screen: Array) -> None:
        """Take the next screen."""

    @abstractmethod
    def end(self, screen: Array) -> None:
        """Take the screen that the episode ended with, on which nothing is decided any more."""

    @abstractmethod
    def close(self) -> None:
        """Finish and put the result under its final name; nothing is left if this fails, or if
        there was no screen."""

    @abstractmethod
    def discard(self) -> None:
        """Leave nothing behind. Raises nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.discard()


class PngFolder(Sink):
    """``path/000000.png ...``: each screen exactly as the emulator drew it, the first ``limit``.

    Raises:
        ConfigError: the folder holds other things, which are not ours to replace.
    """

    def __init__(self, path: str | Path, limit: int = PNG_LIMIT) -> None:
        self._path = Path(path).absolute()
        self._limit = limit
        self._count = 0
        if self._path.is_dir() and not all(map(_is_picture, self._path.iterdir())):
            raise ConfigError(f"{path} holds other files than pictures; name a new folder")
        self._part = aside(self._path)
        self._part.mkdir()

    def add(self, screen: Array) -> None:
        """Write it; about 1 ms on Atari."""
        if self._count == self._limit:
            return
        # Unfiltered and lightly compressed is the fastest, and on flat colors the smallest too.
        options = [
            cv2.IMWRITE_PNG_COMPRESSION,
            1,
            cv2.IMWRITE_PNG_FILTER,
            cv2.IMWRITE_PNG_FILTER_NONE,
        ]
        # imencode, not imwrite: the latter does not say that the disk is full.
        _, png = cv2.imencode(".png", cv2.cvtColor(screen, cv2.COLOR_RGB2BGR), options)
        with open(self._part / f"{self._count:06d}.png", "wb") as file:
            file.write(png.tobytes())
        self._count += 1

    def end(self, screen: Array) -> None:
        """No picture: there is one for each decision."""

    def close(self) -> None:
        """Rename the folder."""
        if self._count == 0:
            return self.discard()
        try:
            if self._path.is_dir():  # an earlier film of the same name
                shutil.rmtree(self._path)
            os.replace(self._part, self._path)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove the pictures."""
        remove(self._part)


class Window(Sink):
    """A window on the desktop that shows each screen for its time.

    Raises:
        ConfigError: there is no display, or no pygame to draw on it.
    """

    def __init__(self, title: str, frames_per_second: int = FRAMES_PER_SECOND) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.gettempdir())  # else SDL complains
        try:
            import pygame
        except ImportError as error:
            raise ConfigError(f"a window needs pygame: {error}") from error
        self._pygame = pygame
        self._title = title
        self._frames_per_second = frames_per_second
        self._closed = False
        try:
            pygame.display.init()
            # Without a display SDL quietly draws into memory, and nobody would see the game.
            hidden = pygame.display.get_driver() in ("dummy", "offscreen")
        except pygame.error as error:
            raise ConfigError(f"no display to open a window on: {error}") from error
        if hidden and "SDL_VIDEODRIVER" not in os.environ:
            pygame.display.quit()
            raise ConfigError("no display to open a window on; --video FILE makes a film instead")
        self._clock = pygame.time.Clock()

    def closed(self) -> bool:
        """Whether someone closed it or pressed Escape: give this as ``stop`` to play_episode."""
        return self._closed

    def add(self, screen: Array) -> None:
        """Show it and wait until its time is over."""
        pygame = self._pygame
        picture = enlarge(enlarge(screen)) if screen.shape[0] < 300 else screen
        size = picture.shape[1], picture.shape[0]
        surface = pygame.display.get_surface()
        if surface is None or surface.get_size() != size:
            surface = pygame.display.set_mode(size)
            pygame.display.set_caption(self._title)
        surface.blit(pygame.image.frombuffer(picture.tobytes(), size, "RGB"), (0, 0))
        pygame.display.flip()
        for event in pygame.event.get():
            escape = event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE
            self._closed |= escape or event.type == pygame.QUIT
        self._clock.tick(self._frames_per_second)

    def end(self, screen: Array) -> None:
        """Show the last one too."""
        self.add(screen)

    def close(self) -> None:
        """Take it from the desktop."""
        self._pygame.display.quit()

    def discard(self) -> None:
        """The same as ``close``."""
        self.close()


def enlarge(picture: Array) -> Array:
    """Every pixel of ``[H, W]`` or ``[H, W, 3]`` SCALE times along both sides."""
    return cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)


def _is_picture(path: Path) -> bool:
    return re.fullmatch(r"\d{6,}\.png", path.name) is not None


def aside(path: Path) -> Path:
    """Where ``path`` is written until it is whole, free of what a killed process left there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    remove(part)
    return part


def remove(path: Path) -> None:
    """Remove a file or folder, if it is there and if we may."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()
