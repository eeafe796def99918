"""What one reads to follow a training from the command line to the first update.

``python tests/support/reading_path.py`` trains Breakout by the defaults on the CPU until one update
is done. It prints each file of which a function ran or an object was made on the way, with its
lines: a reader opens whole files. Imports alone do not count, nor does what only watches or saves a
run (``ASIDE``), as in the figures of other codebases in ARCHITECTURE.md.
"""

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ASIDE = ("dqn.evaluation", "dqn.report", "dqn.storage")
OPTIONS = [
    "--game=Breakout", "--device=cpu", "--learning-starts=32", "--replay.capacity=1000",
    "--learner.batch-size=4",
]  # fmt: skip


class Updated(BaseException):
    """The first update is done."""


def modules_that_run() -> set[str]:
    """Names of the modules of which a function runs or an object is made, in a fresh process."""
    names = set()
    importing = 0

    def watch(frame: types.FrameType, event: str, _: Any) -> None:
        nonlocal importing
        code = frame.f_code
        if code.co_name == "<module>":
            importing += {"call": 1, "return": -1}.get(event, 0)
        elif event == "return" and code.co_qualname == "Learner.update":
            sys.setprofile(None)
            raise Updated
        elif event == "call" and not importing:
            module = frame.f_globals["__name__"]
            names.add(module)
            makes = code.co_name in ("__init__", "__new__") or module.startswith("namedtuple_")
            if makes and code.co_argcount:
                made = frame.f_locals[code.co_varnames[0]]
                names.add((made if issubclass(type(made), type) else type(made)).__module__)

    sys.path.insert(0, str(ROOT))
    from main import main

    with tempfile.TemporaryDirectory() as folder:
        sys.setprofile(watch)
        try:
            main([*OPTIONS, f"--checkpoints-dir={folder}"])
        except Updated:
            return {name for name in names if f"{name}.".startswith(("dqn.", "main."))}
    raise AssertionError("it ended without an update")


def path() -> dict[str, int]:
    """Lines by file."""
    files = sorted(
        Path(str(sys.modules[name].__file__))
        for name in modules_that_run()
        if not name.startswith(ASIDE)
    )
    return {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}


if __name__ == "__main__":
    read = path()
    for name, lines in read.items():
        print(f"{lines:6,} {name}")
    print(f"{len(read)} files, {sum(read.values()):,} lines")
