"""A forged run folder, with digests made to fit, is refused in one sentence: nothing in it is
executed, and nothing outside it is written.

Most cases are opened as training opens them, by entering a Session; a few go through ``main``.
"""

import dataclasses
import json
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from support.forgeries import (
    FEW,
    MISSING,
    alter,
    altered,
    anything,
    described,
    edit,
    entry,
    last,
    nested,
    places,
    reseal,
    rewrite,
    with_header,
)
from support.runs import NEVER, TINY, train

from dqn.config import Config, ConfigError, NetworkConfig
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.learning.factory import make_agent, make_model
from dqn.run.loop import loop
from dqn.run.session import Session
from dqn.storage.files import sha256
from dqn.storage.manifest import CorruptCheckpoint, digest_of
from dqn.storage.saved_run import load_agent
from dqn.storage.tensors import parse_tensors

CARTPOLE = [
    *TINY, "--game=CartPole-v1", "--learning-starts=40", "--replay.capacity=300",
    "--learner.batch-size=4", "--network.mlp-units=[8]", "--env.reseed-steps=40", NEVER,
]  # fmt: skip

NEWEST, LONGER = 200, "--total-steps=240"
"""Step of the checkpoint, and where the run is continued to."""

CONFIG = parse(TrainOptions, [*CARTPOLE, LONGER]).settings
CPU = torch.device("cpu")


def open_run(run: Path, config: Config = CONFIG, steps: int = 0) -> None:
    """Resume a run as ``train`` does, and make so many steps."""
    agent = make_agent(config, CPU)
    session = Session(config, agent, run, CPU, lambda: session.step >= NEWEST + steps)
    with session:
        loop(session)


def load_model(run: Path) -> None:
    """What ``evaluate`` and ``play`` do first."""
    load_agent(make_model, str(run), "latest", CPU)


def newest(run: Path) -> Path:
    return max(run.glob("step_*[0-9]"))


@contextmanager
def nothing_outside_changes(run: Path) -> Iterator[None]:
    """Every file and folder around the run is as it was."""

    def around() -> dict[Path, bytes | None]:
        outside = (p for p in run.parent.parent.rglob("*") if not p.is_relative_to(run))
        return {path: path.read_bytes() if path.is_file() else None for path in outside}

    before = around()
    yield
    assert around() == before


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory):
    """The folder of an honest run with a checkpoint."""
    return train(tmp_path_factory.mktemp("honest"), CARTPOLE, f"--total-steps={NEWEST}")


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """No waiting for a checkpoint that a running run might write."""
    monkeypatch.setattr("dqn.storage.saved_run.time.sleep", lambda _: None)


@pytest.fixture
def fresh(cartpole, tmp_path):
    """Makes a copy to be forged, in place of the one before, beside a file that must not be
    touched."""
    (tmp_path / "outside").write_text("untouched")
    run = tmp_path / "CartPole-v1/dqn-seed1"

    def copy() -> Path:
        shutil.rmtree(run, ignore_errors=True)
        return shutil.copytree(cartpole, run, ignore=shutil.ignore_patterns("events.*"))

    return copy


@pytest.fixture
def run(fresh):
    """Such a copy."""
    return fresh()


def refused(run: Path, expected: str, command: Callable[..., None], *arguments: Any) -> None:
    """The command ends with one sentence, and everything around the run is as it was."""
    with nothing_outside_changes(run), pytest.raises(ConfigError) as caught:
        command(run, *arguments)
    sentence = str(caught.value)
    assert expected in sentence, sentence
    assert "\n" not in sentence


Forge = Callable[[Path, str, Any], Any]


def refused_each(
    forgeries: dict[str, list[Any]], forge: Forge, fresh: Callable[[], Path],
    subtests: pytest.Subtests, *commands: Callable[[Path], None],
) -> None:  # fmt: skip
    """Each change to each name, in a copy of its own, is refused by each command."""
    for name, change in [(name, c) for name, changes in forgeries.items() for c in changes]:
        with subtests.test(name, change="missing" if change is MISSING else str(change)[:40]):
            run = fresh()
            forge(newest(run), name, change)
            for command in commands:
                refused(run, "step_000000200", command)
            assert not (run.parent.parent / "marker").exists(), "code of a pickle has run"


# Files that are not what their names say.


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


FILES = [
    b"<html>404</html>",
    with_header(b"{}", 2**62),
    with_header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    described(a=entry(shape=(0, 2**62, 2**62), offsets=(0, 0))),
    described(a=entry(), b=entry(offsets=(8, 24))),  # overlapping
    described(a=entry("C64", (8,), (0, 64))),  # complex
    described(a=entry("F8_E8M0", (64,), (0, 64))),  # which torch does not have
    described(a=entry("F8_E4M3", (64,), (0, 64))),  # which it cannot tell finite or not
]


def test_files(fresh, subtests):
    def forge(checkpoint: Path, name: str, data: Any) -> None:
        if data is Bomb:
            data = pickle.dumps(Bomb(checkpoint.parents[2] / "marker"))
        (checkpoint / name).write_bytes(data)
        reseal(checkpoint)

    forgeries: list[Any] = [Bomb, *FILES]
    refused_each({"state.safetensors": forgeries}, forge, fresh, subtests, open_run)
    refused_each({"model.safetensors": forgeries}, forge, fresh, subtests, open_run, load_model)


