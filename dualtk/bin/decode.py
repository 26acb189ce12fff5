"""Stage 4: decode a data directory in one mode of a trained network."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dualtk import config as configuration
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import add_search_options, build_search, describe_search
from dualtk.build import build_network
from dualtk.config import Config
from dualtk.data.batches import Batch, FeatureDataset, batch_loader, select_utterances
from dualtk.data.bpe import Wordpieces
from dualtk.data.kinds import require_kind
from dualtk.data.sampler import BucketedBatches
from dualtk.errors import InputError
from dualtk.files import Done, atomic_path, digest
from dualtk.modes import Mode
from dualtk.score.latency import emission_time
from dualtk.train.checkpoint import load_network
from dualtk.train.run import Experiment
from dualtk.transducer.hypothesis import Hypothesis, SpokenWord, spoken_words
from dualtk.transducer.model import Transducer
from dualtk.transducer.search import Search

logger = logging.getLogger("dualtk")

FRAME_SECONDS = 0.01


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk decode`."""
    options = argparse.ArgumentParser(prog="dualtk decode", description=__doc__)
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument("--mode", required=True, metavar="NAME", help="a mode of the experiment: full, streaming, ...")
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with feats.scp")
    options.add_argument("--bpe", type=Path, metavar="DIR", help="wordpiece directory; default: EXP/lang")
    options.add_argument("--out", type=Path, metavar="DIR", help="output; default: EXP/decode/<data>-<mode>")
    options.add_argument(
        "--max-frames", type=at_least(1), default=20000, metavar="N", help="feature frames in a batch; default: 20000"
    )
    options.add_argument(
        "--nbest",
        type=at_least(0),
        default=0,
        metavar="N",
        help="also write nbest.jsonl with this many hypotheses of --beam",
    )
    add_search_options(options)
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    return options


@dataclass
class Decoded:
    """One utterance's best hypothesis with its times in seconds, and all that the search kept."""

    utterance: str
    text: str
    tokens: list[str]
    frames: list[int]
    emissions: list[float]
    duration: float
    score: float
    words: list[SpokenWord]
    nbest: list[Hypothesis]


def load_experiment(folder: Path, vocab_size: int) -> tuple[Config, Transducer]:
    """Configuration and trained network of an experiment, ready to decode."""
    experiment = Experiment(folder, writes=False)
    config = configuration.load(experiment.config_file)
    dim = config.features.dim
    network = build_network(config, vocab_size, torch.zeros(dim), torch.ones(dim))
    load_network(experiment.network_file, network)
    network.eval()
    return config, network


def find_mode(config: Config, name: str, folder: Path) -> Mode:
    """The mode `name` of an experiment."""
    if name not in config.modes:
        raise InputError(f"{folder}: has no mode {name}; its modes are {', '.join(config.modes)}")
    return config.modes[name].mode(name)


@torch.inference_mode()
def decode_batches(
    network: Transducer, mode: Mode, batches: Iterator[Batch], device: torch.device, search: Search[Any]
) -> Iterator[tuple[str, int, list[Hypothesis]]]:
    """Utterance, feature frames and hypotheses, batch after batch."""
    for batch in batches:
        batch = batch.to(device)
        feats = network.normalize(batch.feats, batch.feat_lengths)
        encoded = network.encode(feats, batch.feat_lengths, mode)
        streams = search.start(len(batch.utterances))
        search.advance(encoded.frames, encoded.lengths, streams)
        found = [search.nbest(stream, final=True) for stream in streams]
        yield from zip(batch.utterances, batch.feat_lengths.tolist(), found)


def describe(
    utterance: str,
    num_frames: int,
    nbest: list[Hypothesis],
    wordpieces: Wordpieces,
    mode: Mode,
    subsampling: int,
    reach: float,
) -> Decoded:
    """Text and times of the best hypothesis; a feature frame covers `reach` seconds of audio from its start on."""
    hypothesis = nbest[0]
    duration = num_frames * FRAME_SECONDS
    chunk = None if mode.full_context else mode.chunk
    emissions = emission_time(hypothesis.frames, subsampling, chunk, mode.look_ahead, duration, reach)
    return Decoded(
        utterance,
        " ".join(wordpieces.decode(hypothesis.tokens).split()),
        [wordpieces.pieces[token] for token in hypothesis.tokens],
        hypothesis.frames,
        [round(time, 4) for time in emissions.tolist()],
        duration,
        hypothesis.score,
        spoken_words(hypothesis, wordpieces.pieces),
        nbest,
    )


