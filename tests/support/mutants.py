"""Which tests ``make mutants`` runs for a mutant, and in which order."""

import os

import pytest


def choose(items: list[pytest.Item]) -> None:
    """The unit tests of the mutant's room come first; in a first pass they are all.

    mutmut has chosen those that call the function. It says which mutant it tests, or none, by
    ``MUTANT_UNDER_TEST``; the Makefile says by ``FIRST_PASS`` that only the room's tests are meant,
    and which room, if it is the same for all.
    """
    mutant = os.environ.get("MUTANT_UNDER_TEST")
    if mutant is None or mutant in ("stats", "list_all_tests"):
        return
    room = mutant.split(".")[1] if "." in mutant else os.environ.get("FIRST_PASS")
    places = f"tests/unit/{room}/", f"tests/unit/test_{room}.py"
    own = [item for item in items if item.nodeid.startswith(places)]
    others = [item for item in items if not item.nodeid.startswith(places)]
    items[:] = own if own and "FIRST_PASS" in os.environ else own + others
