"""Stage 4: decode a data directory in one mode of a trained network.

In full context whole utterances are encoded in batches. In a streaming mode each utterance is a stream, and those of a
batch take their steps together; with `--precision int8` each takes its own, with the arithmetic of
`dualtk transcribe --precision int8`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from dualtk.bin.decoded import FOLDER, Decoded, Writer
from dualtk.bin.decoding import decode_apart, set_up
from dualtk.bin.dualtk import run
from dualtk.bin.options import at_least
from dualtk.bin.searching import add_precision_option, add_search_options
from dualtk.data.batches import FeatureDataset, select_utterances
from dualtk.data.kinds import require_features
from dualtk.data.sampler import BatchesOptions
from dualtk.errors import InputError
from dualtk.files import Done, digest, require_replaceable
from dualtk.modes import Mode
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained

logger = logging.getLogger("dualtk")


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk decode`."""
    options = argparse.ArgumentParser(prog="dualtk decode", description=__doc__)
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument("--mode", required=True, metavar="NAME", help="a mode of the experiment: full, streaming, ...")
    options.add_argument("--data", type=Path, required=True, metavar="DIR", help="data directory with feats.scp")
    options.add_argument("--tokens", type=Path, metavar="DIR", help="folder of tokens; default: EXP/lang")
    options.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="output; default: EXP/decode/<data>-<mode>; with --head ctc <data>-ctc-<mode>, with --precision int8 "
        "<data>-int8-<mode>",
    )
    options.add_argument(
        "--max-frames", type=at_least(1), default=20000, metavar="N", help="feature frames in a batch; default: 20000"
    )
    options.add_argument(
        "--nj",
        type=at_least(1),
        default=1,
        metavar="N",
        help="processes, on a CPU of one thread each, on as many GPUs as there are; default: 1",
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


def choose_device(options: argparse.Namespace) -> torch.device:
    """Where to compute; 8-bit arithmetic is for a CPU.

    Raises:
        InputError: a device that is not there, or that has no such arithmetic.
    """
    if options.precision != "float32" and options.device == "cuda":
        raise InputError(f"--precision {options.precision}: computes on a CPU, not with --device cuda")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is none")
    is_free = options.precision == "float32" and options.device != "cpu"
    return torch.device("cuda" if is_free and torch.cuda.is_available() else "cpu")


def default_output(options: argparse.Namespace) -> Path:
    """Of the same data, each mode, head and precision has a folder of its own."""
    head = "" if options.head == "transducer" else f"-{options.head}"
    precision = "" if options.precision == "float32" else f"-{options.precision}"
    folder: Path = options.exp / "decode" / f"{options.data.name}{head}{precision}-{options.mode}"
    return folder


def inputs(options: argparse.Namespace, trained: Trained) -> str:
    """A digest of all that the result is made from."""
    files = [trained.folder / "model.safetensors", options.data / "feats.scp", trained.tokenizer.path]
    more = [options.data / "fbank.json", options.lm, options.hotwords]
    files += [path for path in more if path is not None and path.exists()]
    return digest(files, {key: value for key, value in vars(options).items() if key != "nj"})


def read_set(options: argparse.Namespace, trained: Trained) -> FeatureDataset:
    """The features of the data directory.

    Raises:
        InputError: they are not what the network takes.
    """
    data, features = options.data, trained.system.features
    require_features(data, features)
    dataset = FeatureDataset(select_utterances(data, min_frames=trained.network.encoder.subsampling))
    if dataset.dim != features.dim:
        raise InputError(
            f"{data / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"the network of {trained.folder} takes {features.dim}"
        )
    return dataset


def describe(trained: Trained, mode: Mode) -> dict[str, object]:
    """What decode.json says of the network and its mode."""
    return {
        "mode": mode.name,
        "full_context": mode.full_context,
        "chunk": mode.chunk,
        "left_context": mode.left_context,
        "look_ahead_ms": mode.look_ahead_ms,
        "subsampling": trained.network.encoder.subsampling,
        "reach": trained.system.features.reach,
        "num_parameters": trained.network.num_parameters(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Decode; see `parser` for the options."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    out, device = options.out or default_output(options), choose_device(options)
    require_replaceable(out, FOLDER)
    setup = set_up(options, device)
    trained, mode = setup.trained, setup.mode
    key = inputs(options, trained)
    done = Done(out / ".done")
    if done.matches(key):
        logger.info("%s: up to date", out)
        return 0
    is_streamed = isinstance(setup.decoder, StreamingDecoder)
    dataset = read_set(options, trained)
    unknown = trained.tokenizer.unknown_in({entry.name: entry.text for entry in dataset.entries})
    if unknown.unknown:
        logger.warning("%s: %s: no hypothesis has them right", options.data / "text", unknown)
    batches = BatchesOptions(max_frames=options.max_frames).build(dataset.lengths, shuffle=False).batches(0)
    began = time.monotonic()
    if options.nj > 1:
        decoding = decode_apart(options, device, read_set, batches)
    else:
        decoding = (one for indices in batches for one in setup.decode(dataset, indices))
    name = f"{options.data.name} {mode.name}"
    progress = tqdm(decoding, total=len(dataset), unit="utt", disable=None, desc=name)
    results: list[Decoded] = sorted(progress, key=lambda one: one.utterance.encode())
    seconds = time.monotonic() - began
    audio = sum(one.seconds for one in results)
    facts = {
        **describe(trained, mode),
        "streamed": is_streamed,
        "real_time_factor": seconds / audio,
        "audio_seconds": audio,
        "seconds": seconds,
        "precision": options.precision,
        "processes": options.nj,
        "search": setup.search.facts(),
    }
    Writer(trained, mode).write(out, results, facts, options.nbest)
    done.write(key)
    logger.info("%s: %d utterances, real-time factor %.4f", out, len(results), seconds / audio)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
