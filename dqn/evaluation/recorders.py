"""Recorders of an episode's screens: a folder of PNGs and a window (see also gif.py, video.py)."""

import errno
import os
import re
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import cv2

from dqn.config import ConfigError
from dqn.envs.screen import quiet_pygame
from dqn.storage.files import AtomicFile, AtomicFolder
from dqn.types import Array

PNG_LIMIT = 5_000
"""Pictures kept of an evaluation's episode: about five and a half minutes of play on Atari."""

HELD_SECONDS = 1
"""How long a video or GIF shows the final screen, in seconds."""

SCALE = 2
"""Side of a screen pixel in a video or GIF, in pixels."""


class Recorder(ABC):
    """Records the screens of one episode, ``[H, W, 3]`` uint8 RGB each. Used as a context manager.

    Every method except ``discard`` may raise OSError (disk full, no permission, encoder missing or
    failing); nothing is left on disk then.
    """

    @abstractmethod
    def add(self, screen: Array) -> None:
        """Record the next screen."""

    def end(self, screen: Array) -> None:
        """Record the episode's final screen, on which no decision is made."""
        self.add(screen)

    @abstractmethod
    def close(self) -> None:
        """Finish the recording and give it its final name, unless it has no screens."""

    @abstractmethod
    def discard(self) -> None:
        """Delete an unfinished recording and free the recorder's resources. Raises nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.close()
        finally:
            self.discard()


class PngFolder(Recorder):
    """``path/000000.png ...``: the first ``limit`` screens, or all, exactly as the emulator drew
    them.

    Raises:
        ConfigError: there is something else of that name, which must not be replaced.
    """

    def __init__(self, path: str | Path, limit: int | None = None) -> None:
        path = Path(path).absolute()
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise ConfigError(f"{path} is not a folder; name a new one")
        if path.is_dir() and not all(
            re.fullmatch(r"\d{6,}\.png", file.name) for file in path.iterdir()
        ):
            raise ConfigError(f"{path} holds files other than pictures; name a new folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = AtomicFolder(path)
        self._limit = limit
        self._count = 0

    def add(self, screen: Array) -> None:
        """Write a picture; about 1 ms on Atari."""
        if self._count == self._limit:
            return
        # Not cv2.imwrite, which does not report a full disk.
        (self._folder.part / f"{self._count:06d}.png").write_bytes(as_png(screen))
        self._count += 1

    def end(self, screen: Array) -> None:
        """Ignore it: there is one picture per decision."""

    def close(self) -> None:
        if self._count:
            self._folder.commit()

    def discard(self) -> None:
        self._folder.discard()


class Window(Recorder):
    """A desktop window that shows the game at its own speed.

    Raises:
        ConfigError: there is no display, or pygame is missing.
    """

    def __init__(self, title: str, frames_per_second: int) -> None:
        quiet_pygame()
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
            # Without a display SDL silently draws into memory.
            hidden = pygame.display.get_driver() in ("dummy", "offscreen")
        except pygame.error as error:
            raise ConfigError(f"no display to open a window on: {error}") from error
        if hidden and "SDL_VIDEODRIVER" not in os.environ:
            pygame.display.quit()
            raise ConfigError("no display to open a window on; use --video FILE.mp4 instead")
        self._clock = pygame.time.Clock()

    def closed(self) -> bool:
        """Whether the user closed the window or pressed Escape; pass it as play_episode's
        ``stop``."""
        return self._closed

    def add(self, screen: Array) -> None:
        """Show it and wait until the next one is due."""
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

    def close(self) -> None: ...

    def discard(self) -> None:
        self._pygame.display.quit()


def as_png(picture: Array) -> bytes:
    """The PNG file of ``[H, W]`` gray, ``[H, W, 3]`` RGB or ``[H, W, 4]`` RGBA, all uint8."""
    # No filter and light compression: fastest, and on flat colors smallest too.
    options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    options += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
    if picture.ndim == 3:
        order = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        picture = cv2.cvtColor(picture, order)
    _, png = cv2.imencode(".png", picture, options)
    return png.tobytes()


def enlarge(picture: Array) -> Array:
    """Repeat every pixel of ``[H, W]`` or ``[H, W, 3]`` SCALE times along both sides."""
    return cv2.resize(picture, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_NEAREST)


def new_file(path: str | Path) -> AtomicFile:
    """An empty file beside ``path`` to record into; fails now if it cannot be written, rather than
    after the episode.

    Raises:
        OSError: no permission, disk full, or ``path`` is a folder.
    """
    path = Path(path).absolute()
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    file = AtomicFile(path)
    file.part.touch()
    return file
