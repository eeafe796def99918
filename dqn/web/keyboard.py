"""From pressed keys to the action they mean in a game, by the actions' names."""

from collections.abc import Collection, Sequence

KEYS = frozenset({"up", "down", "left", "right", "fire", *map(str, range(1, 10))})
"""The names of keys: the arrows, the space bar, and the digits that number the first actions."""

_IDLE = ("noop", "none")


def action_of(keys: Collection[str], names: Sequence[str]) -> int | None:
    """The action that the pressed keys mean; None if they mean none, as no key does in a game
    without an action that does nothing.

    It is the one whose name has the most of the keys and nothing else: ``UPRIGHTFIRE`` of up, right
    and the space bar. A paddle that goes up by ``RIGHT``, as Pong's, also does so by the upper
    arrow.
    """
    digits = [int(key) - 1 for key in keys if key.isdigit()]
    if digits:
        return min(digits) if min(digits) < len(names) else None
    meanings = [_words(name) for name in names]
    pressed = set(keys)
    if not any(words & {"up", "down"} for words in meanings if words):
        instead = {"up": "right", "down": "left"}
        pressed = {instead.get(key, key) for key in pressed}
    fitting = [
        action for action, words in enumerate(meanings) if words is not None and words <= pressed
    ]
    return max(fitting, key=lambda action: len(meanings[action] or ()), default=None)


def _words(name: str) -> set[str] | None:
    """The keys in an action's name, none for one that does nothing; None for other actions."""
    name = name.lower()
    words = {key for key in KEYS if key.isalpha() and key in name}
    return words if words or name in _IDLE else None
