"""Every field of the configuration changes what is built, computed, drawn, kept or logged.

The systems of `one_of_each` are trained by `dualtk train`, once as they are and once for each field with another value.
A field that leaves no trace in the tensors of the network, the numbers of the log, the batches, the work of the loader
and the modules, or the files of the run is read nowhere.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from one_of_each import (
    COMMON,
    CONTEXTS,
    CORPORA,
    ELSEWHERE,
    TEXTS,
    Field,
    change,
    fields_of,
    says_nothing,
    sections_of_systems,
)
from tiny import write_set
from torch import Tensor, nn

from dualtk.bin import features, tokens, training
from dualtk.bin import train as command
from dualtk.data import dataset as dataset_module
from dualtk.data.fbank import FbankOptions
from dualtk.data.features import extract_set
from dualtk.data.kaldi import Utterance, write_data_directory
from dualtk.data.kinds import write_options
from dualtk.data.samples import SampleOptions
from dualtk.data.tokens import TokenOptions, write_tokenizer
from dualtk.lattice.backends.base import Backend
from dualtk.lattice.engines import _BACKENDS
from dualtk.options import Section
from dualtk.system import PretrainingSystem, System, load
from dualtk.tables import read_table
from dualtk.train import experiment as experiment_module
from dualtk.train import loop
from dualtk.train.stepping import Stepper

pytestmark = pytest.mark.slow

NOT_COMPARED = {"config.yaml", "command", "versions.json", "train.log", "metrics.jsonl", "last.pt", "init.txt"}
LETTERS = list("ABCDEF")  # a word each, which is a token
VOCABULARY = 10
TIMES = {"time", "audio_per_second"}


class NoBoard:
    """In the place of tensorboard, which is slow to begin."""

    def __init__(self, folder: Path) -> None:
        pass

    def add(self, *values: object) -> None:
        pass

    def close(self) -> None:
        pass


class Witness:
    """What a run does beside its numbers and files."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.batches: list[list[str]] = []
        self.saved: list[int] = []
        self.workers: list[int] = []
        self.reads = 0
        self.modules = 0
        self.recursions: Counter[str] = Counter()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        take, save, loader, read = Stepper.take, loop.save_training, loop.batch_loader, dataset_module.read_features

        def taken(stepper: Stepper, batches: Any, progress: Any) -> bool:
            self.batches += [batch.utterances for batch in batches]
            return take(stepper, batches, progress)

        def saved(path: Path, state: dict[str, Any]) -> None:
            self.saved.append(state["progress"]["step"])
            save(path, state)

        def loading(*arguments: Any) -> Any:
            made = loader(*arguments)
            self.workers.append(made.num_workers)
            return made

        def reading(*arguments: Any, **named: Any) -> Any:
            self.reads += 1
            return read(*arguments, **named)

        def recursing(backend: Backend, inner: Any) -> Any:
            def recursion(*arguments: Any) -> Any:
                self.recursions[backend.name] += 1
                return inner(*arguments)

            return recursion

        for backend in _BACKENDS.values():
            patch.setattr(backend, "recursion", recursing(backend, backend.recursion))
        patch.setattr(Stepper, "take", taken)
        patch.setattr(loop, "save_training", saved)
        patch.setattr(loop, "batch_loader", loading)
        patch.setattr(dataset_module, "read_features", reading)

    def count(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.modules += 1


class Runs:
    """Trains the systems, each only once."""

    def __init__(self, folder: Path, witness: Witness) -> None:
        self.folder = folder
        self.witness = witness
        self.known: dict[tuple[str, ...], dict[str, Any]] = {}
        (folder / "common.yaml").write_text(COMMON)
        for name, text in TEXTS.items():
            based = text if text.startswith("\nbase:") else f"base: common.yaml{text}"
            (folder / f"{name}.yaml").write_text(based)
        random = np.random.default_rng(1)
        for kind, dim in (("fbank", 8), ("samples", SampleOptions().dim)):
            for part, count in (("train", 32), ("dev", 2)):
                directory = folder / kind / part
                write_set(directory, count, seed=count, dim=dim, frames=(10, 30))
                names = [line.split(" ")[0] for line in (directory / "text").read_text().splitlines()]
                texts = [" ".join(random.choice(LETTERS, size=random.integers(1, 4))) for _ in names]
                (directory / "text").write_text("".join(f"{name} {text}\n" for name, text in zip(names, texts)))
                if kind == "samples":
                    write_options(directory, SampleOptions())
                else:
                    self.speak(directory)
        write_tokenizer(folder / "lang", [" ".join(LETTERS)] * 4, TokenOptions(size=VOCABULARY))
        self.train("transformer", "exp/first", "modes.other={chunk: 2}")
        self.train("transformer", "exp/second", "train.seed=2")
        self.train("pretrain", "exp/pretrained")
        self.train("pretrain", "exp/pretrained_second", "train.seed=2")

    def speak(self, like: Path) -> None:
        """Audio of the utterances of a set, with their texts and of about their lengths, and its features."""
        part, spoken = like.name, self.folder / "speech" / like.name
        frames = read_table(like / "utt2num_frames")
        utterances = []
        for number, (name, text) in enumerate(read_table(like / "text").items()):
            audio, seconds = spoken / f"{name}.wav", int(frames[name]) / 100
            spoken.mkdir(parents=True, exist_ok=True)
            noise = np.random.default_rng(number).normal(size=round(16000 * seconds))
            soundfile.write(audio, 0.1 * noise * np.linspace(0, 1, len(noise)), 16000)
            utterances.append(Utterance(name, name, str(audio), text, seconds))
        write_data_directory(spoken, utterances)
        options = FbankOptions(num_mels=8)
        extract_set(spoken, self.folder / "audio", options, cmvn=part == "train", progress=False)

    def train(self, name: str, exp: str, *overrides: str) -> Path:
        corpus = self.folder / CORPORA.get(name, "fbank")
        options = ["--config", f"{self.folder / name}.yaml", "--exp", str(self.folder / exp), "--device", "cpu"]
        options += ["--train-dir", str(corpus / "train"), "--dev-dir", str(corpus / "dev"), "--threads", "1"]
        options += ["--work-dir", str(self.folder), "--tokens", str(self.folder / "lang")]
        for override in overrides:
            options += ["--set", override]
        self.witness.clear()
        assert command.main(options) == 0
        return self.folder / exp

    def trace(self, name: str, *overrides: str, again: bool = False) -> dict[str, Any]:
        """What a run leaves; `again`: of another run of the same."""
        key = (name, *overrides)
        if key not in self.known or again:
            exp = self.train(name, f"exp/run-{len(self.known)}-{again}", *overrides)
            lines = [json.loads(line) for line in (exp / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
            found = {
                "log": [{key: value for key, value in line.items() if key not in TIMES} for line in lines],
                "files": {
                    str(path.relative_to(exp)): hashlib.sha256(path.read_bytes()).hexdigest()
                    for path in sorted(exp.rglob("*"))
                    if path.is_file() and path.name not in NOT_COMPARED and "images" not in path.parts
                },
                **vars(self.witness),
            }
            if again:
                return found
            self.known[key] = found
        return self.known[key]

    def system(self, name: str, *overrides: str) -> System:
        return load(self.folder / f"{name}.yaml", overrides=overrides)

    def shapes(self, name: str, *overrides: str) -> dict[str, torch.Size]:
        """The tensors of what is trained."""
        system = self.system(name, *overrides)
        statistics = torch.zeros(system.features.dim)
        objective: nn.Module
        if isinstance(system, PretrainingSystem):
            objective = system.build_objective(system.build_network(statistics, statistics))
        else:
            objective = system.build_objective(system.build_network(VOCABULARY, statistics, statistics))
        state: dict[str, Tensor] = objective.state_dict()
        return {key: value.shape for key, value in state.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    torch.set_num_threads(1)
    witness = Witness()
    counting = torch.nn.modules.module.register_module_forward_hook(witness.count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment_module, "Board", NoBoard)
        patch.setattr(experiment_module, "_git_commit", lambda: "unknown")
        patch.setattr(training, "draw_curves", lambda exp: None)
        witness.watch(patch)
        yield Runs(tmp_path_factory.mktemp("fields"), witness)
    counting.remove()


def fields_to_try(runs: Runs) -> dict[str, list[Field]]:
    """By system: the fields that no system before it has at the same place."""
    plan: dict[str, list[Field]] = {}
    seen: set[tuple[str, type[Section]]] = set()
    for name in TEXTS:
        plan[name] = []
        for one in fields_of(runs.system(name)):
            elsewhere = {one.key, one.owner.__name__} & ELSEWHERE.keys()
            if (one.place, one.owner) not in seen and not elsewhere and not says_nothing(name, one):
                plan[name].append(one)
        seen |= {(f"{one.place}", one.owner) for one in plan[name]}
    return plan


@pytest.mark.parametrize("name", TEXTS)
def test_every_field_leaves_a_trace(runs: Runs, name: str) -> None:
    assert runs.trace(name) == runs.trace(name, again=True), "two runs of the same differ"
    without = []
    for one in fields_to_try(runs)[name]:
        before, after = CONTEXTS.get(one.key, []), [*CONTEXTS.get(one.key, []), *change(one)]
        assert runs.system(name, *after) != runs.system(name, *before), f"{after}: the same values"
        if runs.shapes(name, *after) != runs.shapes(name, *before):
            continue
        if runs.trace(name, *after) == runs.trace(name, *before):
            without.append(f"{one.path} of {one.key}")
    assert not without, f"these leave no trace: {', '.join(without)}"


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory of two utterances."""
    folder = tmp_path_factory.mktemp("speech") / "train"
    folder.mkdir()
    random = np.random.default_rng(1)
    for name in ("a-1", "a-2"):
        soundfile.write(folder / f"{name}.wav", 0.1 * random.normal(size=8000), 16000)
    (folder / "wav.scp").write_text("".join(f"{name} {folder / name}.wav\n" for name in ("a-1", "a-2")))
    (folder / "utt2spk").write_text("a-1 a\na-2 a\n")
    return folder


FEATURES = {
    "num_mels": "9",
    "sample_rate": "12000",
    "low_frequency": "100.0",
    "high_frequency": "5000.0",
    "speeds": "[0.9, 1.0]",
    "source": "audio",
    "cmvn_utterances": "1",
    "storage": "two_bytes",
}


@pytest.mark.parametrize("name", ["dual", "pretrain"])
def test_every_field_of_features_changes_them(runs: Runs, speech: Path, tmp_path: Path, name: str) -> None:
    """What the stage of features makes, by the configuration."""

    def made(*overrides: str) -> dict[str, bytes]:
        out = tmp_path / "-".join(["made", *overrides]).replace("/", "")
        options = ["--train", str(speech), "--out", str(out), "--config", str(runs.folder / f"{name}.yaml")]
        for override in ["features.high_frequency=6000.0"] if name == "dual" else []:
            options += ["--set", override]
        for override in overrides:
            options += ["--set", override]
        assert features.main(options) == 0
        return {path.name: path.read_bytes() for path in out.rglob("*.ark")}

    for one in fields_of(runs.system(name).features):
        if not one.is_tag:
            before = ["features.source=audio"] if one.name == "cmvn_utterances" else []
            assert made(*before, f"features.{one.name}={FEATURES[one.name]}") != made(*before), one.key


@pytest.mark.parametrize("override", ["tokens.size=15", "tokens.type=bpe", "tokens.size=300 tokens.byte_fallback=true"])
def test_every_field_of_tokens_changes_them(runs: Runs, tmp_path: Path, override: str) -> None:
    """What the stage of tokens makes, by the configuration."""
    text = tmp_path / "text"
    text.write_text("".join(f"u{index} THE CAT SAT ON THE MAT AND THE DOG SAT TOO\n" for index in range(4)))

    def made(*overrides: str) -> str:
        out = tmp_path / "-".join(["made", *overrides])
        options = ["--text", str(text), "--out", str(out), "--config", str(runs.folder / "dual.yaml")]
        for one in ["tokens.size=16", *overrides]:
            options += ["--set", one]
        assert tokens.main(options) == 0
        return (out / "tokens.txt").read_text(encoding="utf-8")

    assert {one.name for one in fields_of(TokenOptions())} == {"size", "type", "byte_fallback"}
    assert made(*override.split()) != made()


def test_no_field_is_left_out(runs: Runs) -> None:
    """Every options class that a system may have is in one of them, and all of its fields are tried."""
    tried = {one.key for fields in fields_to_try(runs).values() for one in fields}
    there = {one.key: one for name in TEXTS for one in fields_of(runs.system(name))}
    for key, one in there.items():
        assert one.is_tag or key in tried or {key, one.owner.__name__} & ELSEWHERE.keys(), key
    classes = {key.partition(".")[0] for key in there} - {"TransducerSystem", "PretrainingSystem"}
    of_sections = {"ModelOptions", "EncoderAlone"}  # they have no values of their own
    assert {one.__name__ for one in sections_of_systems()} - of_sections == classes
