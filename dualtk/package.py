"""A trained network as a folder to hand on: all that recognising needs, and nothing of the training.

It loads wherever an experiment folder does, without the recipe, and from a place that cannot be written to.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dualtk.checksums import FILE, checksums
from dualtk.compact import linear_weights
from dualtk.config import dump
from dualtk.data.kinds import FILE as FEATURES_FILE
from dualtk.errors import InputError
from dualtk.files import atomic_folder, write_text
from dualtk.pruning.packing import pack
from dualtk.pruning.patterns import Blocks
from dualtk.score.summary import SetScore
from dualtk.score.table import context, latency_cell, markdown, parameters, percent, search
from dualtk.streaming.compiled_step import Precision
from dualtk.system import TransducerSystem
from dualtk.train.checkpoint import save_network
from dualtk.train.experiment import Experiment
from dualtk.trained import Trained

TOKENS = ("bpe.model", "bpe.vocab", "tokens.txt")


@dataclass(frozen=True)
class Card:
    """What a model card says that the network does not know.

    Attributes:
        language: code of ISO 639, such as `en`.
        license: identifier as model hubs know it, such as `apache-2.0`.
        data: what it was trained on, with its hours.
        scores: of decoded sets.
    """

    language: str
    license: str
    data: str
    scores: Sequence[SetScore] = field(default_factory=list)


def of_modes(system: TransducerSystem, names: Sequence[str]) -> TransducerSystem:
    """The system with these modes only, and without what only training reads."""
    passes = {name: one for name, one in system.passes.items() if name in names}
    modes = {name: system.modes[name] for name in names}
    return system.model_copy(
        update={"modes": modes, "passes": passes, "terms": {}, "teacher": None, "init": None, "sampled_steps": 0}
    )


def write_package(folder: Path, trained: Trained, modes: Sequence[str], precision: Precision, card: Card) -> None:
    """Write a model folder, whole or not at all; its files can be read by everyone.

    Args:
        folder: that is not there yet.
        trained: the network.
        modes: to keep; norms of others are left out.
        precision: int8 stores the encoder's linear weights in 8 bits, with a scale for each output.
        card: of README.md.

    Raises:
        InputError: a folder that is there, or a mode that the network does not have.
    """
    if folder.exists():
        raise InputError(f"{folder}: exists already")
    for name in modes:
        trained.mode(name)
    others = {f".norms.{name}." for name in trained.system.modes if name not in modes}
    tensors = {
        key: value for key, value in trained.network.state_dict().items() if not any(one in key for one in others)
    }
    int8 = linear_weights(trained.network) if precision == "int8" else set()
    packed, metadata = pack(tensors, {}, Blocks(), int8)
    with atomic_folder(folder) as temporary:
        (temporary / "lang").mkdir(parents=True)
        save_network(Experiment(temporary, writes=False).network_file, packed, metadata)
        write_text(temporary / "config.yaml", dump(of_modes(trained.system, modes)))
        for name in TOKENS:
            if (source := trained.tokenizer.path.parent / name).exists():
                shutil.copyfile(source, temporary / "lang" / name)
        shutil.copyfile(trained.folder / FEATURES_FILE, temporary / FEATURES_FILE)
        write_text(temporary / "README.md", card_text(folder.name, trained, modes, precision, card))
        write_text(temporary / FILE, checksums(temporary))
        for path in (temporary, *temporary.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def card_text(name: str, trained: Trained, modes: Sequence[str], precision: Precision, card: Card) -> str:
    """README.md, with the front matter that model hubs read."""
    kept = [one for one in card.scores if one.mode in modes]
    frame = 10 * trained.network.encoder.subsampling
    about = [f"- {len(modes)} modes of one set of weights: {', '.join(modes)}; an encoder frame is {frame} ms"]
    about += [f"- {parameters(trained.network.num_parameters())} parameters, stored in {precision}"]
    features = trained.system.features
    about += [f"- audio of {features.sample_rate} Hz (other rates are resampled), features `{features.label}`"]
    about += [f"- trained on {card.data}"]
    mode = "two-pass" if {"streaming", "full"} <= set(modes) else modes[0]
    return "\n".join(
        [
            *_front_matter(name, card, kept),
            f"# {name}\n",
            "Speech recognition by a transducer that streams and sees whole utterances, with `dualtk`.\n",
            *about,
            "\n## Use\n",
            f"    dualtk transcribe --exp {name} --mode {mode} recording.wav\n",
            "or in Python\n",
            "    import dualtk\n",
            f'    result = dualtk.load("{name}").transcribe("recording.wav", mode="{mode}")',
            "    print(result.text)\n",
            "`sha256sum -c SHA256SUMS` checks the files; `dualtk` does so when it loads them.",
            *_results(kept),
            "",
        ]
    )


def _front_matter(name: str, card: Card, scores: Sequence[SetScore]) -> list[str]:
    lines = ["---", f"language: {_quoted(card.language)}", f"license: {_quoted(card.license)}", "library_name: dualtk"]
    lines += ["pipeline_tag: automatic-speech-recognition", "tags: [speech, transducer, streaming]"]
    measured = [one for one in scores if not math.isnan(one.score["wer"]["rate"]["value"])]
    if measured:
        lines += ["metrics: [wer]", "model-index:", f"- name: {_quoted(name)}", "  results:"]
    for one in measured:
        rate, title = 100 * one.score["wer"]["rate"]["value"], f"WER {one.mode}, {search(one.score['decoding'])}"
        lines += [
            "  - task: {type: automatic-speech-recognition}",
            f"    dataset: {{name: {_quoted(one.name)}, type: {_quoted(one.name)}}}",
            f"    metrics: [{{type: wer, value: {rate:.2f}, name: {_quoted(title)}}}]",
        ]
    return [*lines, "---", ""]


def _quoted(text: str) -> str:
    """Text as every version of YAML reads it: `no` is Norwegian, and no truth value."""
    return json.dumps(text, ensure_ascii=False)


def _results(scores: Sequence[SetScore]) -> list[str]:
    if not scores:
        return []
    header = ("set", "mode", "look-ahead / chunk", "search", "WER %", "Latency@50 ms", "Latency@90 ms")
    rows = [
        [
            one.name,
            one.mode,
            context(one.score["decoding"]),
            search(one.score["decoding"]),
            percent(one.score["wer"]["rate"]),
            *(latency_cell(one.score["emission_latency"], rank) for rank in ("at50", "at90")),
        ]
        for one in scores
    ]
    note = "By `dualtk decode --exp EXP --mode MODE --data DIR` and `dualtk score`, before the weights were packed."
    return ["\n## Results\n", markdown(header, rows), note]
