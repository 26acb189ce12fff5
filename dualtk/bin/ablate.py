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

from dualtk import config as configuration
from dualtk.bin import decode, report, score, train
from dualtk.bin.comparison import COLUMNS, NOTES, Group, cells, part
from dualtk.bin.dualtk import Main, run
from dualtk.bin.options import at_least
from dualtk.bin.suite import Suite, System, fill, load_suite
from dualtk.config import TEACHER, Config
from dualtk.files import write_text
from dualtk.score.table import markdown
from dualtk.train.run import Experiment

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk ablate`."""
    options = argparse.ArgumentParser(prog="dualtk ablate", description=__doc__)
    options.add_argument("suite", type=Path, metavar="SUITE.yaml", help="systems, seeds and modes (conf/suites/*.yaml)")
    options.add_argument("--runs", type=Path, required=True, metavar="DIR", help="all runs and the table; continued")
    for name, text in (("train-dir", "with feats.scp and cmvn.ark"), ("dev-dir", "that chooses checkpoints")):
        options.add_argument(f"--{name}", type=Path, required=True, metavar="DIR", help=f"data directory {text}")
    options.add_argument(
        "--test-dirs", type=Path, required=True, nargs="+", metavar="DIR", help="data directories to decode"
    )
    options.add_argument("--bpe", type=Path, required=True, metavar="DIR", help="wordpiece directory of stage 2")
    options.add_argument(
        "--seeds",
        type=at_least(0),
        nargs="+",
        metavar="N",
        help="instead of those of the suite; the first run is the first N",
    )
    options.add_argument(
        "--beam", type=at_least(1), metavar="K", help="hypotheses to keep, instead of the suite's; 1: greedy search"
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all systems")
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument(
        "--threads", type=at_least(0), default=0, metavar="N", help="CPU threads; default: 0, torch's choice"
    )
    return options


def stage(name: str, main: Main, arguments: list[str]) -> None:
    """Run a stage's own main; an experiment records it as if it had been called by hand."""
    kept, sys.argv = sys.argv, [f"dualtk {name}", *arguments]
    try:
        main(arguments)
    finally:
        sys.argv = kept


def train_system(options: argparse.Namespace, suite: Suite, system: System, seed: int, folder: Path) -> Config:
    """Train one system with one seed, or go on where it stopped."""
    arguments = ["--config", str(options.suite.parent / system.conf), "--exp", str(folder)]
    arguments += ["--train-dir", str(options.train_dir), "--dev-dir", str(options.dev_dir), "--bpe", str(options.bpe)]
    arguments += ["--device", options.device, "--threads", str(options.threads)]
    for override in fill([*suite.set, *system.set, *options.set, f"train.seed={seed}"], options.runs, seed):
        arguments += ["--set", override]
    stage("train", train.main, arguments)
    return configuration.load(Experiment(folder).config_file)


def score_system(options: argparse.Namespace, folder: Path, modes: Sequence[str], beam: int) -> None:
    """Decode all sets in each of `modes` with `beam` hypotheses, and score them."""
    for data in options.test_dirs:
        for mode in modes:
            out = folder / "decode" / f"{data.name}-{mode}"
            place = ["--exp", str(folder), "--data", str(data), "--bpe", str(options.bpe), "--device", options.device]
            stage("decode", decode.main, [*place, "--mode", mode, "--beam", str(beam)])
            stage("score", score.main, ["--data", str(data), "--decode", str(out)])


def run_suite(options: argparse.Namespace, suite: Suite) -> list[Group]:
    """Every system with every seed: the first seed of all systems, then the next."""
    groups: dict[str, Group] = {}
    for seed in suite.seeds:
        for system in suite.systems:
            folder = options.runs / f"{system.name}-{seed}"
            logger.info("== %s, seed %d", system.name, seed)
            config = train_system(options, suite, system, seed, folder)
            found = {system.name: (folder, [mode for mode in suite.modes if mode in config.modes])}
            if system.teacher:
                found[f"{system.name}, its teacher"] = (Experiment(folder).teacher.folder, [TEACHER])
            for name, (place, modes) in found.items():
                score_system(options, place, modes, suite.beam)
                groups.setdefault(name, Group(name, modes, [])).folders.append(place)
    return list(groups.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    suite = load_suite(options.suite)
    asked = {"seeds": options.seeds, "beam": options.beam}
    suite = suite.model_copy(update={name: value for name, value in asked.items() if value is not None})
    groups = run_suite(options, suite)
    rows = [
        row
        for data in options.test_dirs
        for index, mode in enumerate(suite.modes)
        for row in part(groups, data.name, mode, teachers=index == 0)
    ]
    seeds = " ".join(map(str, suite.seeds))
    table = markdown(COLUMNS, [cells(row) for row in rows])
    head = f"# {suite.title}\n\nSeeds: {seeds}. Beam: {suite.beam}.\n\n"
    write_text(options.runs / "ablation.md", f"{head}{table}\n{NOTES}")
    facts: dict[str, Any] = {"title": suite.title, "seeds": suite.seeds, "beam": suite.beam}
    write_text(
        options.runs / "ablation.json", json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
    )
    runs = [str(folder) for group in groups for folder in group.folders]
    stage("report", report.main, [*runs, "--out", str(options.runs / "report.html")])
    print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
