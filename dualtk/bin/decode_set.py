"""One data directory decoded in one mode of a trained network."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from pathlib import Path

import torch
from tqdm import tqdm

from dualtk.bin.decoded import FOLDER, Decoded, Writer
from dualtk.bin.decoding import decode_apart, set_up
from dualtk.config import FILE as CONFIG
from dualtk.data import bad, contents
from dualtk.data.contents import Digests, changes, code_digest, features_digest, stage_key
from dualtk.data.dataset import FeatureDataset
from dualtk.data.kaldi import set_name
from dualtk.data.kinds import FILE as FEATURE_OPTIONS
from dualtk.data.kinds import require_features
from dualtk.data.sampler import BatchesOptions
from dualtk.data.scale import require_scale
from dualtk.data.selection import select_utterances
from dualtk.errors import InputError
from dualtk.files import Done, require_replaceable
from dualtk.lm.folder import NETWORK, TOKENS
from dualtk.modes import Mode
from dualtk.streaming.session import StreamingDecoder
from dualtk.trained import Trained

logger = logging.getLogger("dualtk")

MODEL_FILES = (CONFIG, NETWORK, TOKENS)
CODE = ["bin/decode_set.py", "bin/decoded.py", "trained.py", "frames.py"]  # what decides the result, with the rooms
CODE += ["data", "encoders", "graphs", "lattice", "lm", "nn", "pruning", "search", "streaming", "transducer"]


def choose_device(options: argparse.Namespace) -> torch.device:
    """Where to compute; 8-bit arithmetic and onnxruntime are for a CPU.

    Raises:
        InputError: a device that is not there, or that has no such arithmetic.
    """
    on_cpu = {"--precision": (options.precision, "float32"), "--engine": (options.engine, "torch")}
    chosen = [f"{option} {value}" for option, (value, usual) in on_cpu.items() if value != usual]
    if chosen and options.device == "cuda":
        raise InputError(f"{chosen[0]}: computes on a CPU, not with --device cuda")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: there is none")
    is_free = not chosen and options.device != "cpu"
    return torch.device("cuda" if is_free and torch.cuda.is_available() else "cpu")


def default_output(options: argparse.Namespace) -> Path:
    """Of the same data, each mode, head, precision and engine has a folder of its own."""
    head = "" if options.head == "transducer" else f"-{options.head}"
    precision = "" if options.precision == "float32" else f"-{options.precision}"
    engine = "" if options.engine == "torch" else f"-{options.engine}"
    folder: Path = options.exp / "decode" / f"{set_name(options.data)}{head}{precision}{engine}-{options.mode}"
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
    for model in filter(None, (options.lm, options.source_lm)):  # a network is a folder
        files |= {f"{model.name}/{name}": model / name for name in MODEL_FILES}
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


def run_decoding(options: argparse.Namespace) -> int:
    """Decode by the options of `dualtk decode`; returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if options.nbest > options.beam:
        raise InputError(f"--nbest {options.nbest}: needs a --beam of at least {options.nbest}, not {options.beam}")
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
            bad.require_few(unread, options.max_bad, options.data, len(dataset))
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
        "engine": options.engine,
        "processes": options.nj,
        "left_out": len(unread),
        "search": setup.search.facts(),
    }
    Writer(trained, mode).write(out, results, facts, nbest=options.nbest, is_aligned=options.word_times, unread=unread)
    done.write(key)
    for line in bad.said(out, unread):
        logger.warning(line)
    logger.info("%s: %d utterances, real-time factor %.4f", out, len(results), seconds / audio)
    return 0
