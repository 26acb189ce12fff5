"""The experiment folder: everything that a run was, written so that the same command continues it."""

from __future__ import annotations

import json
import logging
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numba
import torch
from torch.utils.tensorboard import SummaryWriter

import dualtk
from dualtk.config import FILE, dump, laid, plain_values, read_experiment
from dualtk.errors import InputError
from dualtk.files import atomic_path, digest, write_text
from dualtk.options import Section
from dualtk.yaml_tree import Tree

logger = logging.getLogger("dualtk")


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
        inputs: named files whose hashes tell whether the data changed.
        backend: what each part of the transducer loss is computed with; empty where there is none.
        assets: files to copy, by their name in the experiment folder: what decoding elsewhere will need.
    """

    inputs: Mapping[str, Path]
    backend: Mapping[str, str] = field(default_factory=dict)
    assets: Mapping[str, Path] = field(default_factory=dict)


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
        self._board: SummaryWriter | None = None

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

    def inside(self, name: str) -> Experiment:
        """The folder `name` in this one, for a network that is trained beside this one's; "" is this one."""
        return Experiment(self.folder / name, self.writes) if name else self

    def start(self, options: Mapping[str, Section], origin: Origin, override: bool) -> None:
        """Record what the run is made from; a folder that was made from something else is refused.

        Args:
            options: the resolved configuration of each network that is trained, by the folder inside this one.
            origin: what else the run is made from.
            override: continue with a changed configuration or data all the same.
        """
        facts = {
            "dualtk": dualtk.__version__,
            "commit": _git_commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numba": numba.__version__,
            "backend": dict(origin.backend),
            "inputs": {name: digest([path]) for name, path in origin.inputs.items()},
        }
        before = read_experiment(self.folder).tree if self.config_file.exists() else None
        if before is not None and self.training_file.exists() and not override:
            self._refuse_changes(before, options[""], facts)
        if not self.writes:
            return
        for name, one in options.items():
            self.inside(name)._describe(one, origin.assets)
        write_text(self.folder / "versions.json", json.dumps(facts, indent=2) + "\n")
        with (self.folder / "command").open("a", encoding="utf-8") as stream:
            stream.write(f"{sys.argv[0]} {shlex.join(sys.argv[1:])}\n")  # the program is "dualtk train"
        logger.setLevel(logging.INFO)
        handler = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        self._board = SummaryWriter(str(self.folder / "tensorboard"))

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
        known = json.loads((self.folder / "versions.json").read_text(encoding="utf-8"))["inputs"]
        for name, value in facts["inputs"].items():
            if known.get(name, value) != value:
                raise InputError(
                    f"{self.folder}: {name} changed since this run began; choose another --exp, or --override"
                )

    def metrics(self, step: int, values: dict[str, float], kind: str) -> None:
        """Append one line to metrics.jsonl and the same to tensorboard."""
        if not self.writes:
            return
        line = {"step": step, "kind": kind, "time": round(time.time(), 3), **values}
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        assert self._board is not None
        for key, value in values.items():
            self._board.add_scalar(f"{kind}/{key}", value, step)

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
