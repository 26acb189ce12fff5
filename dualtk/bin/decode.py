"""Stage 4: decode a data directory in one mode of a trained network.

Whole utterances are encoded in batches; with `--precision int8` each is a stream of its own, with the arithmetic of
`dualtk transcribe --precision int8`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from dualtk import config as configuration
from dualtk.bin.decoded import describe, write_decoded
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import add_search_options, build_search, describe_search
from dualtk.bin.streaming import add_precision_option, decode_streams, open_recognizer
from dualtk.build import build_network
from dualtk.config import Config
from dualtk.data.batches import Batch, FeatureDataset, batch_loader, select_utterances
from dualtk.data.bpe import Wordpieces
from dualtk.data.kinds import require_kind
from dualtk.data.sampler import BucketedBatches
from dualtk.errors import InputError
from dualtk.files import Done, digest
from dualtk.modes import Mode
from dualtk.search.greedy import Search
from dualtk.search.hypothesis import Hypothesis
from dualtk.train.checkpoint import load_network
from dualtk.train.run import Experiment
from dualtk.transducer.model import Transducer

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk decode`."""
    options = argparse.ArgumentParser(prog="dualtk decode", description=__doc__)
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument("--mode", required=True, metavar="NAME", help="a mode of the experiment: full, streaming, ...")
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with feats.scp")
    options.add_argument("--bpe", type=Path, metavar="DIR", help="wordpiece directory; default: EXP/lang")
    options.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output; default: EXP/decode/<data>-<mode>, or <data>-int8-<mode> with --precision int8",
    )
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
    add_precision_option(options)
    options.add_argument(
        "--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: auto, CUDA where there is one"
    )
    return options


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


def start(
    options: argparse.Namespace, network: Transducer, mode: Mode, batches: Iterator[Batch], search: Search[Any]
) -> Iterator[tuple[str, int, list[Hypothesis]]]:
    """What decoding finds, in the precision and on the device that the options ask for.

    Raises:
        InputError: 8-bit arithmetic in a mode or on a device that has none.
    """
    if options.precision == "float32":
        device = torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")
        return decode_batches(network.to(device), mode, batches, device, search)
    if options.device == "cuda":
        raise InputError(f"--precision {options.precision}: computes on a CPU, not with --device cuda")
    return decode_streams(open_recognizer(network, mode, search, options.precision), batches)


def default_output(options: argparse.Namespace) -> Path:
    """Of the same data, each mode and each precision has a folder of its own."""
    precision = "" if options.precision == "float32" else f"-{options.precision}"
    folder: Path = options.exp / "decode" / f"{options.data.name}{precision}-{options.mode}"
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Decode; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out = options.out or default_output(options)
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
    subsampling = network.encoder.subsampling
    require_kind(options.data, config.features.kind)
    dataset = FeatureDataset(select_utterances(options.data, min_frames=subsampling))
    if dataset.dim != config.features.dim:
        raise InputError(
            f"{options.data / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"the network of {options.exp} takes {config.features.dim}"
        )
    batches = BucketedBatches([entry.num_frames for entry in dataset.entries], options.max_frames, shuffle=False)
    found = start(options, network, mode, iter(batch_loader(dataset, batches)), search)
    began = time.monotonic()
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
        "precision": options.precision,
        "search": describe_search(options),
    }
    write_decoded(out, results, facts, wordpieces, subsampling, options.nbest)
    done.write(key)
    logger.info("%s: %d utterances, real-time factor %.4f", out, len(results), seconds / audio)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
