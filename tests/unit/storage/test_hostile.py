"""A forged run folder, with digests made to fit, is refused in one sentence: nothing in it is
executed, and nothing outside it is written.

Most cases are opened as training opens them, by entering a Session; a few go through ``main``.
"""

import dataclasses
import itertools
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

from dqn.config import Config, ConfigError
from dqn.config.cli import parse
from dqn.config.commands import TrainOptions
from dqn.learning.factory import make_agent, make_model
from dqn.run.loop import loop
from dqn.run.session import Session
from dqn.storage.files import sha256
from dqn.storage.manifest import CorruptCheckpoint, digest_of
from dqn.storage.saved_run import load_agent
from dqn.storage.tensors import parse_tensors
from main import main

CARTPOLE = [
    "--game=CartPole-v1", "--num-envs=2", "--learning-starts=40", "--threads=1",
    "--replay.capacity=300", "--learner.batch-size=4", "--learner.update-period=4",
    "--network.mlp-units=[8]", "--report-period=50", "--evaluation.episodes=2",
    "--evaluation.held-out-states=2", "--checkpoint-minutes=1e6", "--env.reseed-steps=40",
]  # fmt: skip

NEWEST, LONGER = 200, 240
"""Steps of the checkpoint, and where the run is continued to."""

CPU = torch.device("cpu")


def config_of(options: list[str]) -> Config:
    config = parse(TrainOptions, options).settings
    return dataclasses.replace(config, total_steps=LONGER)


def train(folder: Path, options: list[str], *more: str) -> int:
    return main([*options, f"--checkpoints-dir={folder}", f"--total-steps={LONGER}", *more])


def open_run(run: Path, config: Config, steps: int = 0) -> None:
    """Resume a run as ``train`` does, and make so many steps."""
    agent = make_agent(config, CPU)
    session = Session(config, agent, run, CPU, lambda: session.step >= NEWEST + steps)
    with session:
        loop(session)


def load_model(run: Path) -> None:
    """What ``evaluate`` and ``play`` do first."""
    load_agent(make_model, str(run), "latest", CPU)


def newest(run: Path) -> Path:
    """Its newest checkpoint."""
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
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an honest run with a checkpoint."""
    folder = tmp_path_factory.mktemp("honest")
    assert train(folder, CARTPOLE, f"--total-steps={NEWEST}") == 0
    return folder / "CartPole-v1/dqn-seed1"


@pytest.fixture(scope="module")
def config() -> Config:
    """Its config, but longer."""
    return config_of(CARTPOLE)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a checkpoint that a running run might write."""
    monkeypatch.setattr("dqn.storage.saved_run.time.sleep", lambda _: None)


def copy_of(cartpole: Path, folder: Path) -> Path:
    """A copy, replacing an earlier copy."""
    run = folder / "CartPole-v1/dqn-seed1"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(cartpole, run, ignore=shutil.ignore_patterns("events.*"))
    return run


Fresh = Callable[[], Path]


@pytest.fixture
def fresh(cartpole: Path, tmp_path: Path) -> Fresh:
    """Makes a copy to be forged, in place of the one before, beside a file that must not be
    touched."""
    (tmp_path / "outside").write_text("untouched")
    return lambda: copy_of(cartpole, tmp_path)


@pytest.fixture
def run(fresh: Fresh) -> Path:
    """Such a copy."""
    return fresh()


def refused(run: Path, expected: str, command: Callable[..., None], *arguments: Any) -> None:
    """The command ends with one sentence, and everything around the run is as it was."""
    with nothing_outside_changes(run), pytest.raises(ConfigError) as caught:
        command(run, *arguments)
    sentence = str(caught.value)
    assert expected in sentence, sentence
    assert "\n" not in sentence


# Files that are not what their names say.


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def pickled(path: Path) -> None:
    """A pickle that runs code."""
    path.write_bytes(pickle.dumps(Bomb(path.parents[3] / "marker")))


def torch_saved(path: Path) -> None:
    """The same as torch writes it."""
    bomb = Bomb(path.parents[3] / "marker")
    torch.save({"head.advantage.0.weight": torch.ones(2), "bomb": bomb}, path)


FILES: dict[str, Callable[[Path], Any]] = {
    "pickle": pickled,
    "torch.save": torch_saved,
    "text": lambda path: path.write_bytes(b"<html>404</html>"),
}
for _name, _data in {
    "absurd length": with_header(b"{}", 2**62),
    "a list": with_header(b"[]", data=b""),
    "deeply nested": with_header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "absurd shape": described(a=entry(shape=(2**62,))),
    "nothing of an absurd shape": described(a=entry(shape=(0, 2**62, 2**62), offsets=(0, 0))),
    "overlapping": described(a=entry(), b=entry(offsets=(8, 24))),
    "beyond the end": described(a=entry(shape=(2**20,), offsets=(0, 2**22))),
    "complex": described(a=entry("C64", (8,), (0, 64))),
    "quarter floats": described(a=entry("F8_E8M0", (64,), (0, 64))),
}.items():
    FILES[_name] = lambda path, data=_data: path.write_bytes(data)  # type: ignore[misc]


