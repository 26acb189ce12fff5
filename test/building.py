"""What a system trains, without weights: enough to see what was built."""

from __future__ import annotations

from typing import Any

import torch
from shipped import load_transducer

from dualtk.config import laid, plain_values
from dualtk.distill.teacher import FrozenTeacher, FrozenTeacherOptions
from dualtk.system import PretrainingSystem, System, TransducerSystem, parse

VOCABULARY = 64


def change(system: Any, *overrides: str) -> Any:
    """`system` with `key.path=value` changes."""
    values = laid(plain_values(system), "system")
    for override in overrides:
        values.change(override)
    return parse(values)


def build(system: System, frozen: FrozenTeacher | None = None) -> Any:
    """The objective over a network whose tensors have shapes only."""
    with torch.device("meta"):
        mean, istd = torch.zeros(2, system.features.dim)
        if isinstance(system, PretrainingSystem):
            return system.build_objective(system.build_network(mean, istd))
        return system.build_objective(system.build_network(VOCABULARY, mean, istd), frozen)


def taught_by(system: System, size: str) -> TransducerSystem | None:
    """The system of its frozen teacher, where it has one: the method that the experiment is called after."""
    if not isinstance(system, TransducerSystem) or not isinstance(system.teacher, FrozenTeacherOptions):
        return None
    return load_transducer(system.teacher.exp.name, size)


def frozen_teacher(system: System, taught: TransducerSystem | None) -> FrozenTeacher | None:
    """The teacher of `system`, an untrained network of `taught`."""
    if taught is None:
        return None
    assert isinstance(system, TransducerSystem)
    assert isinstance(system.teacher, FrozenTeacherOptions)
    mode = system.teacher.mode
    with torch.device("meta"):
        mean, istd = torch.zeros(2, taught.features.dim)
        network = taught.build_network(VOCABULARY, mean, istd)
        return FrozenTeacher(network, taught.modes[mode].mode(mode), mean, istd, return_heads=system.reads("heads"))
