"""Keys mean actions by the actions' names."""

import pytest

from dqn.web.keyboard import action_of

PONG = ("NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE")
ASTERIX = ("NOOP", "UP", "RIGHT", "LEFT", "DOWN", "UPRIGHT", "UPLEFT", "DOWNRIGHT", "DOWNLEFT")


@pytest.mark.parametrize(
    "names, keys, action",
    [
        (ASTERIX, "", "NOOP"),
        (ASTERIX, "left", "LEFT"),
        (ASTERIX, "up right", "UPRIGHT"),
        (ASTERIX, "up right fire", "UPRIGHT"),  # as much of it as the game has
        (PONG, "right fire", "RIGHTFIRE"),
        (PONG, "up", "RIGHT"),  # moves the paddle up
        (PONG, "down fire", "LEFTFIRE"),
        (PONG, "3", "RIGHT"),
        (PONG, "9", None),
        (("left", "right"), "", None),  # no action does nothing
        (("left", "right"), "left", "left"),
        (("left", "right"), "fire", None),
        (("0", "1"), "left", None),
        (("0", "1"), "2", "1"),
    ],
)
def test_keys_mean_the_action_whose_name_has_the_most_of_them(names, keys, action):
    found = action_of(frozenset(keys.split()), names)
    assert (None if found is None else names[found]) == action
