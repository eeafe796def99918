"""Commands from the page are checked; whatever else comes is refused by one kind of error."""

import contextlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dqn.web.messages import Command, UnknownMessage, parse

JSON = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())

REFUSED = {
    "": "not JSON",
    "{": "not JSON",
    "[" * 100_000: "not JSON",
    "1" * 5000: "not JSON",
    "[]": "expected an object of do and value",
    '{"do": "pause"}': "expected an object of do and value",
    '{"do": "pause", "value": true, "more": 1}': "expected an object of do and value",
    '{"do": "stop", "value": null}': "unknown command",
    '{"do": [], "value": null}': "unknown command",
    '{"do": "pause", "value": 1}': "invalid value of pause",
    '{"do": "speed", "value": 0}': "invalid value of speed",
    '{"do": "speed", "value": NaN}': "invalid value of speed",
    '{"do": "speed", "value": true}': "invalid value of speed",
    f'{{"do": "speed", "value": 1{"0" * 400}}}': "invalid value of speed",
    '{"do": "epsilon", "value": 1.5}': "invalid value of epsilon",
    '{"do": "epsilon", "value": Infinity}': "invalid value of epsilon",
    '{"do": "seed", "value": 1}': "invalid value of seed",
    '{"do": "seed", "value": "-1"}': "invalid value of seed",
    f'{{"do": "seed", "value": "{2**63}"}}': "invalid value of seed",
    f'{{"do": "seed", "value": "{"1" * 4000}"}}': "invalid value of seed",
    '{"do": "checkpoint", "value": 3}': "invalid value of checkpoint",
    '{"do": "keys", "value": "up"}': "invalid value of keys",
    '{"do": "keys", "value": ["escape"]}': "invalid value of keys",
    '{"do": "keys", "value": [[]]}': "invalid value of keys",
    '{"do": "step", "value": 1}': "invalid value of step",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_what_is_no_command_is_refused(text):
    with pytest.raises(UnknownMessage, match=f"^{REFUSED[text]}$"):
        parse(text)


@settings(max_examples=50)
@given(st.sampled_from(["pause", "seed", "keys", "checkpoint", "speed", "epsilon"]), JSON)
def test_any_value_is_a_command_or_refused(name, value):
    with contextlib.suppress(UnknownMessage):
        assert isinstance(parse(json.dumps({"do": name, "value": value})), Command)


def test_a_command_and_its_value():
    assert parse(f'{{"do": "seed", "value": "{2**63 - 1}"}}') == Command("seed", str(2**63 - 1))
    assert parse('{"value": ["up", "fire"], "do": "keys"}') == Command("keys", ["up", "fire"])
    assert parse('{"do": "epsilon", "value": 0}') == Command("epsilon", 0)
