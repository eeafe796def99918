"""What one reads to follow a training from the command line to the first update.

``python tests/support/reading_path.py`` trains Breakout by the defaults on the CPU until one update
is done, and prints each file of which a function ran or an object was made on the way, with its
lines: a reader opens whole files. Imports alone do not count. What runs but need not be opened to
understand the training is left aside, by ``ASIDE``, which is printed too.
"""

import sys
import tempfile
import types
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ASIDE = (
    # reports, saves, evaluates, resumes
    "dqn/report", "dqn/storage", "dqn/evaluation", "dqn/run/resume.py",
    # refuses or spells settings and names
    "dqn/config/rules.py", "dqn/config/fields.py", "dqn/config/words.py", "dqn/config/yaml_file.py",
    "dqn/envs/names.py",
    # the machine, its signals and folders; a guard of numbers
    "dqn/device.py", "dqn/run/process.py", "dqn/run/folder.py", "dqn/learning/nonfinite.py",
)  # fmt: skip
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


def lines_by_file() -> dict[str, int]:
    """Lines of each file that ran, those aside included."""
    files = sorted(Path(str(sys.modules[name].__file__)) for name in modules_that_run())
    return {str(f.relative_to(ROOT)): len(f.read_text().splitlines()) for f in files}


if __name__ == "__main__":
    found = lines_by_file()
    read = {file: count for file, count in found.items() if not file.startswith(ASIDE)}
    for file, count in read.items():
        print(f"{count:6,} {file}")
    print(f"{sum(read.values()):,} lines in {len(read)} files")
    print(f"left aside, {sum(found.values()) - sum(read.values()):,} lines: {', '.join(ASIDE)}")
