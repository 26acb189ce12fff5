"""Train, decode and score a suite of related systems with several seeds, and lay them side by side."""

from __future__ import annotations

import argparse
import json
import logging
import sys
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
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.errors import InputError
from dualtk.files import write_text

TABLE = "ablation.md"


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk ablate`."""
    options = argparse.ArgumentParser(prog="dualtk ablate", description=__doc__)
    options.add_argument(
        "suite", type=Path, metavar="SUITE.yaml", help="systems, seeds and modes (egs/methods/suites/*.yaml)"
    )
    options.add_argument(
        "--size", type=Path, metavar="YAML", help="size and budget that methods are based on (egs/*/asr1/conf/*.yaml)"
    )
    options.add_argument("--budget", metavar="NAME", help="what the suite changes in the size, by its name there")
    options.add_argument("--runs", type=Path, required=True, metavar="DIR", help="all runs and the table; continued")
    for name, text in (("train-dir", "with feats.scp and cmvn.ark"), ("dev-dir", "that chooses checkpoints")):
        options.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=f"data directory {text}")
    options.add_argument(
        "--test-dirs", type=Path, required=True, nargs="+", metavar="DIR", help="data directories to decode"
    )
    options.add_argument("--tokens", type=Path, required=True, metavar="DIR", help="folder of tokens of stage 2")
    options.add_argument(
        "--seeds",
        type=at_least(0),
        nargs="+",
        metavar="N",
        help="instead of those of the suite or its budget; the first run is the first N",
    )
    options.add_argument(
        "--systems",
        nargs="+",
        metavar="NAME",
        help="these of the suite only, in this order; the others are compared with the first",
    )
    options.add_argument(
        "--beam",
        type=at_least(1),
        metavar="K",
        help="hypotheses to keep, instead of those of the suite or its budget; 1: greedy search",
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all systems")
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's choice"
    )
    return options


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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; see `parser` for the options.

    Raises:
        InputError: a mistake in the suite, before anything is trained; or runs failed, after the others and the table.
    """
    options = parser().parse_args(argv)
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


if __name__ == "__main__":
    sys.exit(run(main))
