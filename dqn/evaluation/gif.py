"""Animated GIFs of an episode."""

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image, ImageChops
from PIL.GifImagePlugin import getdata, getheader

from dqn.evaluation.recorders import HELD_SECONDS, SCALE, Recorder, new_file
from dqn.types import Array

FILM_SECONDS = 60
"""Length of a film at most."""


class Gif(Recorder):
    """An animated GIF that repeats forever; half a minute of Pong is about 200 KB.

    Each frame holds only the rectangle that changed, with its own palette: exact up to 256 colors.
    Frames are written as they come, so memory does not grow with the episode (Pillow's ``save``
    would keep them all).
    """

    def __init__(self, path: str | Path, frames_per_second: int) -> None:
        self._file = new_file(path)
        self._stream = self._file.part.open("wb")
        self._frames_per_second = frames_per_second
        self._count = 0
        self._previous: Image.Image | None = None

    def add(self, screen: Array) -> None:
        """Append a frame; about 2 ms on Atari."""
        # A GIF counts in hundredths of a second; rounding the ends keeps the average speed right.
        begin = round(100 * self._count / self._frames_per_second)
        end = round(100 * (self._count + 1) / self._frames_per_second)
        self._append(screen, 10 * (end - begin))

    def end(self, screen: Array) -> None:
        self._append(screen, 1000 * HELD_SECONDS)

    def close(self) -> None:
        if self._previous is not None:
            self._stream.write(b";")
            self._stream.close()
            self._file.commit()

    def discard(self) -> None:
        with suppress(OSError):
            self._stream.close()  # flushes, and the disk may still be full
        self._file.discard()

    def _append(self, screen: Array, milliseconds: int) -> None:
        picture = Image.fromarray(screen)
        left, top, right, bottom = 0, 0, *picture.size
        if self._previous is not None:
            difference = ImageChops.difference(picture, self._previous)
            left, top, right, bottom = difference.getbbox() or (0, 0, 1, 1)
        frame = picture.crop((left, top, right, bottom)).quantize(256)
        frame = frame.resize((SCALE * frame.width, SCALE * frame.height), Image.Resampling.NEAREST)
        blocks = getdata(
            frame, (SCALE * left, SCALE * top), duration=milliseconds, include_color_table=True
        )
        if self._previous is None:
            blocks = getheader(frame, info={"loop": 0})[0] + blocks
        self._stream.writelines(blocks)
        self._previous = picture
        self._count += 1


def film(pictures: Path, frames_per_second: int) -> tuple[bytes, int, int]:
    """The first minute of an episode's pictures, a folder of PNGs, as a GIF, with its height and
    width.

    Raises:
        OSError: a picture cannot be read.
    """
    with TemporaryDirectory(prefix="dqn-film-") as folder:
        file = Path(folder) / "film.gif"
        with Gif(file, frames_per_second) as gif:
            for path in sorted(pictures.iterdir())[: FILM_SECONDS * frames_per_second]:
                gif.add(np.asarray(Image.open(path).convert("RGB")))
        with Image.open(file) as first:
            return file.read_bytes(), first.height, first.width
