"""H.264 videos of an episode, encoded by PyAV (FFmpeg's libraries, bundled in its wheel).

PyAV is imported when a video is made: training without recordings runs without it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dqn.evaluation.recorders import HELD_SECONDS, SCALE, Recorder, enlarge, new_file
from dqn.types import Array

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import OutputContainer

VIDEO_ENCODER = "libx264"
VIDEO_OPTIONS = {"crf": "20", "preset": "veryfast", "threads": "1"}
"""crf is x264's quality, from 0 (lossless) to 51; its default is 23, but frames this small can
afford better. With more than one thread they take longer and the file gets larger."""


class Video(Recorder):
    """An H.264 mp4 that every browser and player supports. Every error is an OSError."""

    def __init__(self, path: str | Path, frames_per_second: int) -> None:
        self._frames_per_second = frames_per_second
        self._container: OutputContainer | None = None
        try:
            from av.codec import Codec
            from av.video.reformatter import VideoReformatter

            Codec(VIDEO_ENCODER, "w")
        except (ImportError, ValueError) as error:
            raise OSError(f"no {VIDEO_ENCODER} encoder ({error})") from error
        self._converter = VideoReformatter()  # kept: creating one costs more than a use
        self._file = new_file(path)

    def add(self, screen: Array) -> None:
        """Encode a frame; about 2 ms on Atari."""
        with _as_oserror():
            frame = self._to_frame(screen)
            if self._container is None:
                self._open(frame.width, frame.height)
            self._encode(frame)

    def end(self, screen: Array) -> None:
        for _ in range(HELD_SECONDS * self._frames_per_second):
            self.add(screen)

    def close(self) -> None:
        if self._container is not None:
            with _as_oserror():
                self._encode(None)
                self._container.close()
            self._file.commit()

    def discard(self) -> None:
        if self._container is not None:
            with suppress(OSError), _as_oserror():
                self._container.close()  # writes the index, and the disk may still be full
        self._file.discard()

    def _open(self, width: int, height: int) -> None:
        import av

        self._container = av.open(str(self._file.part), "w", format="mp4")
        stream = self._container.add_stream(
            VIDEO_ENCODER, rate=self._frames_per_second, options=VIDEO_OPTIONS
        )
        assert isinstance(stream, av.VideoStream), stream
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        self._stream = stream

    def _encode(self, frame: "VideoFrame | None") -> None:
        """Encode a frame, or what the encoder still holds."""
        assert self._container is not None
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def _to_frame(self, screen: Array) -> "VideoFrame":
        import av

        # In yuv420p each 2 x 2 pixels share one color. At twice the size these are one screen
        # pixel, so only brightness needs enlarging, no color bleeds, and all sides are even.
        height, width, _ = screen.shape
        picture = av.VideoFrame.from_ndarray(screen, format="rgb24")
        luma, *chroma = self._converter.reformat(picture, format="yuv444p").to_ndarray()  # [H, W]
        planes = np.concatenate([enlarge(luma).ravel(), *(plane.ravel() for plane in chroma)])
        return av.VideoFrame.from_ndarray(
            planes.reshape(height * SCALE * 3 // 2, width * SCALE), format="yuv420p"
        )


@contextmanager
def _as_oserror() -> Iterator[None]:
    """Turn those of PyAV's errors that are not an OSError into one."""
    import av

    try:
        yield
    except OSError:
        raise
    except av.FFmpegError as error:
        raise OSError(f"{VIDEO_ENCODER} failed: {error}") from error
