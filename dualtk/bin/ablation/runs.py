"""The runs of `dualtk ablate` in their order, and every mistake in them that can be seen before the first one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.bin.ablation.suite import Entry, Suite, fill, require_systems
from dualtk.distill.teacher import TEACHER, FrozenTeacherOptions
from dualtk.errors import InputError
from dualtk.system import TransducerSystem, load, load_experiment, require_transducer
from dualtk.train.experiment import Experiment
from dualtk.yaml_tree import Layer

TEACHER_KEY, INIT_KEY = "teacher.exp", "init.exp"


@dataclass(frozen=True)
class Run:
    """One system with one seed.

    Attributes:
        entry: what the suite says of it.
        seed: of its training.
        folder: its experiment.
        conf: its YAML.
        overrides: what is changed in that.
        system: what this gives.
    """

    entry: Entry
    seed: int
    folder: Path
    conf: Path
    overrides: list[str]
    system: TransducerSystem


def plan(path: Path, suite: Suite, runs: Path, size: Layer | None = None, changes: Sequence[str] = ()) -> list[Run]:
    """Every system with every seed, in the order of training: the first seed of all systems, then the next.

    Args:
        path: the suite's file; configurations are relative to it, and it leads the message of a fault.
        suite: what it says.
        runs: the folder of all runs.
        size: stands for `$size` in the configurations.
        changes: overrides for all systems, after the suite's own.

    Raises:
        InputError: a configuration at fault, a mode that no system has, or a network to begin with or to learn from
            that will not be there in time.
    """
    planned = [_run(path, suite, entry, seed, runs, size, changes) for seed in suite.seeds for entry in suite.systems]
    _check_modes(path, suite, planned)
    for index, run in enumerate(planned):
        source = f"{path}: {run.entry.name}"
        if run.entry.teacher and run.system.teacher_alone() is None:
            raise InputError(f"{source}: no teacher is trained beside it")
        for key, place in sources(run.system).items():
            late = owner(place, planned[index:])
            if late is not None:
                raise InputError(f"{source}: {key}: {place}: {late.entry.name} has to be trained before")
            _check_source(f"{source}: {key}", key, place, run.system, owner(place, planned[:index]))
    return planned


def chosen(suite: Suite, runs: Iterable[Run], names: Sequence[str]) -> Suite:
    """The suite with the systems `names` alone, in that order, and with those of its modes that they have.

    Raises:
        InputError: a name that no system has, or that is there twice.
    """
    require_systems(suite, names, "--systems")
    known = {entry.name: entry for entry in suite.systems}
    had = {mode for run in runs if run.entry.name in names for mode in run.system.modes}
    modes = [mode for mode in suite.modes if mode in had]
    if not modes:
        raise InputError(f"--systems: {', '.join(names)}: none of the suite's modes, {', '.join(suite.modes)}")
    return suite.model_copy(update={"systems": [known[name] for name in names], "modes": modes})


def sources(system: TransducerSystem) -> dict[str, Path]:
    """Where a system takes trained networks from, by key."""
    places = {}
    if isinstance(system.teacher, FrozenTeacherOptions):
        places[TEACHER_KEY] = system.teacher.exp
    if system.init is not None:
        places[INIT_KEY] = system.init.exp
    return places


def streams(suite: Suite, runs: Iterable[Run]) -> bool:
    """Whether anything is decoded in a streaming mode."""
    modes = [run.system.modes[name] for run in runs for name in suite.modes if name in run.system.modes]
    return not all(mode.full_context for mode in modes)


def owner(place: Path, runs: Iterable[Run]) -> Run | None:
    """The run in whose folder `place` lies."""
    return next((run for run in runs if place.resolve().is_relative_to(run.folder.resolve())), None)


def _run(
    path: Path, suite: Suite, entry: Entry, seed: int, runs: Path, size: Layer | None, changes: Sequence[str]
) -> Run:
    conf = Path(os.path.normpath(path.parent / entry.conf))
    overrides = fill([*entry.set, *changes, f"train.seed={seed}"], runs, seed)
    try:
        system = require_transducer(load(conf, size, overrides), str(conf))
    except InputError as error:
        raise InputError(f"{path}: {entry.name}: {error}") from None
    return Run(entry, seed, runs / f"{entry.name}-{seed}", conf, overrides, system)


def _check_modes(path: Path, suite: Suite, runs: Sequence[Run]) -> None:
    known = dict.fromkeys(mode for run in runs for mode in run.system.modes)
    for mode in suite.modes:
        if mode not in known:
            raise InputError(f"{path}: modes: no system has the mode {mode}; there are {', '.join(known)}")


def _check_source(source: str, key: str, place: Path, system: TransducerSystem, made_by: Run | None) -> None:
    """Whether there will be a network at `place`, and whether it has the mode that it is to teach in."""
    if key == INIT_KEY and made_by is None and place.is_file():
        return
    modes = _modes_of(source, place) if made_by is None else _modes_made(source, place, made_by)
    if key == TEACHER_KEY and isinstance(system.teacher, FrozenTeacherOptions) and system.teacher.mode not in modes:
        raise InputError(f"{source}: {place}: has no mode {system.teacher.mode}; its modes are {', '.join(modes)}")


def _modes_of(source: str, place: Path) -> list[str]:
    """The modes of a network that was trained before the suite."""
    trained = Experiment(place, writes=False)
    if not (trained.network_file.is_file() and trained.config_file.is_file()):
        raise InputError(f"{source}: {place}: neither an earlier system of the suite nor a trained experiment")
    return list(load_experiment(place).modes)


def _modes_made(source: str, place: Path, run: Run) -> list[str]:
    """The modes of the network that `run` leaves at `place`: its own, or that of the teacher beside it."""
    inside, alone = place.resolve().relative_to(run.folder.resolve()), run.system.teacher_alone()
    if inside == Path(TEACHER) and alone is not None:
        return list(alone.modes)
    if inside != Path():
        raise InputError(f"{source}: {place}: {run.entry.name} leaves no network there")
    return list(run.system.modes)
