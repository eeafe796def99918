"""Random JSON, and where in a tree to put it."""

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])

numbers = st.one_of(
    st.integers(-2, 300),
    st.sampled_from([2**31, 2**63, -(2**63), 10**30]),
    st.floats(allow_subnormal=False),
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def places(tree: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path of everything in a tree of JSON."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    found: list[tuple[str | int, ...]] = []
    for key, value in items:
        found.append((*path, key))
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
    return found
