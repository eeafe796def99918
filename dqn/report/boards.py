"""What shows a run's numbers while it trains: TensorBoard, and others beside it."""

from pathlib import Path
from typing import Protocol

from dqn.types import Array


class Board(Protocol):
    """Shows curves, images, films and texts by their tags."""

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Write a point of a curve."""

    def image(self, tag: str, pixels: Array, step: int) -> None:
        """Write a gray image ``[H, W]``, uint8."""

    def film(self, tag: str, pictures: Path, frames_per_second: int, step: int) -> None:
        """Write an episode's pictures, a folder of PNGs, as a film.

        Raises:
            OSError: a picture cannot be read.
        """

    def text(self, tag: str, markdown: str, step: int) -> None:
        """Write a text."""

    def close(self) -> None:
        """Write what is left."""


class Boards:
    """Several boards as one."""

    def __init__(self, *boards: Board) -> None:
        self._boards = boards

    def scalar(self, tag: str, value: float, step: int) -> None:
        for board in self._boards:
            board.scalar(tag, value, step)

    def image(self, tag: str, pixels: Array, step: int) -> None:
        for board in self._boards:
            board.image(tag, pixels, step)

    def film(self, tag: str, pictures: Path, frames_per_second: int, step: int) -> None:
        for board in self._boards:
            board.film(tag, pictures, frames_per_second, step)

    def text(self, tag: str, markdown: str, step: int) -> None:
        for board in self._boards:
            board.text(tag, markdown, step)

    def close(self) -> None:
        for board in self._boards:
            board.close()
