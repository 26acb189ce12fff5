"""The runs of `dualtk ablate` in their order, and every mistake in them that can be found before the first one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk import config as configuration
from dualtk.bin.ablation.suite import Suite, System, fill, refuse_twice
from dualtk.config import TEACHER, Config, FrozenTeacherConfig
from dualtk.errors import InputError
from dualtk.train.run import Experiment

TEACHER_KEY, INIT_KEY = "teacher.exp", "init.exp"


@dataclass(frozen=True)
class Run:
    """One system with one seed: its folder, its YAML, what is changed in it, and the configuration that this gives."""

    system: System
    seed: int
    folder: Path
    conf: Path
    overrides: list[str]
    config: Config


def plan(path: Path, suite: Suite, runs: Path, changes: Sequence[str] = ()) -> list[Run]:
    """Every system with every seed, in the order of training: the first seed of all systems, then the next.

    Args:
        path: the suite's file; configurations are relative to it, and it leads the message of a fault.
        suite: what it says.
        runs: the folder of all runs.
        changes: overrides for all systems, after the suite's own.

    Raises:
        InputError: a configuration at fault, a mode that no system has, or a network to begin with or to learn from
            that will not be there in time.
    """
    planned = [_run(path, suite, system, seed, runs, changes) for seed in suite.seeds for system in suite.systems]
    _check_modes(path, suite, planned)
    for index, run in enumerate(planned):
        source = f"{path}: {run.system.name}"
        if run.system.teacher and run.config.teacher_alone() is None:
            raise InputError(f"{source}: no teacher is trained beside it")
        for key, place in sources(run.config).items():
            late = owner(place, planned[index:])
            if late is not None:
                raise InputError(f"{source}: {key}: {place}: {late.system.name} has to be trained before")
            _check_source(f"{source}: {key}", key, place, run.config, owner(place, planned[:index]))
    return planned


def chosen(suite: Suite, runs: Iterable[Run], names: Sequence[str]) -> Suite:
    """The suite with the systems `names` alone, in that order, and with those of its modes that they have.

    Raises:
        InputError: a name that no system has, or that is there twice.
    """
    refuse_twice(names, "--systems")
    known = {system.name: system for system in suite.systems}
    for name in names:
        if name not in known:
            raise InputError(f"--systems: no system {name}; there are {', '.join(known)}")
    systems = [known[name] for name in names]
    had = {mode for run in runs if run.system.name in names for mode in run.config.modes}
    modes = [mode for mode in suite.modes if mode in had]
    if not modes:
        raise InputError(f"--systems: {', '.join(names)}: none of the suite's modes, {', '.join(suite.modes)}")
    return suite.model_copy(update={"systems": systems, "modes": modes})


def sources(config: Config) -> dict[str, Path]:
    """Where a configuration takes trained networks from, by key."""
    found = {}
    if isinstance(config.teacher, FrozenTeacherConfig):
        found[TEACHER_KEY] = config.teacher.exp
    if config.init is not None:
        found[INIT_KEY] = config.init.exp
    return found


def streams(suite: Suite, runs: Iterable[Run]) -> bool:
    """Whether anything is decoded in a streaming mode."""
    modes = [run.config.modes[name] for run in runs for name in suite.modes if name in run.config.modes]
    return not all(mode.full_context for mode in modes)


def owner(place: Path, runs: Iterable[Run]) -> Run | None:
    """The run in whose folder `place` lies."""
    return next((run for run in runs if place.resolve().is_relative_to(run.folder.resolve())), None)


def _run(path: Path, suite: Suite, system: System, seed: int, runs: Path, changes: Sequence[str]) -> Run:
    source, conf = f"{path}: {system.name}", path.parent / system.conf
    overrides = fill([*suite.set, *system.set, *changes, f"train.seed={seed}"], runs, seed)
    try:
        config = configuration.load(conf)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    config = configuration.with_overrides(config, overrides, source)
    return Run(system, seed, runs / f"{system.name}-{seed}", conf, overrides, config)


def _check_modes(path: Path, suite: Suite, runs: Sequence[Run]) -> None:
    known = dict.fromkeys(mode for run in runs for mode in run.config.modes)
    for mode in suite.modes:
        if mode not in known:
            raise InputError(f"{path}: modes: no system has the mode {mode}; there are {', '.join(known)}")


def _check_source(source: str, key: str, place: Path, config: Config, made_by: Run | None) -> None:
    """Whether there will be a network at `place`, and whether it has the mode that it is to teach in."""
    if key == INIT_KEY and made_by is None and place.is_file():
        return
    modes = _modes_of(source, place) if made_by is None else _modes_made(source, place, made_by)
    if key == TEACHER_KEY and isinstance(config.teacher, FrozenTeacherConfig) and config.teacher.mode not in modes:
        raise InputError(f"{source}: {place}: has no mode {config.teacher.mode}; its modes are {', '.join(modes)}")


def _modes_of(source: str, place: Path) -> list[str]:
    """The modes of a network that was trained before the suite."""
    trained = Experiment(place, writes=False)
    if not (trained.network_file.is_file() and trained.config_file.is_file()):
        raise InputError(f"{source}: {place}: neither an earlier system of the suite nor a trained experiment")
    return list(configuration.load_any(trained.config_file).modes)


def _modes_made(source: str, place: Path, run: Run) -> list[str]:
    """The modes of the network that `run` leaves at `place`: its own, or that of the teacher beside it."""
    inside, alone = place.resolve().relative_to(run.folder.resolve()), run.config.teacher_alone()
    if inside == Path(TEACHER) and alone is not None:
        return list(alone.modes)
    if inside != Path():
        raise InputError(f"{source}: {place}: {run.system.name} leaves no network there")
    return list(run.config.modes)