def test_files(fresh: Fresh, config: Config, subtests: pytest.Subtests) -> None:
    """Refused, and no code in one has run."""
    names = "model.safetensors", "state.safetensors"
    for name, (case, forge) in itertools.product(names, FILES.items()):
        with subtests.test(f"{name}: {case}"):
            run = fresh()
            forge(newest(run) / name)
            reseal(newest(run))
            complaint = "" if "nothing" in case or case in ("complex", "a list") else "safetensors"
            refused(run, complaint, open_run, config)
            if name == "model.safetensors":
                refused(run, complaint, load_model)
            assert not (run.parent.parent / "marker").exists()


# Whole safetensors files of the wrong content.


Forge = Callable[[Path, str, Any], None]


def in_file(file: str) -> Forge:
    """Changes an array of a checkpoint's file."""
    return lambda checkpoint, name, change: alter(checkpoint / file, name, change)


def refused_each(
    forgeries: dict[str, list[Any]], forge: Forge, fresh: Fresh,
    subtests: pytest.Subtests, *commands: tuple[Any, ...],
) -> None:  # fmt: skip
    """Each change to each name, in a copy of its own, is refused by each command."""
    for name, change in [(name, c) for name, changes in forgeries.items() for c in changes]:
        with subtests.test(name, change="missing" if change is MISSING else str(change)[:40]):
            run = fresh()
            forge(newest(run), name, change)
            for command in commands:
                refused(run, "step_000000200", *command)


NAN, INF = float("nan"), float("inf")
ONES = torch.ones
FIRST = "head.advantage.0.weight"
MODEL: dict[str, list[Any]] = {
    FIRST: [last(NAN), ONES(3, 8), ONES(2, 8).long()],
    "head.advantage.0.bias": [MISSING],
    "more": [ONES(1)],
}


def test_model(fresh: Fresh, config: Config, subtests: pytest.Subtests) -> None:
    forge = in_file("model.safetensors")
    refused_each(MODEL, forge, fresh, subtests, (open_run, config), (load_model,))


def test_a_network_with_other_layers(run: Path, config: Config) -> None:
    """Valid in itself, as of a version that made them otherwise."""
    file = run / "config.yaml"
    text = file.read_text()
    file.write_text(text.replace("mlp_units:\n  - 8\n", "mlp_units:\n  - 9\n"))
    assert file.read_text() != text
    wider = config_of([*CARTPOLE, "--network.mlp-units=[9]"])
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
    "environment/timestep/first": [torch.tensor([7, 0]).byte().view(torch.bool)],
    "environment/lives": [MISSING],
    "replay/sampler/mass": [0, 255],
    "replay/sampler/generator": [0, torch.zeros(5056)],
    "metrics/returns": [NAN],
}


def test_state(fresh: Fresh, config: Config, subtests: pytest.Subtests) -> None:
    """What does not fit together; impossible values are each owner's to refuse."""
    refused_each(STATE, in_file("state.safetensors"), fresh, subtests, (open_run, config))


# Pieces of the replay.


def compressed(name: str, change: Any) -> Callable[[bytes], bytes]:
    """A piece with another array in it."""
    unpack, pack = zstandard.ZstdDecompressor(), zstandard.ZstdCompressor()
    return lambda data: pack.compress(altered(unpack.decompress(data), name, change))


def without_size(data: bytes) -> bytes:
    """A frame that does not say how large it is."""
    compressor = zstandard.ZstdCompressor(write_content_size=False)
    return compressor.compress(zstandard.ZstdDecompressor().decompress(data))


