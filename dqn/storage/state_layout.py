"""A state as JSON and arrays, and whether a loaded state has the layout of a fresh one.

A digest finds damage, not forgery, and torch's fused optimizers trust their input: an array of
another shape overwrites memory. So every leaf is compared with a fresh object's before anything is
loaded. Values that are wrong in themselves (seeds, actions, priorities, second moments) are refused
by the ``load_state_dict`` of the object that owns them.
"""

from typing import Any

import numpy as np
import torch

from dqn.types import State


def split_arrays(state: State, path: str = "") -> tuple[State, dict[str, torch.Tensor]]:
    """Part a state into what JSON can hold, with placeholders, and its arrays by their path."""
    plain: State = {}
    arrays: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        name = f"{path}{key}"
        if isinstance(value, dict):
            plain[key], inner = split_arrays(value, f"{name}/")
            arrays |= inner
        elif isinstance(value, torch.Tensor | np.ndarray):
            plain[key] = {"array": "torch" if isinstance(value, torch.Tensor) else "numpy"}
            arrays[name] = torch.as_tensor(value).detach().cpu().contiguous()
        else:
            plain[key] = value
    return plain, arrays


def join_arrays(plain: State, arrays: dict[str, torch.Tensor], path: str = "") -> State:
    """The inverse of ``split_arrays``.

    Raises:
        ValueError: an array is missing.
    """
    state: State = {}
    for key, value in plain.items():
        name = f"{path}{key}"
        if not isinstance(value, dict):
            state[key] = value
        elif set(value) != {"array"}:
            state[key] = join_arrays(value, arrays, f"{name}/")
        elif name not in arrays:
            raise ValueError(f"the state's {name} is missing")
        else:
            state[key] = arrays[name].numpy() if value["array"] == "numpy" else arrays[name]
    return state


def check_layout(state: Any, fresh: Any, step: int, path: str = "") -> None:
    """Compare the state of ``step`` with the state of fresh objects.

    The same keys; arrays of the same dtype and shape, where an empty side of the fresh array may
    have any length; integers in [0, step]; lists of finite numbers; a finite number or None where
    it was None. A random generator's state is left to the generator.

    Raises:
        ValueError: the path of the first difference.
    """
    if path.endswith("/generator"):
        return
    if isinstance(fresh, dict) and isinstance(state, dict):
        prefix = f"{path}/" if path else ""
        for key in sorted(fresh.keys() ^ state.keys()):
            raise ValueError(f"the state's {prefix}{key} is missing or unknown")
        for key, value in fresh.items():
            check_layout(state[key], value, step, f"{prefix}{key}")
    elif not _fits(state, fresh, step):
        raise ValueError(
            f"the state's {path} does not fit this run, in this version of the program"
        )


def _fits(value: Any, fresh: Any, step: int) -> bool:
    if isinstance(fresh, torch.Tensor | np.ndarray):
        return (
            isinstance(value, torch.Tensor if isinstance(fresh, torch.Tensor) else np.ndarray)
            and value.dtype == fresh.dtype
            and value.ndim == fresh.ndim
            and all(want in (0, have) for have, want in zip(value.shape, fresh.shape, strict=True))
        )
    if fresh is None:
        return value is None or _is_finite(value)
    if type(fresh) is float:
        return _is_finite(value)
    if type(value) is not type(fresh):
        return False
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return type(value) is bool or 0 <= value <= step


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and -1e300 < value < 1e300
