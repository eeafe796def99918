"""Films of one episode: an mp4, an animated GIF.

PyAV (FFmpeg's libraries, in the wheel) encodes both. It is imported when a film is made: training
without pictures never loads it, and runs where it is missing.
"""

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dqn.evaluation.recorders import FRAMES_PER_SECOND, SCALE, Sink, aside, enlarge, remove
from dqn.types import Array

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer
    from av.video.reformatter import VideoReformatter

VIDEO_ENCODER = "libx264"
VIDEO_OPTIONS = {"crf": "20", "preset": "veryfast", "threads": "1"}
"""crf: x264's quality, 0 (lossless) to 51; 23 is its default, and screens this small can have
better. One thread: for frames this small more only cost time, and the film comes out larger."""

HELD_SECONDS = 1
"""How long the screen that an episode ended with is shown."""


class Video(Sink):
    """An H.264 film in an mp4 that every browser and player takes."""

    def __init__(self, path: str | Path, frames_per_second: int = FRAMES_PER_SECOND) -> None:
        self._film = _Film(path, "mp4", VIDEO_ENCODER, "yuv420p", Fraction(1, frames_per_second))
        self._frames_per_second = frames_per_second
        self._converter: VideoReformatter | None = None  # kept: to make one costs more than its use

    def add(self, screen: Array) -> None:
        """Encode it; about 2 ms on Atari."""
        import av
        from av.video.reformatter import VideoReformatter

        # Four pixels share one colour in yuv420p. Doubled, these four are one screen pixel: so
        # only the brightness needs doubling, no colour bleeds, and every side is even.
        height, width, _ = screen.shape
        picture = av.VideoFrame.from_ndarray(screen, format="rgb24")
        self._converter = self._converter or VideoReformatter()
        luma, *chroma = self._converter.reformat(picture, format="yuv444p").to_ndarray()  # [H, W]
        planes = np.concatenate([enlarge(luma).ravel(), *(plane.ravel() for plane in chroma)])
        frame = av.VideoFrame.from_ndarray(
            planes.reshape(height * SCALE * 3 // 2, width * SCALE), format="yuv420p"
        )
        self._film.add(frame, self._film.count)

    def end(self, screen: Array) -> None:
        """Show it for a while."""
        for _ in range(HELD_SECONDS * self._frames_per_second):
            self.add(screen)

    def close(self) -> None:
        """Finish the film."""
        self._film.close()

    def discard(self) -> None:
        """Remove what was written."""
        self._film.discard()


class Gif(Sink):
    """An animated GIF that repeats for ever, with the screen's own colours up to 255.

    Half a minute of Pong is about 200 KB: between two frames only what moved is stored.
    """

    def __init__(self, path: str | Path, frames_per_second: int = FRAMES_PER_SECOND) -> None:
        self._film = _Film(path, "gif", "gif", "pal8", Fraction(1, 100))  # a GIF's own clock
        self._frames_per_second = frames_per_second
        self._palette = _Palette()
        # The palette stands at the head of the file, so the frames wait until all colours are
        # known: compressed, a few hundred bytes each on Atari.
        self._waiting: list[bytes] = []

    def add(self, screen: Array) -> None:
        """Keep it until ``close``, which takes 1 ms for each."""
        self._shape = screen.shape[:2]
        self._waiting.append(zlib.compress(self._palette.index(screen).tobytes(), level=1))

    def end(self, screen: Array) -> None:
        """The last frame, which a GIF shows for HELD_SECONDS."""
        self.add(screen)

    def close(self) -> None:
        """Encode all and finish the film."""
        import av

        palette = self._palette.table()
        try:
            for i, frame in enumerate(self._waiting):
                index = np.frombuffer(zlib.decompress(frame), np.uint8).reshape(self._shape)
                picture = av.VideoFrame.from_ndarray(
                    (enlarge(index), palette),  # type: ignore[arg-type]  # so for pal8
                    format="pal8",
                )
                self._film.add(picture, round(100 * i / self._frames_per_second))
            self._film.close()
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Forget the screens and remove what was written."""
        self._waiting = []
        self._film.discard()


class _Film:
    """A file that frames are encoded into, written aside. Every error is an OSError."""

    def __init__(
        self, path: str | Path, container: str, encoder: str, pixels: str, tick: Fraction
    ) -> None:
        self._path = Path(path).absolute()
        self._container, self._encoder, self._pixels = container, encoder, pixels
        self._tick = tick
        self._file: OutputContainer | None = None
        self.count = 0
        try:
            from av.codec import Codec

            Codec(encoder, "w")
        except (ImportError, ValueError) as error:
            raise OSError(f"no {encoder} encoder ({error})") from error
        if self._path.is_dir():
            raise OSError(f"{path} is a folder; a {container} film needs the name of a file")
        self._part = aside(self._path)
        self._part.touch()  # what cannot be written is known before anything is played

    def add(self, frame: "VideoFrame", time: int) -> None:
        """Encode a frame that is shown from ``time``, in ticks."""
        with self._as_oserror():
            if self._file is None:
                self._open(frame.width, frame.height)
            frame.pts, frame.time_base = time, self._tick
            self._mux(self._stream.encode(frame))
            self.count += 1

    def close(self) -> None:
        """Write what the encoder still holds, and rename."""
        if self._file is None:
            return self.discard()
        try:
            with self._as_oserror():
                self._mux(self._stream.encode(None))
                self._file.close()
            os.replace(self._part, self._path)
        except OSError:
            self.discard()
            raise

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            with suppress(OSError), self._as_oserror():
                self._file.close()  # it would write its index: the disk may still be full
            self._file = None
        remove(self._part)

    def _open(self, width: int, height: int) -> None:
        import av

        is_gif = self._container == "gif"
        held = {"final_delay": str(100 * HELD_SECONDS)} if is_gif else {}
        self._file = av.open(str(self._part), "w", format=self._container, container_options=held)
        options = {} if is_gif else VIDEO_OPTIONS
        stream = self._file.add_stream(self._encoder, rate=1 / self._tick, options=options)
        assert isinstance(stream, av.VideoStream), stream
        stream.width, stream.height, stream.pix_fmt = width, height, self._pixels
        self._stream = stream

    def _mux(self, packets: Iterable[Any]) -> None:
        assert self._file is not None
        for packet in packets:
            self._file.mux(packet)

    @contextmanager
    def _as_oserror(self) -> Iterator[None]:
        import av

        try:
            yield
        except OSError:
            raise
        except av.FFmpegError as error:
            raise OSError(f"{self._encoder} failed: {error}") from error


class _Palette:
    """Colours by number, in the order of their coming; a 256th looks like the nearest one."""

    SIZE = 255  # the last entry is the GIF's "as before"

    def __init__(self) -> None:
        self._colors = np.empty((0, 3), np.int64)
        self._number = np.zeros(1 << 24, np.uint16)  # 1 + number by color; paged in as touched

    def index(self, screen: Array) -> Array:
        """``[H, W, 3]`` -> ``[H, W]`` uint8."""
        wide = screen.astype(np.uint32)
        color = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]
        number: Array = self._number[color]
        unknown = color[number == 0]
        if unknown.size:
            self._learn(unknown)
            number = self._number[color]
        return (number - 1).astype(np.uint8)

    def table(self) -> Array:
        """``[256, 4]`` uint8: opacity, red, green, blue."""
        table = np.zeros((256, 4), np.uint8)
        table[: len(self._colors), 0] = 255
        table[: len(self._colors), 1:] = self._colors
        return table

    def _learn(self, unknown: Array) -> None:
        color, count = np.unique(unknown, return_counts=True)
        color = color[np.argsort(-count, kind="stable")].astype(np.int64)  # the commonest first
        parts = np.stack([color >> 16, color >> 8 & 255, color & 255], axis=1)  # [C, 3]
        room = self.SIZE - len(self._colors)
        begin = len(self._colors) + 1
        self._colors = np.concatenate([self._colors, parts[:room]])
        self._number[color[:room]] = np.arange(begin, len(self._colors) + 1)
        known = self._colors.astype(np.float32)  # small whole numbers: nothing is rounded
        for c in range(room, len(color), 4096):  # in pieces: the distances are 255 times as many
            # |p - k|^2 = |p|^2 + |k|^2 - 2 p.k, and |p|^2 is the same for every k
            distance = (known**2).sum(axis=1) - 2 * parts[c : c + 4096].astype(np.float32) @ known.T
            self._number[color[c : c + 4096]] = distance.argmin(axis=1) + 1
