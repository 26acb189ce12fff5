"""Stage 4: decode a data directory in one mode of a trained network.

In full context whole utterances are encoded in batches. In a streaming mode each utterance is a stream, and those of a
batch take their steps together; with `--precision int8` each takes its own, with the arithmetic of
`dualtk transcribe --precision int8`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from dualtk.bin.decoded import FOLDER, Decoded, Writer
from dualtk.bin.decoding import decode_apart, set_up
from dualtk.bin.dualtk import run
from dualtk.bin.options import add_max_bad, at_least
from dualtk.bin.searching import add_precision_option, add_search_options
from dualtk.config import FILE as CONFIG
from dualtk.data import bad, contents
from dualtk.data.batches import FeatureDataset, select_utterances
from dualtk.data.contents import Digests, changes, code_digest, features_digest, stage_key
from dualtk.data.kaldi import set_name
from dualtk.data.kinds import FILE as FEATURE_OPTIONS
from dualtk.data.kinds import require_features
from dualtk.data.sampler import BatchesOptions
from dualtk.data.scale import require_scale
from dualtk.errors import InputError
from dualtk.files import Done, require_replaceable
from dualtk.modes import Mode
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained

logger = logging.getLogger("dualtk")

CODE = ["bin/decode.py", "bin/decoded.py", "trained.py", "frames.py"]  # what decides the result, with the rooms
CODE += ["data", "encoders", "lattice", "nn", "pruning", "search", "streaming", "transducer"]


def parser() -> argparse.ArgumentParser:
    """The options of `dualtk decode`."""
    options = argparse.ArgumentParser(prog="dualtk decode", description=__doc__)
    options.add_argument("--exp", type=Path, required=True, metavar="DIR", help="experiment folder of stage 3")
    options.add_argument(
        "--mode",
        required=True,
        metavar="NAME",
        help="a mode of the experiment: full, streaming, ...; streaming@8 in chunks of 8 frames, streaming@8-32 "
        "with a left context of 32 too",
    )
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
    add_max_bad(options)
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
    folder: Path = options.exp / "decode" / f"{set_name(options.data)}{head}{precision}-{options.mode}"
    return folder


def require_own_set(out: Path, data: Path) -> None:
    """Refuse a folder with the decoding of another set of the same name, as long as that set is there.

    Raises:
        InputError: names both.
    """
    try:
        other = json.loads((out / "decode.json").read_text(encoding="utf-8"))["data"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    places = [(out / str(place)).resolve() for place in other]
    if data.resolve() not in places and (there := next(filter(Path.is_dir, places), None)) is not None:
        raise InputError(f"{out}: holds the decoding of {there}: name another --out for {data}")


def inputs(options: argparse.Namespace, trained: Trained, device: torch.device, digests: Digests) -> str:
    """All that the result is made from, by what files hold: they may lie elsewhere the next time."""
    files = {
        "network": trained.folder / "model.safetensors",
        "configuration": trained.folder / "config.yaml",
        "tokens": trained.tokenizer.path,
        "feature options": options.data / FEATURE_OPTIONS,
    }
    chosen = {f"--{name.replace('_', '-')}": value for name, value in vars(options).items() if name != "nj"}
    files |= {name: value for name, value in chosen.items() if isinstance(value, Path)}
    return stage_key(
        {
            "code": [code_digest(*CODE), torch.__version__],
            "features": features_digest(options.data, digests),
            **{name: digests.of(path) for name, path in files.items() if path.is_file()},
            **{name: value for name, value in chosen.items() if not isinstance(value, Path)},
            "--device": str(device),
        }
    )


def read_set(options: argparse.Namespace, trained: Trained) -> FeatureDataset:
    """The features of the data directory.

    Raises:
        InputError: they are not what the network takes.
    """
    data, features = options.data, trained.system.features
    require_features(data, features, trained.folder / CONFIG)
    dataset = FeatureDataset(select_utterances(data, min_frames=trained.network.encoder.subsampling), is_finite=True)
    if dataset.dim != features.dim:
        raise InputError(
            f"{data / 'feats.scp'}: features have {dataset.dim} dimensions, "
            f"the network of {trained.folder} takes {features.dim}"
        )
    require_scale(dataset, trained.network.feature_mean.cpu(), str(trained.folder / "model.safetensors"))
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
    digests = Digests(options.exp / contents.FILE, options.data / contents.FILE)
    key = inputs(options, trained, device, digests)
    digests.save()
    done = Done(out / ".done")
    if done.matches(key):
        logger.info("%s: up to date", out)
        return 0
    if options.out is None:
        require_own_set(out, options.data)
    if changed := changes(done, key):
        logger.info("%s: decoded again, changed: %s", out, ", ".join(changed))
    is_streamed = isinstance(setup.decoder, StreamingDecoder)
    dataset = read_set(options, trained)
    unknown = trained.tokenizer.unknown_in((entry.name, entry.text) for entry in dataset.entries)
    if unknown.unknown:
        logger.warning("%s: %s: no hypothesis has them right", options.data / "text", unknown)
    batches = BatchesOptions(max_frames=options.max_frames).build(dataset.lengths, shuffle=False).batches(0)
    began = time.monotonic()
    if options.nj > 1:
        decoding = decode_apart(options, device, read_set, batches)
    else:
        decoding = (one for indices in batches for one in setup.decode(dataset, indices))
    name = f"{set_name(options.data)} {mode.name}"
    progress = tqdm(decoding, total=len(dataset), unit="utt", disable=None, desc=name)
    results: list[Decoded] = []
    unread: dict[str, str] = {}
    for one in progress:
        if isinstance(one, Decoded):
            results.append(one)
        else:
            unread[one.utterance] = one.reason
            bad.require_few(unread, options.max_bad, options.data)
    results.sort(key=lambda one: one.utterance.encode())
    seconds = time.monotonic() - began
    audio = sum(one.seconds for one in results)
    place = options.data.resolve()
    facts = {
        **describe(trained, mode),
        "data": [str(place), os.path.relpath(place, out.resolve())],
        "streamed": is_streamed,
        "real_time_factor": seconds / audio,
        "audio_seconds": audio,
        "seconds": seconds,
        "precision": options.precision,
        "processes": options.nj,
        "left_out": len(unread),
        "search": setup.search.facts(),
    }
    Writer(trained, mode).write(out, results, facts, options.nbest, unread)
    done.write(key)
    for line in bad.said(out, unread):
        logger.warning(line)
    logger.info("%s: %d utterances, real-time factor %.4f", out, len(results), seconds / audio)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