def ctm_lines(decoded: Decoded, subsampling: int) -> Iterator[str]:
    """`utt 1 start duration WORD confidence` in seconds: from the frame of its first wordpiece to the end of that of
    its last."""
    seconds = subsampling * FRAME_SECONDS
    for word in decoded.words:
        start, duration = word.first * seconds, (word.last + 1 - word.first) * seconds
        yield f"{decoded.utterance} 1 {start:.2f} {duration:.2f} {word.text} {word.confidence:.2f}\n"


def nbest_line(decoded: Decoded, wordpieces: Wordpieces, size: int) -> str:
    """The best `size` hypotheses of an utterance as a line of JSON."""
    hypotheses = [
        {"text": " ".join(wordpieces.decode(one.tokens).split()), "score": round(one.score, 4), "frames": one.frames}
        for one in decoded.nbest[:size]
    ]
    return json.dumps({"utt": decoded.utterance, "hypotheses": hypotheses}, ensure_ascii=False) + "\n"


def write_decoded(
    folder: Path, results: list[Decoded], facts: dict[str, object], wordpieces: Wordpieces, subsampling: int, nbest: int
) -> None:
    """text, hyp.ctm, tokens.jsonl, nbest.jsonl and decode.json, as one folder that is whole or absent."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with (temporary / "text").open("w", encoding="utf-8") as text:
            text.writelines(f"{one.utterance} {one.text}".rstrip() + "\n" for one in results)
        with (temporary / "hyp.ctm").open("w", encoding="utf-8") as ctm:
            for one in results:
                ctm.writelines(ctm_lines(one, subsampling))
        if nbest:
            with (temporary / "nbest.jsonl").open("w", encoding="utf-8") as lists:
                lists.writelines(nbest_line(one, wordpieces, nbest) for one in results)
        with (temporary / "tokens.jsonl").open("w", encoding="utf-8") as tokens:
            for one in results:
                line = {
                    "utt": one.utterance,
                    "tokens": one.tokens,
                    "frames": one.frames,
                    "emissions": one.emissions,
                    "duration": round(one.duration, 4),
                    "score": round(one.score, 4),
                }
                tokens.write(json.dumps(line, ensure_ascii=False) + "\n")
        (temporary / "decode.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    """Decode; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = options.out or options.exp / "decode" / f"{options.data.name}-{options.mode}"
    experiment = Experiment(options.exp, writes=False)
    language = options.bpe or options.exp / "lang"
    wordpieces = Wordpieces(language)
    config, network = load_experiment(options.exp, wordpieces.vocab_size)
    mode = find_mode(config, options.mode, options.exp)
    search = build_search(options, network, wordpieces.pieces)
    key = digest(
        [
            experiment.network_file,
            options.data / "feats.scp",
            *(path for path in [options.data / "fbank.json"] if path.exists()),
            language / "bpe.model",
            *([options.lm] if options.lm else []),
        ],
        vars(options),
    )
    done = Done(out / ".done")
    if done.matches(key):
        logger.info("%s: up to date", out)
        return 0
    device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
    network.to(device)
    subsampling = network.encoder.subsampling
    require_kind(options.data, config.features.kind)
    dataset = FeatureDataset(select_utterances(options.data, min_frames=subsampling))
    if dataset.dim != config.features.dim:
        raise InputError(
            f"{options.data / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"the network of {options.exp} takes {config.features.dim}"
        )
    batches = BucketedBatches([entry.num_frames for entry in dataset.entries], options.max_frames, shuffle=False)
    began = time.monotonic()
    found = decode_batches(network, mode, iter(batch_loader(dataset, batches)), device, search)
    progress = tqdm(found, total=len(dataset), unit="utt", disable=None, desc=f"{options.data.name} {mode.name}")
    results = [describe(*one, wordpieces, mode, subsampling, config.features.reach) for one in progress]
    seconds = time.monotonic() - began
    results.sort(key=lambda one: one.utterance.encode())
    audio = sum(one.duration for one in results)
    facts = {
        "mode": mode.name,
        "full_context": mode.full_context,
        "chunk": mode.chunk,
        "left_context": mode.left_context,
        "look_ahead": mode.look_ahead,
        "subsampling": subsampling,
        "reach": config.features.reach,
        "num_parameters": network.num_parameters(),
        "real_time_factor": seconds / audio,
        "audio_seconds": audio,
        "seconds": seconds,
        "search": describe_search(options),
    }
    write_decoded(out, results, facts, wordpieces, subsampling, options.nbest)
    done.write(key)
    logger.info("%s: %d utterances, real-time factor %.4f", out, len(results), seconds / audio)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
