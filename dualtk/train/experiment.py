"""The experiment folder: everything that a run was, written so that the same command continues it."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import torch

from dualtk.config import FILE, VERSIONS, dump, laid, plain_values, read_experiment
from dualtk.errors import InputError
from dualtk.files import PART, atomic_path, digest, remove_leftovers, write_text
from dualtk.locks import NAME, locked
from dualtk.options import Section
from dualtk.train.board import Board
from dualtk.version import __version__
from dualtk.yaml_tree import Tree

logger = logging.getLogger("dualtk")

LISTS = "lists"  # utterances of large sets, see `dualtk.data.columns`; may be there before anything else


class _LogFile(logging.FileHandler):
    """A log that cannot be written ends the run in one line; logging itself would print a traceback for each line."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        raise InputError(f"{self.baseFilename}: cannot be written: {error}") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Say in one line what file the system refuses to write."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error


def _git_commit() -> str:
    """Commit of the code that runs, or "unknown"."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass(frozen=True)
class Origin:
    """What a run is made from beside its configuration.

    Attributes:
        inputs: named files whose digests tell whether the data changed, or such a digest.
        backend: what each part of the transducer loss is computed with; empty where there is none.
        assets: files to copy, by their name in the experiment folder: what decoding elsewhere will need.
        processes: that share a step.
    """

    inputs: Mapping[str, Path | str]
    backend: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Path] = field(default_factory=dict)
    processes: int = 1


class Experiment:
    """`exp/<name>`: configuration, command, versions, log, metrics, plots and checkpoints.

    Args:
        folder: the experiment's folder.
        writes: whether this process writes (rank 0).
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.writes = writes
        self._board: Board | None = None

    @property
    def config_file(self) -> Path:
        """The resolved configuration."""
        return self.folder / FILE

    @property
    def training_file(self) -> Path:
        """The state that training continues from."""
        return self.checkpoints / "last.pt"

    @property
    def network_file(self) -> Path:
        """The network that decoding uses: the average of the best checkpoints."""
        return self.folder / "model.safetensors"

    @property
    def processes(self) -> int | None:
        """How many processes began the run that is continued here: steps that are counted in epochs are theirs."""
        path = self.folder / VERSIONS
        if not self.training_file.exists() or not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8")).get("processes")
        return found if isinstance(found, int) else None

    def inside(self, name: str) -> Experiment:
        """The folder `name` in this one, for a network that is trained beside this one's; "" is this one."""
        return Experiment(self.folder / name, self.writes) if name else self

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other runs out of the folder while the block runs, and close the log when it ends.

        Raises:
            InputError: another run is at work there, or the folder was not made by training.
        """
        if not self.writes:
            yield
            return
        self._require_own()
        with locked(self.folder / NAME, self.folder):
            for one in (self.folder, *self.folder.glob("*/")):  # decoding, a report may be written beside training
                remove_leftovers(one / self.checkpoints.name)
                remove_leftovers(one, f"{self.network_file.name}.*")
            try:
                yield
            finally:
                self.close()

    def _require_own(self) -> None:
        """Refuse a folder that holds anything and was not made by training."""
        if not os.path.lexists(self.folder) or (self.folder / VERSIONS).exists():
            return
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: exists and is no experiment folder")
        if self.config_file.exists():
            read_experiment(self.folder)  # says so where it is one of another time
        foreign = sorted(
            one.name for one in self.folder.iterdir() if one.name not in (NAME, LISTS) and one.suffix != PART
        )
        if foreign:
            raise InputError(f"{self.folder}: exists and is no experiment folder: it holds {foreign[0]}")

    def start(self, options: Mapping[str, Section], origin: Origin, override: bool) -> None:
        """Record what the run is made from; a folder that was made from something else is refused.

        Args:
            options: the resolved configuration of each network that is trained, by the folder inside this one.
            origin: what else the run is made from.
            override: continue with a changed configuration or data all the same.
        """
        facts = {
            "dualtk": __version__,
            "commit": _git_commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": numba.__version__,
            "backend": dict(origin.backend),
            "processes": origin.processes if override else self.processes or origin.processes,
            "inputs": {n: one if isinstance(one, str) else digest([one]) for n, one in origin.inputs.items()},
        }
        before = read_experiment(self.folder).tree if self.config_file.exists() else None
        if before is not None and self.training_file.exists() and not override:
            self._refuse_changes(before, options[""], facts)
        if not self.writes:
            return
        write_text(self.folder / VERSIONS, json.dumps(facts, indent=2) + "\n")
        for name, one in options.items():
            self.inside(name)._describe(one, origin.assets)
        path = self.folder / "command"
        with _writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(f"{sys.argv[0]} {shlex.join(sys.argv[1:])}\n")  # the program is "dualtk train"
        logger.setLevel(logging.INFO)
        handler = _LogFile(self.folder / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        with _writing(self.folder / "tensorboard"):
            self._board = Board(self.folder / "tensorboard")

    def _describe(self, options: Section, assets: Mapping[str, Path]) -> None:
        """Write what decoding needs beside the network."""
        write_text(self.config_file, dump(options))
        for name, source in assets.items():
            if source.exists():
                with atomic_path(self.folder / name) as temporary:
                    shutil.copyfile(source, temporary)

    def _refuse_changes(self, before: Tree, options: Section, facts: dict[str, Any]) -> None:
        """Raise InputError when this folder holds a run of the configuration `before`, or data, that are others now."""
        now = laid(plain_values(options), "").tree  # without null, as `before`
        if before != now:
            changed = _first_difference(before, now)
            raise InputError(
                f"{self.folder}: holds a run with another configuration (first difference: {changed}); "
                "choose another --exp, or --override"
            )
        known = json.loads((self.folder / VERSIONS).read_text(encoding="utf-8"))["inputs"]
        for name, value in facts["inputs"].items():
            if known.get(name, value) != value:
                raise InputError(
                    f"{self.folder}: {name} changed since this run began; choose another --exp, or --override"
                )

    def metrics(self, step: int, values: dict[str, float], kind: str) -> None:
        """Append one line to metrics.jsonl and the same to tensorboard."""
        if not self.writes:
            return
        values = {key: value for key, value in values.items() if math.isfinite(value)}  # JSON has no other numbers
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        path = self.folder / "metrics.jsonl"
        with _writing(path), path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        assert self._board is not None
        with _writing(self.folder / "tensorboard"):
            for key, value in values.items():
                self._board.add(f"{kind}/{key}", value, step)

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps that a killed run took after its last checkpoint: they will be taken again."""
        path = self.folder / "metrics.jsonl"
        if not self.writes or not path.exists():
            return
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except json.JSONDecodeError:  # the line that was being written when the run was killed
                continue
        write_text(path, "".join(kept))

    def close(self) -> None:
        """Flush and close what is open."""
        if self._board is not None:
            self._board.close()
            self._board = None
        for handler in list(logger.handlers):
            if isinstance(handler, logging.FileHandler):
                handler.close()
                logger.removeHandler(handler)


def _first_difference(before: Any, after: Any, path: str = "") -> str:
    """Path and values of the first leaf in which two trees differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            if before.get(key) != after.get(key):
                return _first_difference(before.get(key), after.get(key), f"{path}.{key}".lstrip("."))
    return f"{path}: {before} -> {after}"