PIECES: dict[str, Callable[[bytes], bytes]] = {
    "no zstd": lambda _: b"nothing of the kind",
    "empty": lambda _: b"",
    "cut": lambda data: data[: len(data) // 2],
    "no size": without_size,
    # a frame's head: the size takes 8 bytes, and says 2^60
    "absurd size": lambda data: data[:4] + bytes([0xE0]) + struct.pack("<Q", 2**60) + data[9:],
    "too large": lambda _: zstandard.ZstdCompressor().compress(bytes(10**8)),
    "no arrays": lambda _: zstandard.ZstdCompressor().compress(b"hello"),
    "another shape": compressed("frame", torch.zeros(100, 2, 5)),
    "another type": compressed("frame", torch.zeros(100, 2, 4).double()),
    "one too few": compressed("reward", MISSING),
    "one too many": compressed("more", torch.zeros(1)),
    "rows too few": compressed("last", torch.zeros(3, 2).bool()),
    "action out of range": compressed("action", 2),
}


def test_what_an_environment_showed_may_be_anything() -> None:
    """What is saved can be loaded; if the loss is then not finite, the run stops there."""
    odd = torch.tensor([float("inf"), float("nan")])
    for name in ("frame", "reward", "environment/timestep/stack"):
        parse_tensors("file", safetensors.torch.save({name: odd}))
    with pytest.raises(CorruptCheckpoint, match="not finite"):
        parse_tensors("file", safetensors.torch.save({"torso.0.weight": odd}))


def test_pieces(fresh: Fresh, config: Config, subtests: pytest.Subtests) -> None:
    for case, change in PIECES.items():
        with subtests.test(case):
            run = fresh()
            (piece,) = newest(run).glob("rows_*")
            piece.write_bytes(change(piece.read_bytes()))
            reseal(newest(run))
            refused(run, "step_000000200/rows_", open_run, config)


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
    "state.replay.time": [{"array": "numpy"}, 99],
    "state.actor.generator": [MISSING, []],
    "state.actor.generator.bit_generator": ["MT19937"],
    "state.actor.generator.state.state": [-1, 2**200],
    "state.metrics.recent": ["abc", ["a"], [NAN]],
    "state.metrics.best": ["32", INF],
}


def test_meta(fresh: Fresh, config: Config, subtests: pytest.Subtests) -> None:
    def forge(checkpoint: Path, name: str, change: Any) -> None:
        rewrite(checkpoint, edit(name, change))

    refused_each(EDITS, forge, fresh, subtests, (open_run, config))


def test_file_elsewhere(run: Path, config: Config) -> None:
    """A file more than there is is neither read nor written."""
    for name in ("../../../outside", "/etc/passwd", "..", "", ".", "a\0b"):
        rewrite(newest(run), lambda meta, name=name: meta["files"].update({name: ELSEWHERE}))
        with nothing_outside_changes(run):
            open_run(run, config)


@pytest.mark.parametrize(
    "depth, key", [(300, "state"), (900, "versions"), (100_000, "state"), (900, "more")]
)
def test_deeply_nested(depth: int, key: str, run: Path, config: Config) -> None:
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
        survives(run, config)  # what is unknown is ignored
    else:
        refused(run, "step_000000200", open_run, config)


def test_of_something_else(fresh: Fresh, config: Config) -> None:
    for key, value, expected in [
        ("provenance.game", "Acrobot-v1", "game is Acrobot-v1, not CartPole-v1"),
        ("provenance.num_actions", 3, "num_actions is 3, not 2"),
        ("provenance.stack_shape", [4, 84, 84], "stack_shape is [4, 84, 84], not [1, 4]"),
        ("format", 1, "by an earlier version of this program (format 1); this one reads format 2"),
        ("format", 3, "by a later version of this program (format 3); this one reads format 2"),
    ]:
        run = fresh()
        rewrite(newest(run), edit(key, value))
        refused(run, expected, open_run, config)


def test_meta_of_a_model(fresh: Fresh) -> None:
    elsewhere = {"../../outside": ELSEWHERE}
    for path, value in [("step", -200), ("step", "200"), ("files", elsewhere)]:
        run = fresh()
        rewrite(run / "best", edit(path, value))
        refused(run, "best/", lambda run: load_agent(make_model, str(run), "best", CPU))


def test_no_escape_sequence_reaches_the_terminal(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite(newest(run), edit("provenance.versions", {"torch": "\x1b[2J\nerror: x"}))
    capfd.readouterr()
    assert train(run.parent.parent, CARTPOLE) == 0
    said = capfd.readouterr().err
    assert "made with versions torch" in said
    assert "\x1b" not in said
    assert "\nerror" not in said


# Forgeries nobody thought of.


def survives(run: Path, config: Config) -> None:
    """It is continued, or refused in one sentence; any other exception fails the test."""
    with nothing_outside_changes(run), suppress(ConfigError):
        open_run(run, config, steps=8)


@FEW
@given(data=st.data())
def test_any_meta(data: st.DataObject, cartpole: Path, config: Config, tmp_path: Path) -> None:
    run = copy_of(cartpole, tmp_path)
    meta = json.loads((newest(run) / "meta.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(places(meta)))
        place = meta
        for parent in parents:
            place = place[parent]
        place[key] = data.draw(anything)
    meta["sha256"] = digest_of(meta)
    (newest(run) / "meta.json").write_text(json.dumps(meta))
    survives(run, config)


@FEW
@given(data=st.data())
def test_any_header(data: st.DataObject, cartpole: Path, config: Config, tmp_path: Path) -> None:
    run = copy_of(cartpole, tmp_path)
    file = newest(run) / data.draw(st.sampled_from(["model.safetensors", "state.safetensors"]))
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    reseal(newest(run))
    survives(run, config)
