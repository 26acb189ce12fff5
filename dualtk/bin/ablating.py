"""A suite planned, run and laid out as a table."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dualtk.bin import report
from dualtk.bin.ablation.comparison import Failure, Group, part, remarks, table
from dualtk.bin.ablation.directories import check_directories
from dualtk.bin.ablation.runs import Run, chosen, plan, streams
from dualtk.bin.ablation.size import sized, write_size
from dualtk.bin.ablation.stages import run_suite, stage
from dualtk.bin.ablation.suite import Suite, find_budget, load_suite, refuse_twice
from dualtk.errors import InputError
from dualtk.files import write_text

TABLE = "ablation.md"


def prepare(options: argparse.Namespace) -> tuple[Suite, list[Run]]:
    """What is asked for of the suite, and its runs; writes the size that they are trained at.

    Raises:
        InputError: a mistake in the suite, its size, the options, or the directories, before anything is written.
    """
    suite = load_suite(options.suite)
    refuse_twice(options.seeds or [], "--seeds")
    budget = find_budget(options.suite, suite, options.budget)
    if options.size is None and budget.tree:
        raise InputError("--budget: changes a size, and none was given; --size names a file such as conf/cpu.yaml")
    size = None
    if options.size is not None:
        size = sized(options.size, budget, f"{options.suite}: budgets.{options.budget}")
    asked = {"seeds": options.seeds or budget.seeds, "beam": options.beam or budget.beam}
    suite = suite.model_copy(update={name: value for name, value in asked.items() if value is not None})
    runs = plan(options.suite, suite, options.runs, size, options.set)
    names = options.systems or budget.systems
    if names is not None:
        suite = chosen(suite, runs, names)
        runs = plan(options.suite, suite, options.runs, size, options.set)
    check_directories(options.train_dir, options.dev_dir, options.test_dirs, options.tokens, streams(suite, runs))
    if size is not None:
        write_size(options.runs, size)
    return suite, runs


def write_results(
    folder: Path, data: Sequence[Path], suite: Suite, groups: Sequence[Group], failures: Sequence[Failure]
) -> str:
    """The table and its facts of the sets `data`, written into `folder`; returns the table."""
    rows = [
        row
        for one in data
        for index, mode in enumerate(suite.modes)
        for row in part(groups, one.name, mode, teachers=index == 0)
    ]
    seeds = " ".join(map(str, suite.seeds))
    head = f"# {suite.title}\n\nSeeds: {seeds}. Beam: {suite.beam}.\n\n"
    found = table(rows, suite.seeds)
    write_text(folder / TABLE, f"{head}{found}\n{remarks(failures)}")
    facts: dict[str, Any] = {"title": suite.title, "seeds": suite.seeds, "beam": suite.beam}
    facts |= {"rows": [asdict(row) for row in rows], "failed": [asdict(failure) for failure in failures]}
    write_text(folder / "ablation.json", json.dumps(facts, indent=2) + "\n")
    return found


def run_ablation(options: argparse.Namespace) -> int:
    """Run a suite by the options of `dualtk ablate`; returns the exit status.

    Raises:
        InputError: a mistake in the suite, before anything is trained; or runs failed, after the others and the table.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    suite, runs = prepare(options)
    groups, failures = run_suite(options, suite, runs)
    found = write_results(options.runs, options.test_dirs, suite, groups, failures)
    print(found, end="")
    folders = [str(folder) for group in groups for folder in group.folders.values()]
    if folders:
        stage("report", report.main, [*folders, "--out", str(options.runs / "report.html")])
    if failures:
        names = ", ".join(f"{one.system} with seed {one.seed}" for one in failures)
        raise InputError(f"{options.runs / TABLE}: {len(failures)} of {len(runs)} runs failed: {names}")
    return 0
