"""TensorBoard's event files, written synchronously so that errors are not lost in a thread."""

import io
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text

from dqn.storage.files import Journal
from dqn.types import Array


class EventWriter:
    """Writes a new event file in a run's folder; TensorBoard joins a run's files by name."""

    def __init__(self, folder: Path, step: int) -> None:
        """Start at ``step``; TensorBoard hides what older files hold of later steps."""
        # A name that sorts after all others, even within a second or with the clock set back.
        newest = max((int(file.name.split(".")[3]) for file in _event_files(folder)), default=-1)
        number = max(int(time.time()), newest + 1)
        self._journal = Journal(folder / f"events.out.tfevents.{number:010d}.dqn")
        self._add(file_version="brain.Event:2")
        begin = SessionLog(status=SessionLog.START)
        self._add(step=step + 1 if step else 0, session_log=begin)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self._add(step=step, summary=scalar(tag, value))

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """Write a gray image ``[H, W]``, uint8."""
        self._add(step=step, summary=image(tag, pixels, dataformats="HW"))

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Write a text."""
        self._add(step=step, summary=text(tag, markdown))

    def _add(self, **content: Any) -> None:
        record = io.BytesIO()
        event = Event(wall_time=time.time(), **content)
        RecordWriter(record).write(event.SerializeToString())
        self._journal.append(record.getvalue())


def read_seconds(folder: Path, tags: Collection[str]) -> dict[str, dict[int, float]]:
    """Wall time of the run at which each point was written: ``{tag: {step: seconds}}``.

    Time between two sessions is excluded; steps lost in a kill and repeated are included. An
    incomplete last record is ignored.
    """
    seconds: dict[str, dict[int, float]] = {tag: {} for tag in tags}
    elapsed = 0.0
    for file in _event_files(folder):
        previous = None
        for event in map(Event.FromString, RawEventFileLoader(str(file)).Load()):
            # max: the clock may have been set back
            elapsed += max(0.0, event.wall_time - (previous or event.wall_time))
            previous = event.wall_time
            if event.HasField("session_log"):  # later steps of older files were lost and repeated
                for tag, points in seconds.items():
                    seconds[tag] = {step: at for step, at in points.items() if step < event.step}
            for value in event.summary.value:
                if value.tag in seconds:
                    seconds[value.tag][event.step] = elapsed
    return seconds


def has_point(folder: Path, tag: str, step: int) -> bool:
    """Whether the tag has a point at this step."""
    try:
        return step in read_seconds(folder, [tag])[tag]
    except OSError:  # TensorBoard cannot read them either
        return False


def _event_files(folder: Path) -> list[Path]:
    """A run's event files, oldest first: ten digits number them."""
    return sorted(folder.glob(f"events.out.tfevents.{10 * '[0-9]'}.dqn"))