# Whole safetensors files of the wrong content.


def in_file(file: str) -> Forge:
    """Changes an array of a checkpoint's file."""
    return lambda checkpoint, name, change: alter(checkpoint / file, name, change)


NAN, INF = float("nan"), float("inf")
ONES = torch.ones
FIRST = "head.advantage.0.weight"
MODEL: dict[str, list[Any]] = {
    FIRST: [last(NAN), ONES(3, 8), ONES(2, 8).long()],
    "head.advantage.0.bias": [MISSING],
    "more": [ONES(1)],
}


def test_model(fresh, subtests):
    refused_each(MODEL, in_file("model.safetensors"), fresh, subtests, open_run, load_model)


def test_a_network_with_other_layers(run):
    """Valid in itself, as of a version that made them otherwise."""
    file = run / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("mlp_units:\n  - 8\n", "mlp_units:\n  - 9\n"))
    assert file.read_text() != text
    wider = dataclasses.replace(CONFIG, network=NetworkConfig(mlp_units=(9,)))
    refused(run, "the state's learner/online/head.advantage.0", open_run, wider)
    refused(run, "its network has other layers", load_model)


STATE: dict[str, list[Any]] = {
    f"learner/target/{FIRST}": [last(INF), ONES(1)],
    f"learner/optimizer/exp_avg/{FIRST}": [last(NAN), ONES(2, 8).int()],
    f"learner/optimizer/exp_avg_sq/{FIRST}": [last(-1.0)],
    "learner/generator": [ONES(3).byte()],
    "environment/actions": [last(2), torch.Tensor.float, lambda t: t[0].clone(), ONES(9, 2).byte()],
    "environment/age": [last(-1), last(2**62)],
    "environment/count": [-3, 2**63 - 1],
    "environment/seed": [-1, 2**62],
    "environment/timestep/stack": [ONES(2, 1, 5), last(NAN)],
    "environment/timestep/reward": [last(INF)],
    "environment/timestep/first": [torch.tensor([7, 0]).byte().view(torch.bool)],
    "environment/lives": [MISSING],
    "replay/sampler/mass": [0, 255],
    "replay/sampler/generator": [0, torch.zeros(5056)],
    "metrics/returns": [NAN],
}


def test_state(fresh, subtests):
    """What does not fit together; impossible values are each owner's to refuse."""
    refused_each(STATE, in_file("state.safetensors"), fresh, subtests, open_run)


# Pieces of the replay.


def compressed(name: str, change: Any) -> Callable[[bytes], bytes]:
    """A piece with another array in it."""
    unpack, pack = zstandard.ZstdDecompressor(), zstandard.ZstdCompressor()
    return lambda data: pack.compress(altered(unpack.decompress(data), name, change))


def without_size(data: bytes) -> bytes:
    """A frame that does not say how large it is."""
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return compressor.compress(zstandard.ZstdDecompressor().decompress(data))


