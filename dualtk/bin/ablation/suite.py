"""Suites of `dualtk ablate`: systems, what is changed in them, seeds, modes, and budgets for some sizes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ConfigDict, Field

from dualtk.config import laid, validate_layered
from dualtk.errors import InputError
from dualtk.options import Section
from dualtk.yaml_tree import Tree, read_file

RUNS = "{runs}"  # in an override: the folder that holds all runs
SEED = "{seed}"  # in an override: the run's seed


class Entry(Section):
    """One system of a suite."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """In the table, and of the folders of its runs, before the seed."""
    conf: Path
    """Its YAML, relative to the suite."""
    set: list[str] = Field(default=[])
    """`key.path=value` changes; `{runs}` and `{seed}` stand for the folder of all runs and the run's seed."""
    teacher: bool = False
    """Add a row for the network that is trained beside it."""


class Budget(Section):
    """What a suite changes at one size. All other keys are those of a size, and are laid over it."""

    model_config = ConfigDict(extra="allow")

    seeds: list[int] | None = Field(default=None, min_length=1)
    """Instead of the suite's."""
    systems: list[str] | None = Field(default=None, min_length=1)
    """These of the suite only, by name."""
    beam: int | None = Field(default=None, ge=1)
    """Instead of the suite's."""

    @property
    def tree(self) -> Tree:
        """What is laid over the size."""
        return dict(self.model_extra or {})


class Suite(Section):
    """Related systems, trained with several seeds and compared."""

    title: str
    """Of the table."""
    seeds: list[int] = Field(default=[1], min_length=1)
    """Each trains every system once."""
    modes: list[str] = Field(min_length=1)
    """Modes to decode in, where a system has them."""
    beam: int = Field(default=1, ge=1)
    """Hypotheses that decoding keeps; 1: greedy search."""
    budgets: dict[str, Budget] = Field(default={})
    """What is changed for all systems, by a name for `--budget`."""
    systems: list[Entry] = Field(min_length=1)
    """The first of them is what the others are compared with."""


def load_suite(path: Path) -> Suite:
    """Read a suite.

    Raises:
        InputError: no suite; or a seed, a mode or a system's name that is there twice, or that is not there.
    """
    tree = read_file(path)
    values = laid(tree, str(path))
    values.tree = tree  # with null, which in a budget drops a key of the size
    suite = validate_layered(Suite, values)
    names = [entry.name for entry in suite.systems]
    refuse_twice(suite.seeds, f"{path}: seeds")
    refuse_twice(suite.modes, f"{path}: modes")
    refuse_twice(names, f"{path}: systems")
    for key, budget in suite.budgets.items():
        refuse_twice(budget.seeds or [], f"{path}: budgets.{key}.seeds")
        require_systems(suite, budget.systems or [], f"{path}: budgets.{key}.systems")
    return suite


def find_budget(path: Path, suite: Suite, name: str | None) -> Budget:
    """The budget called `name` of the suite in `path`; one that changes nothing where None is asked for."""
    if name is None:
        return Budget()
    if name not in suite.budgets:
        known = f"; there are {', '.join(suite.budgets)}" if suite.budgets else ""
        raise InputError(f"{path}: budgets: no budget {name}{known}")
    return suite.budgets[name]


def require_systems(suite: Suite, names: Sequence[str], source: str) -> None:
    """Raise InputError, led by `source`, where a name is there twice or no system has it."""
    refuse_twice(names, source)
    known = [entry.name for entry in suite.systems]
    for name in names:
        if name not in known:
            raise InputError(f"{source}: no system {name}; there are {', '.join(known)}")


def refuse_twice(entries: Sequence[str | int], source: str) -> None:
    """Raise InputError, led by `source`, where an entry is there twice."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise InputError(f"{source}: {entry} is there twice")


def fill(overrides: Sequence[str], runs: Path, seed: int) -> list[str]:
    """Overrides with the folder of all runs and the seed in their places."""
    return [override.replace(RUNS, str(runs)).replace(SEED, str(seed)) for override in overrides]
