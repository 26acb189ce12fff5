"""Suites of `dualtk ablate`: systems, what is changed in them, seeds and modes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dualtk import config as configuration
from dualtk.errors import InputError

RUNS = "{runs}"  # in an override: the folder that holds all runs
SEED = "{seed}"  # in an override: the run's seed


class System(BaseModel):
    """One row: a YAML, and what is changed in it.

    `teacher` adds a row for the network that was trained beside it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]+$")
    conf: Path
    set: list[str] = []
    teacher: bool = False


class Suite(BaseModel):
    """A list of systems, the seeds and the modes; `set` is for all systems, and `conf` is relative to the suite.

    `beam` is the number of hypotheses that decoding keeps; 1: greedy search.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    seeds: list[int] = Field(default=[1], min_length=1)
    modes: list[str]
    beam: int = Field(default=1, ge=1)
    set: list[str] = []
    systems: list[System] = Field(min_length=1)


def load_suite(path: Path) -> Suite:
    """Read a suite; its configurations are loaded too, so that a mistake shows before the first run."""
    try:
        suite = Suite.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
    names = [system.name for system in suite.systems]
    if len(set(names)) != len(names):
        raise InputError(f"{path}: two systems have one name")
    for system in suite.systems:
        overrides = fill([*suite.set, *system.set], Path("runs"), suite.seeds[0])
        source = f"{path}: {system.name}"
        config = configuration.with_overrides(configuration.load(path.parent / system.conf), overrides, source)
        if system.teacher and config.teacher_alone() is None:
            raise InputError(f"{source}: no teacher is trained beside it")
    return suite


def fill(overrides: Sequence[str], runs: Path, seed: int) -> list[str]:
    """Overrides with the folder of all runs and the seed in their places."""
    return [override.replace(RUNS, str(runs)).replace(SEED, str(seed)) for override in overrides]
