"""Which settings the program reads."""

import sys
from typing import Any

import pytest

from dqn.config import Config, flatten


def record_reads(patch: pytest.MonkeyPatch) -> set[str]:
    """Settings that any module outside ``dqn.config`` reads from now on; the set keeps growing."""
    config, read = Config(), set()
    every = set(flatten(config))

    def listen(kind: type, prefix: str) -> None:
        def get(part: Any, name: str) -> Any:
            reader = sys._getframe(1).f_globals["__name__"]
            counts = reader.startswith("dqn.") and not reader.startswith("dqn.config")
            if counts and prefix + name in every:
                read.add(prefix + name)
            return object.__getattribute__(part, name)

        patch.setattr(kind, "__getattribute__", get)

    listen(Config, "")
    for section in {name.split(".")[0] for name in every if "." in name}:
        listen(type(getattr(config, section)), f"{section}.")
    return read
