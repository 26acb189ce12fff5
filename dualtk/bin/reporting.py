"""What a report shows: experiments as their folders hold them, and audio of utterances."""

from __future__ import annotations

import argparse
import base64
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import soundfile

from dualtk.analysis.curves import read_metrics
from dualtk.analysis.experiment import Decoded, Drawing, Experiment
from dualtk.analysis.page import BEGINNING
from dualtk.analysis.report import report
from dualtk.analysis.worst import Sound
from dualtk.config import plain_values
from dualtk.data.audio import read_audio
from dualtk.data.kaldi import AudioSource, read_audio_sources
from dualtk.errors import InputError
from dualtk.files import require_own, write_text
from dualtk.score.summary import SetScore, read_scores
from dualtk.score.utterances import UTTERANCE_FILE, read_utterances
from dualtk.system import load_experiment
from dualtk.tables import read_json, read_lines
from dualtk.yaml_tree import leaves

logger = logging.getLogger("dualtk")

DRAWINGS = "analysis"  # folder of an experiment where `dualtk analyse` leaves its figures


class Sounds:
    """Audio of utterances, as FLAC inside the page, where scores name a directory that the user names too."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = {directory.resolve() for directory in directories}
        self._sources: dict[str, dict[str, AudioSource]] = {}

    def __call__(self, score: SetScore, utterance: str) -> Sound | None:
        """The utterance's audio, or None (said once a set) where the data directory or the file has gone."""
        data = score.score["data"]
        if Path(data).resolve() not in self._directories:
            return None
        if data not in self._sources:
            try:
                self._sources[data] = read_audio_sources(Path(data))
            except InputError as error:
                logger.warning("the report has no audio of %s: %s", score.name, error)
                self._sources[data] = {}
        source = self._sources[data].get(utterance)
        return self._encode(source) if source else None

    @staticmethod
    def _encode(source: AudioSource) -> Sound:
        samples, sample_rate = read_audio(source)
        buffer = io.BytesIO()
        soundfile.write(buffer, samples.numpy(), sample_rate, format="FLAC", subtype="PCM_16")
        return Sound("data:audio/flac;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"))


def _text(path: Path) -> str:
    return "\n".join(read_lines(path))


def load(folder: Path, name: str) -> Experiment:
    """Read an experiment folder.

    Raises:
        InputError: it does not exist or has no scored set.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such experiment folder")
    decoded = [Decoded(score, read_utterances(score.folder / UTTERANCE_FILE)) for score in read_scores(folder)]
    metrics, extracted = folder / "metrics.jsonl", folder / "extract.json"
    drawings = [
        Drawing(path.stem, _text(path), _text(path.with_suffix(".tsv")), is_read=True)
        for path in sorted((folder / DRAWINGS).glob("*.svg"))
        if path.with_suffix(".tsv").is_file()
    ]
    values = leaves(plain_values(load_experiment(folder))) if (folder / "config.yaml").is_file() else []
    return Experiment(
        name,
        {".".join(keys): str(value) for keys, value in values},
        read_metrics(metrics) if metrics.is_file() else [],
        decoded,
        drawings,
        read_json(extracted) if extracted.is_file() else None,
    )


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with their parents' in front where two would be the same."""
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [str(folder) for folder in folders]


def run_report(options: argparse.Namespace) -> int:
    """Write the report by the options of `dualtk report`; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = options.out or options.experiments[0] / "report.html"
    require_own(out, BEGINNING, "report of dualtk")
    names = distinct_names(options.experiments)
    experiments = [load(folder, name) for folder, name in zip(options.experiments, names)]
    write_text(out, report(experiments, Sounds(options.data), options.worst))
    logger.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return 0
