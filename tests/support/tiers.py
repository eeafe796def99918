"""Which parameters of a test are for ``make test``, and which for ``make test-all`` alone."""

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], fast: Iterable[Any]) -> list[Any]:
    """Parameters for ``parametrize``, all but those in ``fast`` marked slow. A tuple is one case of
    several arguments."""
    fast, values = list(fast), list(values)
    assert all(value in values for value in fast), "a fast parameter that does not exist"
    cases = [value if isinstance(value, tuple) else (value,) for value in values]
    marks = [() if value in fast else pytest.mark.slow for value in values]
    return [pytest.param(*case, marks=mark) for case, mark in zip(cases, marks, strict=True)]
