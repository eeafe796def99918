"""Agents to watch: their pages on a server in this process, and what goes over its websockets."""

import json
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from playwright.sync_api import Page, expect

from dqn.commands.watch import watched
from dqn.web.listen import listen
from dqn.web.player import WatchedRun
from dqn.web.server import Watch

SECONDS = 30_000
"""How long the browser may take for anything, in milliseconds."""


@contextmanager
def served(*runs: str | WatchedRun, seed: int = 0) -> Iterator[int]:
    """The port where the runs, or those of the folders, are shown."""
    with listen(6100, or_next=True) as listener:
        port = listener.getsockname()[1]
        all_watched = [
            watched(run, torch.device("cpu"), run) if isinstance(run, str) else run for run in runs
        ]
        watch = Watch(all_watched, seed, port)
        server = watch.server()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield port
        finally:
            server.should_exit = True
            thread.join()
            watch.close()


def opened(page: Page, port: int, tab: int | str = 0) -> None:
    """Open a run's page and pause it."""
    page.set_default_timeout(SECONDS)
    expect.set_options(timeout=SECONDS)
    page.goto(f"http://127.0.0.1:{port}/#{tab}")
    page.locator("#pause").click()
    expect(page.locator("#pause")).to_have_text("Go on")


def unpack(message: bytes) -> tuple[dict[str, Any], list[tuple[str, bytes]]]:
    """The state and the pictures of a moment."""
    (length,) = struct.unpack_from(">I", message)
    begin = 4 + length
    state = json.loads(message[4:begin])
    pictures = []
    for name, size in state.pop("pictures"):
        pictures.append((name, message[begin : begin + size]))
        begin += size
    assert begin == len(message)
    return state, pictures


def wait_until(condition: Callable[[], Any], seconds: float = 30) -> Any:
    """What ``condition`` returns, once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.005)
    return found
