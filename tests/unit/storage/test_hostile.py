"""A forged run folder, its digests made to fit, is refused in one sentence: nothing in it is
executed, and nothing outside it is written."""

import json
import os
import pickle
import re
import shutil
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dqn.config import Config, ConfigError
from dqn.config.options import load_config
from dqn.storage import manifest as sealed
from dqn.storage.files import sha256
from main import main

CARTPOLE = [
    "--game=CartPole-v1", "--num-envs=2", "--learning-starts=40", "--threads=1",
    "--replay.capacity=300", "--learner.batch-size=4", "--learner.update-period=4",
    "--network.mlp-units=[8]", "--report-period=50", "--evaluation.episodes=2",
    "--evaluation.held-out-states=2", "--checkpoint-minutes=1e6", "--env.reseed-steps=40",
]  # fmt: skip

PONG = [
    "--game=Pong", "--num-envs=2", "--learning-starts=1000", "--threads=1", "--env.threads=1",
    "--replay.capacity=100", "--network.hidden-units=8", "--evaluation.episodes=1",
    "--evaluation.held-out-states=2", "--checkpoint-minutes=1e6", "--env.max-episode-frames=40",
]  # fmt: skip

Meta = dict[str, Any]
Tensors = dict[str, torch.Tensor]

OLDER, NEWER, LONGER = 100, 200, 240
"""Steps of the two checkpoints, and to where the run then goes on."""


def reseal(checkpoint: Path) -> None:
    """Make every digest fit what is there now, as a forger would."""
    meta = json.loads((checkpoint / "meta.json").read_bytes())
    for name, entry in meta["files"].items() if isinstance(meta.get("files"), dict) else ():
        if isinstance(entry, dict) and (checkpoint / name).is_file():
            data = (checkpoint / name).read_bytes()
            entry |= {"sha256": sha256(data), "bytes": len(data)}
    meta["sha256"] = sealed._meta_digest(meta)
    (checkpoint / "meta.json").write_text(json.dumps(meta))


def contents(folder: Path, without: Path) -> dict[str, bytes | None]:
    """Everything in a folder but what lies in ``without``: the bytes of each file by its path."""
    return {
        str(path): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if not path.is_relative_to(without)
    }


def resume(folder: Path, options: list[str], *more: str) -> int:
    """Continue the run in this process."""
    return main([*options, f"--checkpoints-dir={folder}", f"--total-steps={LONGER}", *more])


def newest(run: Path) -> Path:
    """Its newest checkpoint."""
    return max(run.glob("step_*[0-9]"))


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an honest run with two checkpoints."""
    folder = tmp_path_factory.mktemp("honest")
    for steps in (OLDER, NEWER):
        assert resume(folder, CARTPOLE, f"--total-steps={steps}") == 0
    return folder / "CartPole-v1/dqn-seed1"


@pytest.fixture(scope="module")
def pong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of Atari's, with one checkpoint."""
    folder = tmp_path_factory.mktemp("pong")
    assert resume(folder, PONG, "--total-steps=60") == 0
    return folder / "Pong/dqn-seed1"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting for a checkpoint that a running run might write."""
    monkeypatch.setattr("dqn.storage.saved_run.time.sleep", lambda _: None)


@pytest.fixture
def run(cartpole: Path, tmp_path: Path) -> Path:
    """A copy to be forged, with one checkpoint, and a file beside it that nobody may touch."""
    (tmp_path / "outside").write_text("untouched")
    copy = tmp_path / "CartPole-v1/dqn-seed1"
    shutil.copytree(cartpole, copy)
    shutil.rmtree(copy / f"step_{OLDER:09d}")
    return copy


def refused(
    capfd: pytest.CaptureFixture[str], run: Path, command: Callable[[], int], expected: str
) -> None:
    """The command ends with one sentence, and all around the run is as it was."""
    around = run.parent.parent
    before = contents(around, without=run)
    capfd.readouterr()
    status = command()
    said = capfd.readouterr().err
    assert status == 2, said
    *_, last = said.splitlines()
    assert [line for line in said.splitlines() if line.startswith("error")] == [last]
    assert re.fullmatch(r"error: [^\n]+", last), said
    assert "Traceback" not in said
    assert expected in last, last
    assert contents(around, without=run) == before


# Files that are not what their names say.


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def pickled(path: Path) -> None:
    """A pickle that runs code."""
    path.write_bytes(pickle.dumps(Bomb(path.parent.parent.parent.parent / "marker")))


def torch_saved(path: Path) -> None:
    """The same as torch writes it."""
    bomb = Bomb(path.parent.parent.parent.parent / "marker")
    torch.save({"head.advantage.0.weight": torch.ones(2), "bomb": bomb}, path)


def with_header(header: bytes, length: int | None = None, data: bytes = bytes(64)) -> bytes:
    """A safetensors file of that header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def described(**entries: Any) -> bytes:
    """A safetensors file with these entries in its header."""
    return with_header(json.dumps(entries).encode())