PIECES: list[Callable[[bytes], bytes]] = [
    lambda _: b"nothing of the kind",
    lambda data: data[: len(data) // 2],
    without_size,
    # a frame's head: the size takes 8 bytes, and says 2^60
    lambda data: data[:4] + bytes([0xE0]) + struct.pack("<Q", 2**60) + data[9:],
    lambda _: zstandard.ZstdCompressor().compress(bytes(10**8)),
    lambda _: zstandard.ZstdCompressor().compress(b"hello"),
    compressed("frame", torch.zeros(100, 2, 5)),
    compressed("frame", torch.zeros(100, 2, 4).double()),
    compressed("reward", MISSING),
    compressed("reward", last(NAN)),
    compressed("more", torch.zeros(1)),
    compressed("last", torch.zeros(3, 2).bool()),
    compressed("action", 2),
]


def test_what_an_environment_showed_may_be_anything():
    """What is saved can be loaded; if the loss is then not finite, the run stops there."""
    odd = torch.tensor([INF, NAN])
    for name in ("frame", "environment/timestep/stack"):
        parse_tensors("file", safetensors.torch.save({name: odd}))
    with pytest.raises(CorruptCheckpoint, match="not finite"):
        parse_tensors("file", safetensors.torch.save({"torso.0.weight": odd}))


def test_pieces(fresh, subtests):
    def forge(checkpoint: Path, name: str, change: Callable[[bytes], bytes]) -> None:
        (piece,) = checkpoint.glob(name)
        piece.write_bytes(change(piece.read_bytes()))
        reseal(checkpoint)

    refused_each({"rows_*": PIECES}, forge, fresh, subtests, open_run)


# meta.json.


ELSEWHERE = {"sha256": sha256(b"untouched"), "bytes": 9}
ARRAY = {"array": "torch"}
EDITS: dict[str, list[Any]] = {
    "files": [{"../../../outside": ELSEWHERE}, ["model.safetensors"], {"a": "b"}, MISSING],
    "format": ["1", 0, True],
    "step": ["200", -200, 198, MISSING],
    "provenance": [MISSING, []],
    "provenance.game": [3],
    "provenance.versions": [{"torch": 2}],
    "provenance.num_actions": [0],
    "provenance.stack_shape": [["1", "4"]],
    "evaluation": [[]],
    "lengths": [""],
    "lengths.rewards": [-1, True],
    "state": [{}, [], nested(400)],
    "state.environment.age": [3, ARRAY],
    "state.environment.timestep.first": [ARRAY],
    "state.learner.more": [ARRAY, 1],
    "state.learner.updates": [MISSING, "1", -1, 1.5, True, 201, 10**400, None, [1], ARRAY],
    "state.learner.optimizer": [{}],
    "state.replay.time": [{"array": "numpy"}, 0, 99],
    "state.actor.generator": [MISSING, []],
    "state.actor.generator.bit_generator": ["MT19937"],
    "state.actor.generator.state.state": [-1, 2**200],
    "state.metrics.recent": ["abc", ["a"], [NAN]],
    "state.metrics.best": ["32", INF],
}


def test_meta(fresh, subtests):
    def forge(checkpoint: Path, name: str, change: Any) -> None:
        rewrite(checkpoint, edit(name, change))

    refused_each(EDITS, forge, fresh, subtests, open_run)


@pytest.mark.parametrize(
    "name, why",
    [
        ("model.safetensors", "does not match its digest"),
        ("meta.json", "cannot be read (it is far too long)"),
    ],
)
def test_a_file_too_long_for_memory(name, why, run):
    """A terabyte without content; it is not read."""
    os.truncate(newest(run) / name, 2**40)
    refused(run, f"{name} {why}", load_model)


def test_file_elsewhere(run):
    """A file more than there is is neither read nor written."""
    for name in ("../../../outside", "/etc/passwd", "..", "", ".", "a\0b"):
        rewrite(newest(run), lambda meta, name=name: meta["files"].update({name: ELSEWHERE}))
        with nothing_outside_changes(run):
            open_run(run)


@pytest.mark.parametrize(
    "depth, key", [(300, "state"), (900, "versions"), (100_000, "state"), (900, "more")]
)
def test_deeply_nested(depth, key, run):
    """However deep, and though its digest cannot be computed without the depth."""
    file = newest(run) / "meta.json"
    meta = json.loads(file.read_bytes())
    (meta["provenance"] if key == "versions" else meta)[key] = {"here": 0}
    text = json.dumps(meta).replace('"here": 0', '"a":' + '{"a":' * depth + "0" + "}" * depth)
    digest = re.compile(r'"sha256": "[0-9a-f]{64}"(, "more".*)?}$')
    with suppress(RecursionError):  # nobody can seal it here; it must still be refused
        sealed = digest_of(json.loads(text))
        text = digest.sub(rf'"sha256": "{sealed}"\1}}', text)
    file.write_text(text)
    if key == "more":
        survives(run)  # what is unknown is ignored
    else:
        refused(run, "step_000000200", open_run)


def test_of_something_else(fresh):
    for key, value, expected in [
        ("provenance.game", "Acrobot-v1", "game is Acrobot-v1, not CartPole-v1"),
        ("provenance.num_actions", 3, "num_actions is 3, not 2"),
        ("provenance.stack_shape", [4, 84, 84], "stack_shape is [4, 84, 84], not [1, 4]"),
        ("format", 1, "by an earlier version of this program (format 1); this one reads format 2"),
        ("format", 3, "by a later version of this program (format 3); this one reads format 2"),
    ]:
        run = fresh()
        rewrite(newest(run), edit(key, value))
        refused(run, expected, open_run)
    run = fresh()
    newest(run).rename(run / "step_000000300")
    refused(run, "step_000000300/meta.json belongs to step 200", open_run)


def test_no_escape_sequence_reaches_the_terminal(run, capfd):
    rewrite(newest(run), edit("provenance.versions", {"torch": "\x1b[2J\nerror: x"}))
    capfd.readouterr()
    train(run.parent.parent, CARTPOLE, LONGER)
    said = capfd.readouterr().err
    assert "made with versions torch" in said
    assert "\x1b" not in said
    assert "\nerror" not in said


# Forgeries nobody thought of.


def survives(run: Path) -> None:
    """It is continued, or refused in one sentence; any other exception fails the test."""
    with nothing_outside_changes(run), suppress(ConfigError):
        open_run(run, steps=8)


@FEW
@given(data=st.data())
def test_any_meta(data, fresh):
    run = fresh()
    meta = json.loads((newest(run) / "meta.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(places(meta)))
        place = meta
        for parent in parents:
            place = place[parent]
        place[key] = data.draw(anything)
    meta["sha256"] = digest_of(meta)
    (newest(run) / "meta.json").write_text(json.dumps(meta))
    survives(run)


@FEW
@given(data=st.data())
def test_any_header(data, fresh):
    run = fresh()
    file = newest(run) / data.draw(st.sampled_from(["model.safetensors", "state.safetensors"]))
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    reseal(newest(run))
    survives(run)
