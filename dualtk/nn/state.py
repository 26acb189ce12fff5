"""The state of a stream: one flat dictionary of float32, batch-first tensors, where all zeros is the start of a stream.

Layers know only their own names; an encoder nests them under dotted prefixes.
"""

from __future__ import annotations

from torch import Tensor

State = dict[str, Tensor]
Spec = dict[str, tuple[int, ...]]


def nest(name: str, inner: dict[str, tuple[int, ...]]) -> Spec:
    """Prefix the names of a layer's spec: `key` of `block0` becomes `block0.key`."""
    return {f"{name}.{key}": shape for key, shape in inner.items()}


def nest_state(name: str, inner: State) -> State:
    """Prefix the names of a layer's state, as `nest` does those of its spec."""
    return {f"{name}.{key}": value for key, value in inner.items()}


def split_state(state: State) -> dict[str, State]:
    """Undo `nest_state` for every prefix at once; names without a dot stay under the empty prefix."""
    parts: dict[str, State] = {}
    for name, value in state.items():
        prefix, _, key = name.rpartition(".")
        parts.setdefault(prefix, {})[key] = value
    return parts
