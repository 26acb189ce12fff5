"""The stages of `dualtk ablate`, run after run: train, decode, score. A run that fails does not keep the others."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from dualtk.bin import decode, score, train
from dualtk.bin.ablation.comparison import Failure, Group
from dualtk.bin.ablation.runs import Run, owner, sources
from dualtk.bin.ablation.size import SIZE_FILE
from dualtk.bin.ablation.suite import Suite
from dualtk.bin.dualtk import Main
from dualtk.data.kaldi import set_name
from dualtk.distill.teacher import TEACHER
from dualtk.errors import InputError
from dualtk.train.experiment import Experiment

logger = logging.getLogger("dualtk")


def stage(name: str, main: Main, arguments: list[str]) -> None:
    """Run a stage's own main; an experiment records it as if called by hand. A signal ends the suite too."""
    kept, sys.argv = sys.argv, [f"dualtk {name}", *arguments]
    try:
        status = main(arguments)
    finally:
        sys.argv = kept
    if status:
        raise SystemExit(status)


def train_system(options: argparse.Namespace, run: Run) -> None:
    """Train one system with one seed, or go on where it stopped."""
    arguments = ["--config", str(run.conf), "--exp", str(run.folder), "--tokens", str(options.tokens)]
    if options.size is not None:
        arguments += ["--size", str(options.runs / SIZE_FILE)]
    arguments += ["--train-dir", str(options.train_dir), "--dev-dir", str(options.dev_dir)]
    arguments += ["--device", options.device, "--threads", str(options.threads)]
    for override in run.overrides:
        arguments += ["--set", override]
    stage("train", train.main, arguments)


def score_system(options: argparse.Namespace, folder: Path, modes: Sequence[str], beam: int) -> None:
    """Decode all sets in each of `modes` with `beam` hypotheses, and score them."""
    for data in options.test_dirs:
        for mode in modes:
            out = folder / "decode" / f"{set_name(data)}-{mode}"
            place = ["--exp", str(folder), "--data", str(data), "--device", options.device]
            stage("decode", decode.main, [*place, "--mode", mode, "--beam", str(beam)])
            stage("score", score.main, ["--data", str(data), "--decode", str(out)])


def places(suite: Suite, run: Run) -> list[Group]:
    """Where a run leaves networks, and the modes that they are decoded in: its own, and the teacher's beside it."""
    modes = [mode for mode in suite.modes if mode in run.system.modes]
    groups = [Group(run.entry.name, modes, {run.seed: run.folder})]
    if run.entry.teacher:
        beside = Experiment(run.folder).inside(TEACHER).folder
        groups.append(Group(f"{run.entry.name}, its teacher", [TEACHER], {run.seed: beside}))
    return groups


def finish(options: argparse.Namespace, suite: Suite, run: Run, untrained: list[Run]) -> None:
    """Train one run, strike it off `untrained`, decode and score it.

    Raises:
        InputError: it failed, or that which it learns from or begins with did.
    """
    for key, place in sources(run.system).items():
        if owner(place, untrained) is not None:
            raise InputError(f"{key}: {place}: its own training failed")
    train_system(options, run)
    untrained.remove(run)
    for group in places(suite, run):
        score_system(options, group.folders[run.seed], group.modes, suite.beam)


def run_suite(options: argparse.Namespace, suite: Suite, runs: Sequence[Run]) -> tuple[list[Group], list[Failure]]:
    """All runs, one after another: those that came to their end, by system, and those that failed."""
    groups = {one.system: Group(one.system, one.modes, {}) for run in runs for one in places(suite, run)}
    failures: list[Failure] = []
    untrained = list(runs)
    for run in runs:
        logger.info("== %s, seed %d", run.entry.name, run.seed)
        try:
            finish(options, suite, run, untrained)
        except InputError as error:
            logger.error("%s, seed %d failed: %s", run.entry.name, run.seed, error)
            failures.append(Failure(run.entry.name, run.seed, str(error)))
            continue
        for one in places(suite, run):
            groups[one.system].folders.update(one.folders)
    return [group for group in groups.values() if group.modes and group.folders], failures
