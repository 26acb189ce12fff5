"""Whether a system can be built here at all: tried without memory, before a run has written anything."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from dualtk.errors import InputError
from dualtk.system import PretrainingSystem, System
from dualtk.trainable import Trainable

BYTES_OF_PARAMETER = 4
FILLS = {"constant_", "copy_", "fill_", "normal_", "ones_", "uniform_", "zero_", "zeros_"}
FILLS |= {f"{name}_{kind}_" for name in ("kaiming", "xavier") for kind in ("normal", "uniform")}
DRAWS = {"rand", "randn"}


class _Unfilled(TorchFunctionMode):
    """Tensors are made and not filled: torch takes seconds to learn how to fill one that has no memory."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        if name in FILLS:
            return args[0] if args else kwargs["tensor"]
        return (torch.empty if name in DRAWS else func)(*args, **kwargs)


def _objective(system: System) -> Trainable:
    statistics = torch.zeros(system.features.dim)
    if isinstance(system, PretrainingSystem):
        return system.build_objective(system.build_network(statistics, statistics))
    return system.build_objective(system.build_network(system.tokens.size, statistics, statistics))


def require_buildable(system: System) -> int:
    """Build `system` on torch's device without memory.

    Returns:
        Feature frames of an encoder frame, see `Trainable`.

    Raises:
        InputError: sizes that do not go together, or a network that this machine's memory cannot hold.
    """
    try:
        with torch.device("meta"), _Unfilled():
            objective = _objective(system)
    except RuntimeError as error:
        if "overflow" not in str(error):
            raise
        raise InputError(f"model: no tensor is so large: {str(error).splitlines()[0]}") from error
    needed = BYTES_OF_PARAMETER * sum(parameter.numel() for parameter in objective.module.parameters())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        raise InputError(
            f"model: its parameters alone take {needed / 1e9:.3g} GB, and this machine has {memory / 1e9:.3g} GB"
        )
    return objective.subsampling
