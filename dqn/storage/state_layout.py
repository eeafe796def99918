"""What the state in a checkpoint must look like, whoever wrote it.

Digests tell a file that was harmed, not one that was forged to fit them. torch's fused optimisers
and the emulators trust their input: an array of another shape is memory overwritten, an action too
many ends the process. So each array's type and shape and each number's range is looked at first.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from dqn.learning.interfaces import LearnerProtocol
from dqn.learning.learner import Learner
from dqn.replay.buffer import Replay
from dqn.storage.manifest import CorruptCheckpoint
from dqn.types import State

_NO_ROOT_BELOW_0 = {"step", "exp_avg_sq", "mean_square"}
"""What an optimiser divides by, or draws the root of."""


class _Array(NamedTuple):
    """A leaf of the state: ``kind`` is np.ndarray or torch.Tensor; None as a length: any."""

    kind: type
    dtype: str
    shape: tuple[int | None, ...]

    def fits(self, value: Any) -> bool:
        """Whether a value is such an array."""
        return (
            isinstance(value, np.ndarray | torch.Tensor)
            and isinstance(value, self.kind)
            and str(value.dtype).removeprefix("torch.") == self.dtype
            and len(value.shape) == len(self.shape)
            and all(n in (None, length) for n, length in zip(self.shape, value.shape, strict=True))
        )


def check_state(
    folder: str, state: State, meta: dict[str, Any], replay: Replay, learner: LearnerProtocol
) -> None:
    """Compare a state with what ``meta`` (of this game) says, with the replay's dimensions, and
    with a learner of its method.

    Raises:
        CorruptCheckpoint: it says where they differ.
    """
    step, n = meta["step"], replay.num_envs

    def count(value: Any) -> bool:
        return type(value) is int and 0 <= value <= step

    def array(dtype: str, *shape: int | None) -> _Array:
        return _Array(np.ndarray, dtype, (n, *shape))

    frame_dtype = str(replay.layout["frame"][0]).removeprefix("torch.")
    flags, numbers = array("bool"), array("int64")
    timestep = {
        "stack": array(frame_dtype, *meta["stack_shape"]),
        "reward": array("float32"), "first": flags, "last": flags, "terminal": flags,
    }  # fmt: skip
    environment = {
        "timestep": timestep, "lives": numbers, "count": numbers, "seed": numbers, "age": numbers,
        "actions": _Array(np.ndarray, str(np.min_scalar_type(meta["num_actions"] - 1)), (None, n)),
    }  # fmt: skip
    deep = isinstance(learner, Learner)
    learned = _like(learner.state_dict())
    if deep:  # another device's generator has another length
        learned |= {"generator": _is_generator, "updates": count, "summed": count}
    metrics = {
        "returns": array("float64"), "lengths": numbers, "recent": _are_numbers,
        "since_report": _are_numbers, "evaluations": count,
        "best": lambda value: value is None or _are_numbers([value]),
    }  # fmt: skip
    rules = {
        "environment": environment,
        "replay": {"time": lambda time: count(time) and time * n == step, "sampler": _is_mapping},
        "learner": learned,
        "actor": _is_mapping,
        "metrics": metrics,
        "evaluated": count,
    }
    wrong = _wrong(rules, state) or (_wrong_roots(state["learner"]["optimizer"]) if deep else "")
    wrong = wrong or _wrong_masses(state, replay)
    if wrong:
        raise CorruptCheckpoint(
            f"{folder}/meta.json: the state's {wrong} is not what this run's would be, "
            "in this version of the program"
        )


def _wrong(rules: Any, value: Any, path: str = "") -> str:
    """The first place, in words, where a value breaks the rules; empty if there is none."""
    if isinstance(rules, dict):
        if not isinstance(value, dict):
            return path or "content"
        for key in sorted(rules.keys() ^ value.keys()):
            return f"{path}/{key}".lstrip("/")
        return next(
            (w for key in rules if (w := _wrong(rules[key], value[key], f"{path}/{key}"))), ""
        ).lstrip("/")
    right = rules.fits(value) if isinstance(rules, _Array) else rules(value)
    return "" if right else path


def _like(state: State) -> Any:
    """Rules that the state of another such object keeps: arrays of its types and shapes, numbers
    of its kinds, none below 0 where it has none."""

    def rule(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: rule(inner) for key, inner in value.items()}
        if isinstance(value, torch.Tensor):
            dtype = str(value.dtype).removeprefix("torch.")
            return _Array(torch.Tensor, dtype, tuple(value.shape))
        if type(value) is float:
            return lambda other: _are_numbers([other])
        return lambda other: type(other) is type(value) and 0 <= other < 2**63

    return rule(state)


def _wrong_roots(optimizer: State) -> str:
    """Nothing that an optimiser draws the root of is below 0."""
    for key in _NO_ROOT_BELOW_0 & optimizer.keys():
        values = [optimizer[key]] if key == "step" else optimizer[key].values()
        if any((value < 0).any() for value in values):
            return "learner/optimizer"
    return ""


def _wrong_masses(state: State, replay: Replay) -> str:
    """No row may be drawn that was never written, nor the newest, which nothing follows; and after
    the first draw there is always one that may."""
    mass, time = state["replay"]["sampler"].get("mass"), state["replay"]["time"]
    if not isinstance(mass, torch.Tensor) or mass.ndim != 2 or len(mass) != replay.length:
        return "replay/sampler"
    nowhere = mass[min(time, replay.length) :].any()
    newest = time > 0 and mass[(time - 1) % replay.length].any()
    none = state["learner"]["updates"] and not mass.any()
    return "replay/sampler" if nowhere or newest or none else ""


def _is_generator(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.uint8 and value.ndim == 1


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) in (int, float) and -1e300 < value < 1e300 and math.isfinite(value)
        for value in values
    )
