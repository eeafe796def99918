"""TensorBoard's event file, written here and now: an error is ours to see, and no thread's."""

import io
import re
import time
from collections.abc import Collection
from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text

from dqn.storage.files import Journal
from dqn.types import Array


class EventWriter:
    """One more event file in a run's folder; TensorBoard reads them as one, in order of name."""

    def __init__(self, folder: Path, step: int) -> None:
        """Begin to write at ``step``; what older files hold of later steps is hidden."""
        self._journal = Journal(folder / _next_name(folder))
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        begin = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=time.time(), step=step + 1 if step else 0, session_log=begin))

    def scalar(self, tag: str, value: float, step: int) -> None:
        """A point of a curve."""
        self._add_summary(scalar(tag, value), step)

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """A grey picture ``[H, W]``, uint8."""
        self._add_summary(image(tag, pixels, dataformats="HW"), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """A page of text."""
        self._add_summary(text(tag, markdown), step)

    def _add_summary(self, summary: Summary, step: int) -> None:
        self._add(Event(wall_time=time.time(), step=step, summary=summary))

    def _add(self, event: Event) -> None:
        record = io.BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        self._journal.append(record.getvalue())


Seconds = dict[str, dict[int, float]]
"""For each tag the steps of its points, and when in the run's wall time each was written."""


def read_seconds(folder: Path, tags: Collection[str]) -> Seconds:
    """When each point of ``tags`` was written, in seconds of the run's wall time.

    The time between two sessions is left out, and so are a session's start and the emulators'
    coming back; what a kill took from the run is part of its time. A file that was cut off, or is
    being written, counts up to its last whole record.
    """
    seconds: Seconds = {tag: {} for tag in tags}
    past = 0.0
    for number in sorted(_numbers(folder)):
        passed, before = 0.0, None
        for event in map(Event.FromString, RawEventFileLoader(str(folder / _name(number))).Load()):
            # A clock that was put back costs what passed since the point before; one that was put
            # forward cannot be told from a run that stood still.
            passed += max(0.0, event.wall_time - (before or event.wall_time))
            before = event.wall_time
            if event.HasField("session_log"):  # older files' later steps were lost, and made again
                for tag, points in seconds.items():
                    seconds[tag] = {s: at for s, at in points.items() if s < event.step}
            for value in event.summary.value:
                if value.tag in seconds:
                    seconds[value.tag][event.step] = past + passed
        past += passed
    return seconds


def _next_name(folder: Path) -> str:
    """A name after every older one's, even within one second or with the clock put back."""
    return _name(max([int(time.time()), *(n + 1 for n in _numbers(folder))]))


def _numbers(folder: Path) -> list[int]:
    return [
        int(found[1])
        for path in folder.glob("events.out.tfevents.*")
        if (found := re.fullmatch(r"events\.out\.tfevents\.(\d{10})\.dqn", path.name))
    ]


def _name(number: int) -> str:
    return f"events.out.tfevents.{number:010d}.dqn"
