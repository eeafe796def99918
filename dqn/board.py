"""TensorBoard's event file, written here and now: an error is ours to see, and no thread's."""

import io
import re
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import image, scalar, text

from dqn.journal import Journal
from dqn.types import Array


class Board:
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


def _next_name(folder: Path) -> str:
    """A name after every older one's, even within one second or with the clock put back."""
    older = [
        int(found[1])
        for path in folder.glob("events.out.tfevents.*")
        if (found := re.fullmatch(r"events\.out\.tfevents\.(\d{10})\.dqn", path.name))
    ]
    return f"events.out.tfevents.{max([int(time.time()), *(n + 1 for n in older)]):010d}.dqn"
