"""What is shown while emulators are restored, and when a run is finished."""

import dataclasses
import re

from dqn.config import Config
from dqn.run.resume import is_finished, show_progress
from dqn.storage.manifest import Manifest
from dqn.storage.provenance import Provenance
from dqn.types import State


def test_a_bar_counts_the_steps_of_all_environments_and_goes(terminal):
    screen = terminal(80)
    assert list(show_progress(range(3), 4, lambda: False)) == [0, 1, 2]
    assert "| 0/12 [" in screen.getvalue()
    drawn = re.sub(r"\x1b\[A|\n", "", screen.getvalue()).split("\r")[1:]  # over each other
    assert not "".join(drawn[-2:]).strip()


def test_a_run_is_finished_when_all_steps_are_taken_and_its_last_is_evaluated():
    """Or earlier, if its learner has converged. Nothing in a manifest is checked yet."""
    config = dataclasses.replace(Config(), total_steps=100)
    provenance = Provenance("Maze", "maze", 4, [1, 1, 1], {}, "cpu", 1)

    def finished(step: int, state: State) -> bool:
        return is_finished(Manifest(step, provenance, {}, state, {}, {}), config)

    def state(evaluated: object, converged: object = False) -> State:
        return {"session": {"evaluated": evaluated}, "learner": {"converged": converged}}

    for step, saved, expected in (
        (100, state(100), True),
        (101, state(101), True),
        (99, state(99), False),
        (100, state(99), False),
        (60, state(60, True), True),
        (60, state(50, True), False),
        (60, state(60, 1), False),
        (60, {"session": {"evaluated": 60}}, False),
        (60, {"session": {"evaluated": 60}, "learner": []}, False),
        (100, {"session": {"evaluated": 100}}, True),
        (100, {"session": {}}, False),
        (100, {"session": 7}, False),
        (100, {}, False),
    ):
        assert finished(step, saved) == expected, (step, saved)
