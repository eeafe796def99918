"""Which parameters of a test are for ``make test``, and which for ``make test-all`` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], fast: Iterable[Any]) -> list[Any]:
    """Parameters for ``parametrize``: those in ``fast``, and the others marked slow."""
    fast, values = list(fast), list(values)
    assert all(value in values for value in fast), "a fast parameter that does not exist"
    return [v if v in fast else pytest.param(v, marks=pytest.mark.slow) for v in values]
