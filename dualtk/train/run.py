"""The experiment folder: everything that a run was, written so that the same command continues it."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numba
import torch
import torchaudio
from torch.utils.tensorboard import SummaryWriter

import dualtk
from dualtk import config as configuration
from dualtk.config import TEACHER, Config, RunConfig
from dualtk.errors import InputError
from dualtk.files import atomic_path, digest, write_text

logger = logging.getLogger("dualtk")


def _git_commit() -> str:
    """Commit of the code that runs, or "unknown"."""
    call = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


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
        return self.folder / "config.yaml"

    @property
    def training_file(self) -> Path:
        """The state that training continues from."""
        return self.checkpoints / "last.pt"

    @property
    def network_file(self) -> Path:
        """The network that decoding uses: the average of the best checkpoints."""
        return self.folder / "model.safetensors"

    @property
    def teacher(self) -> Experiment:
        """A folder of its own for a teacher that learns beside the student; a frozen one's outputs may lie there."""
        return Experiment(self.folder / TEACHER, self.writes)

    def start(
        self, config: RunConfig, inputs: dict[str, Path], backend: str, override: bool, assets: dict[str, Path]
    ) -> None:
        """Record what the run is made from; a folder that was made from something else is refused.

        Args:
            config: the resolved configuration.
            inputs: named files whose hashes tell whether the data changed.
            backend: the transducer backend that was chosen.
            override: continue with a changed configuration or data all the same.
            assets: files to copy, by their name in the folder: what decoding elsewhere will need.
        """
        facts = {
            "dualtk": dualtk.__version__,
            "commit": _git_commit(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchaudio": torchaudio.__version__,
            "numba": numba.__version__,
            "backend": backend,
            "inputs": {name: digest([path]) for name, path in inputs.items()},
        }
        if self.training_file.exists() and not override:
            self._refuse_changes(config, facts)
        if not self.writes:
            return
        self._describe(config, assets)
        alone = config.teacher_alone() if isinstance(config, Config) else None
        if alone is not None:
            self.teacher._describe(alone, assets)
        write_text(self.folder / "versions.json", json.dumps(facts, indent=2) + "\n")
        with (self.folder / "command").open("a", encoding="utf-8") as stream:
            stream.write(" ".join(sys.argv) + "\n")
        logger.setLevel(logging.INFO)
        handler = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        self._board = SummaryWriter(str(self.folder / "tensorboard"))

    def _describe(self, config: RunConfig, assets: dict[str, Path]) -> None:
        """Write what decoding needs beside the network."""
        write_text(self.config_file, configuration.dump(config))
        for name, source in assets.items():
            if source.exists():
                with atomic_path(self.folder / name) as temporary:
                    shutil.copyfile(source, temporary)

    def _refuse_changes(self, config: RunConfig, facts: dict[str, Any]) -> None:
        """Raise InputError when this folder holds a run of another configuration or data."""
        before = configuration.load_any(self.config_file)
        if configuration.dump(before) != configuration.dump(config):
            changed = _first_difference(before.model_dump(mode="json"), config.model_dump(mode="json"))
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
