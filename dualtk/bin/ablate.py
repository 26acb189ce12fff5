"""Train, decode and score a suite of related systems with several seeds, and lay them side by side."""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dualtk import config as configuration
from dualtk.bin import decode, report, score, train
from dualtk.bin.dualtk import Main, run
from dualtk.config import TEACHER, Config, FrozenTeacherConfig, PassConfig, SharedDecoderTeacherConfig
from dualtk.errors import InputError
from dualtk.files import write_text
from dualtk.score.bootstrap import Comparison, compare
from dualtk.score.summary import SetScore, read_score
from dualtk.score.table import markdown, parameters
from dualtk.score.utterances import UTTERANCE_FILE, read_utterances
from dualtk.train.checkpoint import load_training, save_network
from dualtk.train.run import Experiment

logger = logging.getLogger("dualtk")

RUNS = "{runs}"  # in an override: the folder that holds all runs
SEED = "{seed}"  # in an override: the run's seed
COLUMNS = ("set", "mode", "system", "WER %", "against", "Latency@50 ms", "Latency@90 ms", "params")
NOTES = """\
WER and latency: mean over seeds, plus or minus their standard deviation. Against: difference in WER (percent, absolute)
from the first system of the table's part, with the 95 % interval of a paired bootstrap over utterances, in which an
utterance counts with its errors under every seed. Latency: emission of the last token minus the end of speech, over all
utterances.
"""


class System(BaseModel):
    """One row: a YAML, and what is changed in it.

    `teacher` adds a row for the network that was trained beside it (as it is after the last step, not averaged).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[\w.-]+$")
    conf: Path
    set: list[str] = []
    teacher: bool = False


class Suite(BaseModel):
    """A list of systems, the seeds and the modes; `set` is for all systems, and `conf` is relative to the suite."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    seeds: list[int] = Field(default=[1], min_length=1)
    modes: list[str]
    set: list[str] = []
    systems: list[System] = Field(min_length=1)


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation over seeds (0 for a single one)."""

    mean: float
    deviation: float

    def text(self, scale: float, digits: int) -> str:
        """`4.21 ± 0.10`."""
        return f"{scale * self.mean:.{digits}f} ± {scale * self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Row:
    """One system on one set in one mode; rates as fractions, latencies in seconds (None in full context)."""

    set: str
    mode: str
    system: str
    wer: Spread
    against_first: Comparison | None
    latency_at50: Spread | None
    latency_at90: Spread | None
    num_parameters: int


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
        "--seeds", type=int, nargs="+", metavar="N", help="instead of those of the suite; the first run is the first N"
    )
    options.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change all systems")
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    options.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads; default: 0, torch's choice")
    return options


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
        configuration.with_overrides(configuration.load(path.parent / system.conf), overrides, f"{path}: {system.name}")
    return suite


def fill(overrides: Sequence[str], runs: Path, seed: int) -> list[str]:
    """Overrides with the folder of all runs and the seed in their places."""
    return [override.replace(RUNS, str(runs)).replace(SEED, str(seed)) for override in overrides]


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


def teacher_experiment(folder: Path, config: Config) -> Path:
    """The co-learned teacher of a run, as an experiment that `dualtk decode` understands.

    Raises:
        InputError: the run has none.
    """
    section = config.teacher
    if section is None or isinstance(section, FrozenTeacherConfig):
        raise InputError(f"{folder}: no teacher was trained in this run")
    if isinstance(section, SharedDecoderTeacherConfig):
        model = config.model.model_copy(update={"encoder": section.encoder})
    else:
        model = section.model or config.model
    alone = {"model": model, "modes": {TEACHER: section.mode}, "passes": [PassConfig(mode=TEACHER)]}
    own = Experiment(folder / TEACHER)
    state = load_training(Experiment(folder).training_file, torch.device("cpu"))["objective"]
    prefix = "teacher.network."
    save_network(
        own.network_file, {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    )
    write_text(own.config_file, configuration.dump(config.model_copy(update={**alone, "terms": [], "teacher": None})))
    return own.folder


def score_system(options: argparse.Namespace, folder: Path, modes: Sequence[str]) -> None:
    """Decode and score all sets in each of `modes`."""
    for data in options.test_dirs:
        for mode in modes:
            out = folder / "decode" / f"{data.name}-{mode}"
            place = ["--exp", str(folder), "--data", str(data), "--bpe", str(options.bpe), "--device", options.device]
            stage("decode", decode.main, [*place, "--mode", mode])
            stage("score", score.main, ["--data", str(data), "--decode", str(out)])


@dataclass(frozen=True)
class Group:
    """The runs of one system over all seeds, and the modes that it has."""

    system: str
    modes: list[str]
    folders: list[Path]


def run_suite(options: argparse.Namespace, suite: Suite) -> list[Group]:
    """Every system with every seed: the first seed of all systems, then the next."""
    groups: dict[str, Group] = {}
    for seed in options.seeds or suite.seeds:
        for system in suite.systems:
            folder = options.runs / f"{system.name}-{seed}"
            logger.info("== %s, seed %d", system.name, seed)
            config = train_system(options, suite, system, seed, folder)
            found = {system.name: (folder, [mode for mode in suite.modes if mode in config.modes])}
            if system.teacher:
                found[f"{system.name}, its teacher"] = (teacher_experiment(folder, config), [TEACHER])
            for name, (place, modes) in found.items():
                score_system(options, place, modes)
                groups.setdefault(name, Group(name, modes, [])).folders.append(place)
    return list(groups.values())


def spread(values: Sequence[float]) -> Spread:
    """Over seeds."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0)


