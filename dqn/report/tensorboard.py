"""TensorBoard's event files, written synchronously so that errors are not lost in a thread."""

import contextlib
import io
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import (
    DATA_CLASS_BLOB_SEQUENCE,
    DATA_CLASS_SCALAR,
    Summary,
)
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import custom_scalars, hparams, image, scalar, text

from dqn.config.words import shown
from dqn.evaluation.gif import film
from dqn.storage.files import Journal
from dqn.types import Array

PLUGINS = {
    "simple_value": ("scalars", DATA_CLASS_SCALAR),
    "image": ("images", DATA_CLASS_BLOB_SEQUENCE),
}
"""TensorBoard's plugin for each kind of value; without it the fast loader drops descriptions."""


class EventWriter:
    """Writes a new event file in a run's folder; TensorBoard joins a run's files by name."""

    def __init__(self, folder: Path, step: int, descriptions: Mapping[str, str]) -> None:
        """Start at ``step``; TensorBoard hides what older files hold of later steps, and shows the
        ``descriptions`` of tags."""
        self._descriptions = dict(descriptions)  # of tags not written yet
        # A name that sorts after all others, even within a second or with the clock set back.
        newest = max((int(file.name.split(".")[3]) for file in _event_files(folder)), default=-1)
        number = max(int(time.time()), newest + 1)
        self._journal = Journal(folder / f"events.out.tfevents.{number:010d}.dqn")
        self._add(file_version="brain.Event:2")
        begin = SessionLog(status=SessionLog.START)
        self._add(step=step + 1 if step else 0, session_log=begin)

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""
        self._add_summary(scalar(tag, value), step)

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """Write a gray image ``[H, W]``, uint8."""
        self._add_summary(image(tag, pixels, dataformats="HW"), step)

    def film(self, tag: str, pictures: Path, frames_per_second: int, step: int) -> None:
        """Write the first minute of an episode's pictures, a folder of PNGs, as an animated GIF,
        which browsers play in the place of an image.

        Raises:
            OSError: a picture cannot be read.
        """
        gif, height, width = film(pictures, frames_per_second)
        content = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=gif)
        self._add_summary(Summary(value=[Summary.Value(tag=tag, image=content)]), step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Write a text."""
        self._add_summary(text(tag, markdown), step)

    def layout(self, charts: Mapping[str, list[str]], step: int) -> None:
        """Write which tags each chart of the page Custom Scalars shows."""
        multiline = {name: ["Multiline", tags] for name, tags in charts.items()}
        self._add(step=step, summary=custom_scalars({"training": multiline}))

    def settings(self, settings: Mapping[str, Any], step: int) -> None:
        """Write a run's settings, each of which is a column of the page HParams. Without a list of
        columns, which hold for all runs, TensorBoard takes every setting and metric that it
        finds."""
        values = {name: _as_column(value) for name, value in settings.items()}
        _, session_start, _ = hparams(values, {})
        self._add(step=step, summary=session_start)

    def close(self) -> None:
        """Nothing is left to do."""

    def _add_summary(self, summary: Summary, step: int) -> None:
        (value,) = summary.value
        if value.tag in self._descriptions:  # TensorBoard reads it with the first point
            value.metadata.summary_description = self._descriptions.pop(value.tag)
            plugin, value.metadata.data_class = PLUGINS[value.WhichOneof("value")]
            value.metadata.plugin_data.plugin_name = plugin
        self._add(step=step, summary=summary)

    def _add(self, **content: Any) -> None:
        record = io.BytesIO()
        event = Event(wall_time=time.time(), **content)
        RecordWriter(record).write(event.SerializeToString())
        self._journal.append(record.getvalue())


def _as_column(value: Any) -> str | int | float:
    """A setting as HParams takes it: numbers as they are, anything else as in YAML."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number else shown(value)


def read_seconds(folder: Path, tags: Collection[str]) -> dict[str, dict[int, float]]:
    """Wall time of the run at which each point was written: ``{tag: {step: seconds}}``.

    Time between two sessions is excluded; steps lost in a kill and repeated are included. An
    incomplete last record is ignored.
    """
    seconds: dict[str, dict[int, float]] = {tag: {} for tag in tags}
    elapsed = 0.0
    for file in _event_files(folder):
        previous = None
        for event in _events(file):
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


def _events(file: Path) -> Iterator[Event]:
    """Up to a damaged one. By descriptor: TensorBoard refuses a path that is not UTF-8."""
    with open(file, "rb") as opened, contextlib.suppress(DecodeError):
        yield from map(Event.FromString, RawEventFileLoader(f"/dev/fd/{opened.fileno()}").Load())


def has_point(folder: Path, tag: str, step: int) -> bool:
    """Whether the tag has a point at this step."""
    try:
        return step in read_seconds(folder, [tag])[tag]
    except OSError:  # TensorBoard cannot read them either
        return False


def hide_from_tensorboard(folder: Path) -> None:
    """Rename the event files so that TensorBoard does not list the run; ``read_seconds`` reads them
    all the same.

    Raises:
        OSError: the folder cannot be written.
    """
    for file in _event_files(folder):
        file.rename(file.with_name(file.name.replace("tfevents", "hidden")))


def _event_files(folder: Path) -> list[Path]:
    """A run's event files, oldest first: ten digits number them."""
    digits = 10 * "[0-9]"
    kinds = ("hidden", "tfevents")  # a moved-aside run's, a run's
    return [
        file for kind in kinds for file in sorted(folder.glob(f"events.out.{kind}.{digits}.dqn"))
    ]
