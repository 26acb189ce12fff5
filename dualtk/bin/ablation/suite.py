"""Suites of `dualtk ablate`: systems, what is changed in them, seeds and modes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dualtk.config.tree import parse_tree
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
    modes: list[str] = Field(min_length=1)
    beam: int = Field(default=1, ge=1)
    set: list[str] = []
    systems: list[System] = Field(min_length=1)


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        InputError: no suite, or a seed, a mode or a system's name that is there twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        suite = Suite.model_validate(parse_tree(text, str(path)))
    except ValidationError as error:
        fault = error.errors()[0]
        raise InputError(f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}") from error
    refuse_twice(suite.seeds, f"{path}: seeds")
    refuse_twice(suite.modes, f"{path}: modes")
    refuse_twice([system.name for system in suite.systems], f"{path}: systems")
    return suite


def refuse_twice(entries: Sequence[str | int], source: str) -> None:
    """Raise InputError, led by `source`, where an entry is there twice."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise InputError(f"{source}: {entry} is there twice")


def fill(overrides: Sequence[str], runs: Path, seed: int) -> list[str]:
    """Overrides with the folder of all runs and the seed in their places."""
    return [override.replace(RUNS, str(runs)).replace(SEED, str(seed)) for override in overrides]