def latency(scores: Sequence[SetScore], rank: str) -> Spread | None:
    """Latency over seeds, where every seed has one."""
    found = [one.score["emission_latency"] for one in scores]
    if any(each is None or each["all"] is None for each in found):
        return None
    return spread([each["all"][rank]["value"] for each in found])


def errors_by_utterance(folders: Sequence[Path]) -> dict[str, tuple[int, int]]:
    """Errors and reference words of each utterance, added up over seeds."""
    total: dict[str, tuple[int, int]] = {}
    for folder in folders:
        for line in read_utterances(folder / UTTERANCE_FILE):
            errors, words = total.get(line.scored.utterance, (0, 0))
            counts = line.scored.words
            total[line.scored.utterance] = (errors + counts.errors, words + counts.reference)
    return total


def against(first: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]) -> Comparison:
    """Paired bootstrap of another system against the first."""
    names = sorted(first)
    words = [first[name][1] for name in names]
    return compare([first[name][0] for name in names], [other[name][0] for name in names], words)


def part(groups: Sequence[Group], data: str, mode: str, teachers: bool) -> list[Row]:
    """The systems that have `mode`, and teachers beside them in their own mode where they are wanted, on one set."""
    rows: list[Row] = []
    first: dict[str, tuple[int, int]] | None = None
    for group in groups:
        own = TEACHER if teachers and group.modes == [TEACHER] else mode
        if own not in group.modes:
            continue
        folders = [folder / "decode" / f"{data}-{own}" for folder in group.folders]
        scores = [read_score(folder) for folder in folders]
        errors = errors_by_utterance(folders)
        rows.append(
            Row(
                data,
                own,
                group.system,
                spread([one.score["wer"]["rate"]["value"] for one in scores]),
                None if first is None else against(first, errors),
                latency(scores, "at50"),
                latency(scores, "at90"),
                scores[0].score["decoding"]["num_parameters"],
            )
        )
        first = first or errors
    return rows


def cells(row: Row) -> list[str]:
    """A row as text, in the order of `COLUMNS`."""
    difference = "-"
    if row.against_first is not None:
        value = row.against_first.difference
        difference = f"{100 * value.value:+.2f} [{100 * value.low:+.2f}, {100 * value.high:+.2f}]"
    times = [each.text(1000, 0) if each else "-" for each in (row.latency_at50, row.latency_at90)]
    return [row.set, row.mode, row.system, row.wer.text(100, 2), difference, *times, parameters(row.num_parameters)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a suite; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    suite = load_suite(options.suite)
    groups = run_suite(options, suite)
    rows = [
        row
        for data in options.test_dirs
        for index, mode in enumerate(suite.modes)
        for row in part(groups, data.name, mode, teachers=index == 0)
    ]
    seeds = " ".join(map(str, options.seeds or suite.seeds))
    table = markdown(COLUMNS, [cells(row) for row in rows])
    write_text(options.runs / "ablation.md", f"# {suite.title}\n\nSeeds: {seeds}.\n\n{table}\n{NOTES}")
    facts: dict[str, Any] = {"title": suite.title, "seeds": options.seeds or suite.seeds}
    write_text(
        options.runs / "ablation.json", json.dumps({**facts, "rows": [asdict(row) for row in rows]}, indent=2) + "\n"
    )
    runs = [str(folder) for group in groups for folder in group.folders]
    stage("report", report.main, [*runs, "--out", str(options.runs / "report.html")])
    print(table, end="")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