def entry(dtype: str = "F32", shape: Any = (4,), offsets: Any = (0, 16)) -> dict[str, Any]:
    """One of them."""
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


FILES: dict[str, Callable[[Path], Any]] = {
    "pickle": pickled,
    "torch.save": torch_saved,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_bytes(b"<html>404</html>"),
}
for _name, _data in {
    "absurd length": with_header(b"{}", 2**62),
    "length of all bits": with_header(b"{}", 2**64 - 1),
    "no JSON": with_header(b"{nonsense"),
    "no UTF-8": with_header(b'{"\xff": 1}'),
    "a list": with_header(b"[]", data=b""),
    "deeply nested": with_header(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "absurd shape": described(a=entry(shape=(2**62,))),
    "shape that overflows": described(a=entry(shape=(2**62, 2**62))),
    "negative shape": described(a=entry(shape=(-4,))),
    "nothing of an absurd shape": described(a=entry(shape=(0, 2**62, 2**62), offsets=(0, 0))),
    "overlapping": described(a=entry(), b=entry(offsets=(8, 24))),
    "backwards": described(a=entry(offsets=(16, 0))),
    "beyond the end": described(a=entry(shape=(2**20,), offsets=(0, 2**22))),
    "unknown dtype": described(a=entry("F31")),
    "dtype torch has not": described(a=entry("F4", (8,), (0, 4))),
    "complex": described(a=entry("C64", (8,), (0, 64))),
    "quarter floats": described(a=entry("F8_E8M0", (64,), (0, 64))),
}.items():
    FILES[_name] = lambda path, data=_data: path.write_bytes(data)  # type: ignore[misc]


@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors"])
@pytest.mark.parametrize("case", FILES)
def test_file(case: str, name: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Training, ``evaluate`` and ``play`` say so, and no code in it has run."""
    folder = run.parent.parent
    FILES[case](newest(run) / name)
    reseal(newest(run))
    complaint = "" if "nothing" in case or case in ("complex", "a list") else "safetensors"
    refused(capfd, run, lambda: resume(folder, CARTPOLE), complaint)
    if name == "model.safetensors":
        pictures = folder / "pictures"
        refused(capfd, run, lambda: main(["evaluate", str(run)]), complaint)
        refused(capfd, run, lambda: main(["play", str(run), f"--png={pictures}"]), complaint)
        assert not pictures.exists()
    assert not (folder / "marker").exists()


@pytest.mark.parametrize("case", ["pickle", "complex", "overlapping"])
def test_older_checkpoint_is_used(
    case: str, cartpole: Path, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(cartpole / f"step_{OLDER:09d}", run / f"step_{OLDER:09d}")
    forged = newest(run)
    FILES[case](forged / "state.safetensors")
    reseal(forged)
    capfd.readouterr()
    assert resume(run.parent.parent, CARTPOLE) == 0
    first, second, *_ = capfd.readouterr().err.splitlines()
    assert first.startswith(f"Continuing {run} at step {OLDER}")
    assert second.startswith(f"{forged.name}/")
    assert second.endswith("continuing from the checkpoint before it.")
    assert not (run.parent.parent / "marker").exists()


# Whole safetensors files of the wrong content.


def altered(path: Path, change: Callable[[Tensors], Any]) -> None:
    """Change the arrays of a file."""
    tensors = safetensors.torch.load(path.read_bytes())
    change(tensors)
    path.write_bytes(safetensors.torch.save(tensors))


def put(name: str, value: Any) -> Callable[[Tensors], Any]:
    """Another array in its place; of a number, an array of it."""

    def change(tensors: Tensors) -> None:
        like = tensors[name]
        new = value if isinstance(value, torch.Tensor) else torch.full_like(like, value)
        tensors[name] = new

    return change


def last(name: str, value: Any) -> Callable[[Tensors], Any]:
    """Another last element."""

    def change(tensors: Tensors) -> None:
        tensors[name].view(-1)[-1] = value

    return change


MODEL: dict[str, Callable[[Tensors], Any]] = {
    "not a number": last("head.advantage.0.weight", float("nan")),
    "infinite": last("head.advantage.2.bias", float("inf")),
    "another shape": put("head.advantage.0.weight", torch.ones(3, 8)),
    "another type": put("head.advantage.0.weight", torch.ones(2, 8, dtype=torch.complex64)),
    "whole numbers": put("head.advantage.0.weight", torch.ones(2, 8, dtype=torch.int64)),
    "one too few": lambda tensors: tensors.pop("head.advantage.0.bias"),
    "one too many": lambda tensors: tensors.update(more=torch.ones(1)),
}


@pytest.mark.parametrize("case", MODEL)
def test_model(case: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = run.parent.parent
    altered(newest(run) / "model.safetensors", MODEL[case])
    reseal(newest(run))
    refused(capfd, run, lambda: resume(folder, CARTPOLE), "step_000000200")
    refused(capfd, run, lambda: main(["evaluate", str(run)]), "step_000000200")
    refused(capfd, run, lambda: main(["play", str(run), f"--png={folder / 'p'}"]), "step_000000200")


def test_a_network_with_other_layers(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Whole and in itself right, as of a program that made them otherwise."""
    folder, config = run.parent.parent, run / "config.yaml"
    text = config.read_text()
    config.write_text(text.replace("mlp_units:\n  - 8\n", "mlp_units:\n  - 9\n"))
    assert config.read_text() != text
    wider = [*CARTPOLE, "--network.mlp-units=[9]"]
    refused(
        capfd,
        run,
        lambda: resume(folder, wider),
        "the state's learner/online/head.advantage.0",
    )
    refused(capfd, run, lambda: main(["evaluate", str(run)]), "its network has other layers")


SEED, AGE, COUNT = "environment/seed", "environment/age", "environment/count"
ACTIONS, STACK = "environment/actions", "environment/timestep/stack"
MASS, GENERATOR = "replay/sampler/mass", "replay/sampler/generator"
ADAM, FIRST = "learner/optimizer", "head.advantage.0.weight"

STATE: dict[str, Callable[[Tensors], Any]] = {
    "target not a number": last("learner/target/head.advantage.0.weight", float("nan")),
    "target infinite": last("learner/target/head.advantage.0.weight", float("inf")),
    "target of another shape": put("learner/target/head.advantage.0.weight", torch.ones(1)),
    "moment not a number": last(f"{ADAM}/exp_avg/{FIRST}", float("nan")),
    "moment infinite": last(f"{ADAM}/exp_avg_sq/{FIRST}", float("inf")),
    "moment below 0": last(f"{ADAM}/exp_avg_sq/{FIRST}", -1.0),
    "moment of another shape": put(f"{ADAM}/exp_avg/{FIRST}", torch.ones(7)),
    "moment of another type": put(f"{ADAM}/exp_avg/{FIRST}", torch.ones(2, 8, dtype=torch.int32)),
    "step of the optimiser below 0": put(f"{ADAM}/step", -1.0),
    "step of the optimiser an array": put(f"{ADAM}/step", torch.ones(2, 8)),
    "sums of another shape": put("learner/sums", torch.ones(5)),
    "action beyond the last": last(ACTIONS, 2),
    "actions far out": put(ACTIONS, 255),
    "action below 0": lambda t: put(ACTIONS, torch.full(t[ACTIONS].shape, -1).to(torch.int8))(t),
    "actions as fractions": lambda t: put(ACTIONS, t[ACTIONS].float())(t),
    "actions of other environments": lambda t: put(ACTIONS, t[ACTIONS].repeat(1, 2))(t),
    "a single row of actions": lambda t: put(ACTIONS, t[ACTIONS][0].clone())(t),
    "actions too many": lambda t: put(ACTIONS, t[ACTIONS].repeat(9, 1))(t),
    "age below 0": last(AGE, -1),
    "age absurd": last(AGE, 2**62),
    "ages as fractions": lambda t: put(AGE, t[AGE].double())(t),
    "ages too few": put(AGE, torch.ones(1, dtype=torch.int64)),
    "count below 0": put(COUNT, -3),
    "count absurd": put(COUNT, 2**63 - 1),
    "seed below 0": put(SEED, -1),
    "seed absurd": put(SEED, 2**62),
    "seeds as fractions": lambda t: put(SEED, t[SEED].double())(t),
    "stack of another shape": put(STACK, torch.ones(2, 1, 5)),
    "stack of another type": put(STACK, torch.ones(2, 1, 4, dtype=torch.float64)),
    "stack not a number": last(STACK, float("nan")),
    "flags of another shape": put("environment/timestep/last", torch.zeros(2, 2).bool()),
    "flags that are numbers": put("environment/timestep/last", torch.zeros(2)),
    "flags that are neither": put(
        "environment/timestep/first", torch.tensor([7, 0], dtype=torch.uint8).view(torch.bool)
    ),
    "reward of another shape": put("environment/timestep/reward", torch.ones(1)),
    "lives of another shape": put("environment/lives", torch.zeros(2, 2, dtype=torch.int64)),
    "no lives": lambda tensors: tensors.pop("environment/lives"),
    "nothing to draw": put(MASS, 0),
    "masses absurd": put(MASS, 255),
    "masses where no row is": last(MASS, 1),
    "masses of another shape": put(MASS, torch.ones(1, dtype=torch.uint8)),
    "masses of another type": lambda t: put(MASS, t[MASS].float())(t),
    "generator too short": put(GENERATOR, torch.zeros(3, dtype=torch.uint8)),
    "generator all zeros": put(GENERATOR, 0),
    "generator all ones": put(GENERATOR, 255),
    "generator of another type": put(GENERATOR, torch.zeros(5056)),
    "returns of another shape": put("metrics/returns", torch.zeros(3, dtype=torch.float64)),
    "returns not numbers": put("metrics/returns", float("nan")),
    "lengths as fractions": put("metrics/lengths", torch.zeros(2)),
}


@pytest.mark.parametrize("case", STATE)
def test_state(case: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    altered(newest(run) / "state.safetensors", STATE[case])
    reseal(newest(run))
    refused(capfd, run, lambda: resume(run.parent.parent, CARTPOLE), "step_000000200")


@pytest.mark.parametrize("action", [6, 17, 255])
def test_actions_ale_does_not_know(
    action: int, pong: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The emulator would end the process."""
    run = tmp_path / "Pong/dqn-seed1"
    shutil.copytree(pong, run)
    altered(newest(run) / "state.safetensors", last(ACTIONS, action))
    reseal(newest(run))
    refused(capfd, run, lambda: resume(tmp_path, PONG, "--total-steps=80"), "not this game's")


# Pieces of the replay.


def compressed(change: Callable[[Tensors], Any]) -> Callable[[bytes], bytes]:
    """A piece with other arrays in it."""

    def forged(data: bytes) -> bytes:
        tensors = safetensors.torch.load(zstandard.ZstdDecompressor().decompress(data))
        change(tensors)
        return zstandard.ZstdCompressor().compress(safetensors.torch.save(tensors))

    return forged


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
    "another shape": compressed(put("frame", torch.zeros(100, 2, 5))),
    "another type": compressed(put("frame", torch.zeros(100, 2, 4, dtype=torch.float64))),
    "one too few": compressed(lambda tensors: tensors.pop("reward")),
    "one too many": compressed(lambda tensors: tensors.update(more=torch.zeros(1))),
    "rows too few": compressed(put("last", torch.zeros(3, 2).bool())),
    "action out of range": compressed(put("action", 2)),
}


def test_what_an_environment_showed_may_be_anything() -> None:
    """What is saved can be loaded; where it leads to a loss that is none, the run stops there."""
    odd = torch.tensor([float("inf"), float("nan")])
    for name in ("frame", "reward", "environment/timestep/stack"):
        sealed.parse_tensors("file", safetensors.torch.save({name: odd}))
    with pytest.raises(sealed.CorruptCheckpoint, match="not finite"):
        sealed.parse_tensors("file", safetensors.torch.save({"torso.0.weight": odd}))


@pytest.mark.parametrize("case", PIECES)
def test_piece(case: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (piece,) = newest(run).glob("rows_*")
    piece.write_bytes(PIECES[case](piece.read_bytes()))
    reseal(newest(run))
    refused(capfd, run, lambda: resume(run.parent.parent, CARTPOLE), "step_000000200/rows_")


# meta.json.


def edit(path: str, value: Any) -> Callable[[Meta], Any]:
    """Another value there: ``state.replay.time``."""

    def change(meta: Meta) -> None:
        *parents, key = path.split(".")
        for parent in parents:
            meta = meta[parent]
        meta[key] = value

    return change


def without(path: str) -> Callable[[Meta], Any]:
    """Nothing there."""

    def change(meta: Meta) -> None:
        *parents, key = path.split(".")
        for parent in parents:
            meta = meta[parent]
        del meta[key]

    return change


def rewrite(checkpoint: Path, change: Callable[[Meta], Any]) -> None:
    """Forge a meta.json, and seal it."""
    meta = json.loads((checkpoint / "meta.json").read_bytes())
    change(meta)
    (checkpoint / "meta.json").write_text(json.dumps(meta))
    reseal(checkpoint)


ELSEWHERE = {"sha256": sha256(b"untouched"), "bytes": 9}
PCG = "state.actor.generator"

METAS: dict[str, Callable[[Meta], Any]] = {
    "only a file elsewhere": edit("files", {"../../../outside": ELSEWHERE}),
    "only a file of the system": edit("files", {"/etc/passwd": ELSEWHERE}),
    "only the folder above": edit("files", {"..": ELSEWHERE}),
    "a list of files": edit("files", ["model.safetensors"]),
    "a file's digest alone": edit("files", {"model.safetensors": "abc"}),
    "format in words": edit("format", "1"),
    "format below 1": edit("format", -1),
    "format true": edit("format", True),
    "step in words": edit("step", "200"),
    "step below 0": edit("step", -200),
    "step a fraction": edit("step", 200.0),
    "step true": edit("step", True),
    "step absurd": edit("step", 10**30),
    "another step": edit("step", 198),
    "no step": without("step"),
    "game a number": edit("game", 3),
    "versions a list": edit("versions", []),
    "no lengths": without("lengths"),
    "lengths a text": edit("lengths", ""),
    "lengths in pairs": edit("lengths", [["rewards.txt", 1]]),
    "length below 0": edit("lengths", {"rewards.txt": -1}),
    "length a fraction": edit("lengths", {"rewards.txt": 1.5}),
    "length in words": edit("lengths", {"rewards.txt": "1"}),
    "length true": edit("lengths", {"rewards.txt": True}),
    "no state": edit("state", {}),
    "state a list": edit("state", []),
    "deep state": lambda meta: meta.update(state=_nested(400)),
    "an array for a number": edit("state.replay.time", {"array": "numpy"}),
    "a number for an array": edit("state.environment.age", 3),
    "an array of the other kind": edit("state.environment.timestep.first", {"array": "torch"}),
    "an array of no kind": edit("state.environment.age", {"array": [1]}),
    "an array that is not there": edit("state.learner.more", {"array": "torch"}),
    "replay's time in words": edit("state.replay.time", "100"),
    "replay's time a fraction": edit("state.replay.time", 100.0),
    "replay's time below 0": edit("state.replay.time", -1),
    "replay's time 0": edit("state.replay.time", 0),
    "replay's time absurd": edit("state.replay.time", 10**30),
    "no sampler": without("state.replay.sampler"),
    "no replay": without("state.replay"),
    "no updates": without("state.learner.updates"),
    "updates in words": edit("state.learner.updates", "40"),
    "updates absurd": edit("state.learner.updates", 10**400),
    "updates below 0": edit("state.learner.updates", -1),
    "more updates than steps": edit("state.learner.updates", 201),
    "more summed than steps": edit("state.learner.summed", 201),
    "updates summed absurd": edit("state.learner.summed", 10**400),
    "no optimiser": edit("state.learner.optimizer", {}),
    "half an optimiser": without("state.learner.optimizer.exp_avg"),
    "optimiser without names": edit("state.learner.optimizer", {"x": {"array": "torch"}}),
    "no target": edit("state.learner.target", {}),
    "no generator": without(PCG),
    "generator a list": edit(PCG, []),
    "generator of another kind": edit(f"{PCG}.bit_generator", "MT19937"),
    "generator's state below 0": edit(f"{PCG}.state.state", -1),
    "generator's state absurd": edit(f"{PCG}.state.state", 2**200),
    "generator's state in words": edit(f"{PCG}.state.inc", "1"),
    "generator's rest absurd": edit(f"{PCG}.uinteger", 2**64),
    "generator's rest a list": edit(f"{PCG}.uinteger", [0]),
    "no evaluated": without("state.evaluated"),
    "evaluated in words": edit("state.evaluated", "200"),
    "evaluated below 0": edit("state.evaluated", -1),
    "evaluated later": edit("state.evaluated", 400),
    "no metrics": without("state.metrics"),
    "recent in words": edit("state.metrics.recent", "abc"),
    "recent of words": edit("state.metrics.recent", ["a"]),
    "recent not numbers": edit("state.metrics.recent", [float("nan")]),
    "since a report: a mapping": edit("state.metrics.since_report", {}),
    "since a report: lists": edit("state.metrics.since_report", [[]]),
    "evaluations a fraction": edit("state.metrics.evaluations", 2.5),
    "evaluations below 0": edit("state.metrics.evaluations", -2),
    "best in words": edit("state.metrics.best", "32"),
    "best a list": edit("state.metrics.best", [32]),
}


def _nested(depth: int) -> Meta:
    tree: Meta = {}
    for _ in range(depth):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize("case", METAS)
def test_meta(case: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rewrite(newest(run), METAS[case])
    refused(capfd, run, lambda: resume(run.parent.parent, CARTPOLE), "step_000000200")


@pytest.mark.parametrize("name", ["../../../outside", "/etc/passwd", "..", "", ".", "a\0b"])
def test_file_elsewhere(name: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One more file than there are is of no interest to anyone: it is neither read nor written."""
    meta = newest(run) / "meta.json"
    plain = json.loads(meta.read_bytes())
    plain["files"][name] = ELSEWHERE
    plain["sha256"] = sealed._meta_digest(plain)
    meta.write_text(json.dumps(plain))
    folder = run.parent.parent
    before = contents(folder, without=run)
    assert resume(folder, CARTPOLE) == 0
    assert contents(folder, without=run) == before


@pytest.mark.parametrize("depth", [300, 900, 100_000])
@pytest.mark.parametrize("key", ["more", "state", "versions"])
def test_deeply_nested(depth: int, key: str, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """However deep, and though its digest cannot be had without the depth."""
    file = newest(run) / "meta.json"
    meta = json.loads(file.read_bytes()) | {key: {"here": 0}}
    text = json.dumps(meta).replace('"here": 0', '"a":' + '{"a":' * depth + "0" + "}" * depth)
    digest = re.compile(r'"sha256": "[0-9a-f]{64}"}$')
    with suppress(RecursionError):  # nobody can seal it here; it is still to be refused
        text = digest.sub(f'"sha256": "{sealed._meta_digest(json.loads(text))}"}}', text)
    file.write_text(text)
    capfd.readouterr()
    status = resume(run.parent.parent, CARTPOLE)
    said = capfd.readouterr().err
    assert status == 2 or key in ("more", "versions"), said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("game", "Acrobot-v1", "game is Acrobot-v1, not CartPole-v1"),
        ("num_actions", 3, "num_actions is 3, not 2"),
        ("stack_shape", [4, 84, 84], "stack_shape is [4, 84, 84], not [1, 4]"),
        ("format", 2, "has format 2 and this program knows 1"),
    ],
)
def test_of_something_else(
    key: str, value: Any, expected: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite(newest(run), edit(key, value))
    refused(capfd, run, lambda: resume(run.parent.parent, CARTPOLE), expected)


@pytest.mark.parametrize("command", ["evaluate", "play"])
@pytest.mark.parametrize("case", ["step below 0", "step in words", "only a file elsewhere"])
def test_meta_of_a_model(
    case: str, command: str, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run.parent.parent
    rewrite(run / "best", METAS[case])
    shown = [f"--png={folder / 'pictures'}"] if command == "play" else []
    refused(capfd, run, lambda: main([command, str(run), "--checkpoint=best", *shown]), "best/")


def test_no_escape_sequence_reaches_the_terminal(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rewrite(newest(run), edit("versions", {"torch": "\x1b[2J\nerror: x"}))
    capfd.readouterr()
    assert resume(run.parent.parent, CARTPOLE) == 0
    said = capfd.readouterr().err
    assert "\x1b" not in said
    assert "\nerror" not in said


# Forgeries nobody thought of.

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


def survives(folder: Path, run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It goes on, or is refused in one sentence; an exception would end the test."""
    before = contents(folder, without=run)
    capfd.readouterr()
    status = resume(folder, CARTPOLE, "--total-steps=208")
    said = capfd.readouterr().err
    assert status in (0, 2), said
    assert status == 0 or said.splitlines()[-1].startswith("error: ")
    assert contents(folder, without=run) == before


@FEW
@given(data=st.data())
def test_any_meta(
    data: st.DataObject, cartpole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = fresh_copy(cartpole, tmp_path)
    meta = json.loads((newest(run) / "meta.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        *parents, key = data.draw(st.sampled_from(places(meta)))
        place = meta
        for parent in parents:
            place = place[parent]
        place[key] = data.draw(anything)
    if not isinstance(meta["files"], dict):
        meta["files"] = {}
    meta["sha256"] = sealed._meta_digest(meta)
    (newest(run) / "meta.json").write_text(json.dumps(meta))
    survives(tmp_path, run, capfd)


@FEW
@given(data=st.data())
def test_any_header(
    data: st.DataObject, cartpole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = fresh_copy(cartpole, tmp_path)
    file = newest(run) / data.draw(st.sampled_from(["model.safetensors", "state.safetensors"]))
    content = bytearray(file.read_bytes())
    header = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    reseal(newest(run))
    survives(tmp_path, run, capfd)


def fresh_copy(run: Path, folder: Path) -> Path:
    """A copy with one checkpoint, in the place of the example before."""
    copy = folder / "CartPole-v1/dqn-seed1"
    shutil.rmtree(copy.parent, ignore_errors=True)
    copy.mkdir(parents=True)
    shutil.copy(run / "config.yaml", copy)
    shutil.copytree(newest(run), copy / newest(run).name)
    return copy


def reads(text: str, folder: Path) -> None:
    """A config, or one sentence."""
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8", errors="replace", newline="")
    said = ""
    try:
        assert isinstance(load_config(file), Config)
    except ConfigError as error:
        said = str(error)
    assert len(said) < 20_000  # it may quote a name of 5,000 digits


snippets = st.sampled_from(
    [
        "!!python/object/apply:os.system [exit]", "&a [*a, *a]", "*a", "{? [a]: b}", "<<: {a: 1}",
        "? [a]\n: 1\n", "? {a: b}\n", "2024-13-45", "2024-01-01", "!!binary x", "!!set {a}", "0x_",
        "1:99:99", "1e99999", "9" * 5000, ".nan", "-.inf", "[" * 1500, "{" * 1500, "- " * 1500,
        "\t", "---\n", "...\n", "%YAML 9.9\n---\n", "!x y", "''", "'", '"\\x"', "|\n a", ">",
        "null", "~", "@x", "`x", "=", "\x00", "\ufeff", "é", "\ud800", "0o17", "0b1", "!!int x",
        "!!float x", "!!timestamp x", "!number x", "seed: 1\n", "\nreplay: 3\n",
        "\nenv: {threads: [1]}\n",
    ]
)  # fmt: skip


@FEW
@given(text=st.lists(st.text(max_size=20) | snippets, max_size=5).map("".join))
def test_any_text_as_config(text: str, tmp_path: Path) -> None:
    reads(text, tmp_path)


@settings(FEW, max_examples=40)
@given(data=st.data())
def test_any_mutated_config(data: st.DataObject, cartpole: Path, tmp_path: Path) -> None:
    text = (cartpole / "config.yaml").read_text()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = begin + data.draw(st.integers(0, 8))
        text = text[:begin] + data.draw(snippets | st.text(max_size=4)) + text[end:]
    reads(text, tmp_path)


@FEW
@given(data=st.data())
def test_any_value_in_config(data: st.DataObject, cartpole: Path, tmp_path: Path) -> None:
    tree = yaml.safe_load((cartpole / "config.yaml").read_text())
    *parents, key = data.draw(st.sampled_from(places(tree)))
    place = tree
    for parent in parents:
        place = place[parent]
    place[key] = data.draw(anything)
    reads(yaml.safe_dump(tree), tmp_path)


def test_a_billion_laughs(tmp_path: Path) -> None:
    """Lists of lists of lists: a kilobyte of YAML that would be gigabytes if it were printed."""
    lines = ["a: &a0 [lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    reads("\n".join(["env: 3", *lines]), tmp_path)
    reads("\n".join([*lines, "seed: *a11"]), tmp_path)
    reads("\n".join(["x: &a0 [lol, lol]", *lines[1:], "env: *a11"]), tmp_path)


@pytest.mark.parametrize("name", [".lock", "train.log", "rewards.txt", ".config.yaml.part", "best"])
def test_a_link_in_the_run_folder(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What it points to is somebody else's."""
    run = tmp_path / "checkpoints" / "CartPole-v1" / "dqn-seed1"
    run.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_text("not yours")
    (run / name).symlink_to(victim)
    assert main(["--game=CartPole-v1", f"--checkpoints-dir={tmp_path / 'checkpoints'}"]) == 2
    assert f"{name} is a link; a run's files are its own" in capfd.readouterr().err
    assert victim.read_text() == "not yours"
    assert [path.name for path in run.iterdir()] == [name]
