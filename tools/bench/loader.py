"""How fast training data is read: stored features, audio and shards, beside webdataset's and lhotse's own loaders.

    pip install --no-deps --target LHOTSE lhotse intervaltree cytoolz toolz tabulate lilcom sortedcontainers audioread
    python tools/bench/loader.py DATA --work WORK --lhotse LHOTSE

DATA is a data directory with audio. In WORK its features and shards are made, once. Every row is an epoch by loaders of
one kind, each in a process of its own, `--workers` processes reading for it: cold, after the system has forgotten the
files, and warm, at once again. All give padded batches of at most `--max-frames` feature frames; what is made of audio
are dualtk's log-mel energies, for lhotse its own. Peers are given sequential shards of their own kind.
"""

from __future__ import annotations

import argparse
import gc
import io
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dualtk.data.batches import Example, collate  # noqa: E402
from dualtk.data.dataset import FeatureDataset  # noqa: E402
from dualtk.data.drawn import DrawnUtterances  # noqa: E402
from dualtk.data.fbank import FbankOptions, fbank  # noqa: E402
from dualtk.data.features import extract_set  # noqa: E402
from dualtk.data.kaldi import set_name  # noqa: E402
from dualtk.data.loader import batch_loader  # noqa: E402
from dualtk.data.sampler import BatchesOptions  # noqa: E402
from dualtk.data.selection import select_utterances  # noqa: E402
from dualtk.data.shards import write_shards  # noqa: E402
from dualtk.data.storage import Source, decoded  # noqa: E402
from dualtk.frames import FRAME_SECONDS  # noqa: E402

MELS = FbankOptions()
FORMS = ("float32", "two_bytes", "one_byte")
OURS = (*(f"features, {form}" for form in FORMS), "audio", "shards of features", "shards of audio")
PEERS = ("webdataset, shards of features", "webdataset, shards of audio", "lhotse, features", "lhotse, audio")
PEERS += ("lhotse Shar, audio",)


class Options:
    """The sections that a training set of audio reads."""

    features, waveform, joining = MELS, None, None

    def __init__(self, batches: BatchesOptions) -> None:
        self.batches = batches


def prepare(data: Path, work: Path, hours: float) -> None:
    """Features in every form, and shards of features and of audio."""
    for form in FORMS:
        options = MELS.model_copy(update={"storage": form})
        extract_set(data, work / form, options, cmvn=True, num_jobs=2)
    extract_set(data, work / "audio", MELS, source="audio", cmvn=True, num_jobs=2)
    name = set_name(data)
    sources: dict[str, tuple[Path, Source]] = {
        "shards of features": (work / "float32" / name, "stored"),
        "shards of audio": (work / "audio" / f"{name}_audio", "audio"),
    }
    for kind, (folder, source) in sources.items():
        write_shards(folder, work / kind, source, hours=hours, num_jobs=2)


def prepare_lhotse(data: Path, work: Path) -> None:
    """The same set as lhotse keeps it: cuts, features and shards of audio."""
    if (work / "lhotse/done").exists():
        return
    import lhotse

    recordings, supervisions, _ = lhotse.load_kaldi_data_dir(data, 16000)
    cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
    extractor = lhotse.Fbank(lhotse.FbankConfig(num_mel_bins=80))
    (work / "lhotse").mkdir(exist_ok=True)
    with_features = cuts.compute_and_store_features(
        extractor, str(work / "lhotse/feats"), storage_type=lhotse.LilcomChunkyWriter
    )
    with_features.to_file(work / "lhotse/features.jsonl.gz")
    cuts.to_file(work / "lhotse/audio.jsonl.gz")
    cuts.to_shar(work / "lhotse/shar", fields={"recording": "flac"}, shard_size=300)
    (work / "lhotse/done").touch()


def ours(kind: str, data: Path, work: Path, options: BatchesOptions) -> Iterable[Any]:
    """Batches of dualtk's loader."""
    name = set_name(data)
    if kind.startswith("features"):
        dataset = FeatureDataset(select_utterances(work / kind.partition(", ")[2] / name))
    elif kind == "shards of features":
        dataset = FeatureDataset(select_utterances(work / kind))
    else:
        folder = work / "audio" / f"{name}_audio" if kind == "audio" else work / kind
        dataset = FeatureDataset(select_utterances(folder, source="audio"), dim=MELS.dim)
        spoken = DrawnUtterances(dataset, Options(options), 4)
        return batch_loader(spoken, started(spoken, options), options.num_workers)
    return batch_loader(dataset, started(dataset, options), options.num_workers)


def started(dataset: Any, options: BatchesOptions) -> Any:
    """The batches of the first epoch."""
    return dataset.batches(options, seed=1, rank=0, world_size=1)


def of_webdataset(kind: str, work: Path, options: BatchesOptions) -> Iterable[Any]:
    """Batches of webdataset's loader, of as many utterances each as dualtk's have in the mean."""
    import soundfile
    import webdataset

    folder = work / kind.partition(", ")[2]
    lengths = [int(line.split()[1]) for line in (folder / "utt2num_frames").read_text().splitlines()]
    size = max(1, round(options.max_frames / (sum(lengths) / len(lengths))))

    def example(sample: dict[str, Any]) -> Example:
        if "ark" in sample:
            feats = torch.tensor(decoded(sample["ark"]))
        else:
            audio = next(sample[ending] for ending in ("flac", "wav", "opus", "ogg") if ending in sample)
            samples, rate = soundfile.read(io.BytesIO(audio), dtype="float32")
            feats = fbank(torch.from_numpy(samples), rate)
        return Example(sample["__key__"], feats, torch.zeros(1, dtype=torch.int64))

    shards = sorted(str(path) for path in folder.glob("*.tar"))
    dataset = webdataset.WebDataset(shards, shardshuffle=len(shards), empty_check=False).shuffle(1000).map(example)
    batched = dataset.batched(size, collation_fn=collate)
    return webdataset.WebLoader(batched, batch_size=None, num_workers=options.num_workers)


def of_lhotse(kind: str, work: Path, options: BatchesOptions) -> Iterable[Any]:
    """Batches of lhotse's loader."""
    import lhotse
    from lhotse.dataset import DynamicBucketingSampler, K2SpeechRecognitionDataset, OnTheFlyFeatures
    from lhotse.dataset.iterable_dataset import IterableDatasetWrapper

    seconds = options.max_frames * FRAME_SECONDS
    how = {"max_duration": seconds, "shuffle": True, "num_buckets": 30}
    strategy = OnTheFlyFeatures(lhotse.Fbank(lhotse.FbankConfig(num_mel_bins=80)))
    if "Shar" in kind:
        cuts = lhotse.CutSet.from_shar(in_dir=work / "lhotse/shar", shuffle_shards=True, split_for_dataloading=True)
        speech = K2SpeechRecognitionDataset(input_strategy=strategy)
        dataset = IterableDatasetWrapper(speech, DynamicBucketingSampler(cuts, rank=0, world_size=1, **how))
        return torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=options.num_workers)
    manifest = "features" if kind.endswith("features") else "audio"
    cuts = lhotse.load_manifest_lazy(work / f"lhotse/{manifest}.jsonl.gz")
    speech = K2SpeechRecognitionDataset(**({} if manifest == "features" else {"input_strategy": strategy}))
    sampler = DynamicBucketingSampler(cuts, rank=0, world_size=1, **how)
    return torch.utils.data.DataLoader(speech, sampler=sampler, batch_size=None, num_workers=options.num_workers)


def frames_of(batch: Any) -> int:
    """Feature frames of a batch, padding not counted."""
    if isinstance(batch, dict):
        return int(batch["supervisions"]["num_frames"].sum())
    return int(batch.feat_lengths.sum())


def measure(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """An epoch by one kind of loader."""
    batches = BatchesOptions(max_frames=options.max_frames, num_workers=options.workers, shard_window=2)
    start = time.perf_counter()
    if kind.startswith("webdataset"):
        loader = of_webdataset(kind, options.work, batches)
    elif kind.startswith("lhotse"):
        loader = of_lhotse(kind, options.work, batches)
    else:
        loader = ours(kind, options.data, options.work, batches)
    cpu, frames, count = os.times(), 0, 0
    for batch in loader:
        frames, count = frames + frames_of(batch), count + 1
    seconds = time.perf_counter() - start
    del loader
    gc.collect()  # the processes that read end with the loader, and their time is known then
    after = os.times()
    used = sum(after[:4]) - sum(cpu[:4])
    return {"hours": frames * FRAME_SECONDS / 3600, "batches": count, "seconds": seconds, "cpu": used}


def forget(*folders: Path) -> None:
    """Have the system forget what it holds of all files in some folders."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)


def audio_folders(data: Path) -> set[Path]:
    """Where the recordings are."""
    return {Path(line.split()[1]).parent for line in (data / "wav.scp").read_text().splitlines()}


def apart(kind: str, options: argparse.Namespace) -> dict[str, float]:
    """`measure` in a process of its own, a fork of this one: what was imported costs nothing."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sender.send(measure(kind, options)))
    process.start()
    sender.close()
    try:
        found: dict[str, float] = receiver.recv()
    finally:
        process.join()
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--lhotse", type=Path, help="a folder that lhotse is installed in; default: without it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-frames", type=int, default=20000)
    parser.add_argument("--hours", type=float, default=0.25, help="of a shard")
    parser.add_argument("--rounds", type=int, default=3, help="of all rows in turns; the best of each is printed")
    parser.add_argument("--only", choices=[*OURS, *PEERS], nargs="+", help="some rows; default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.lhotse:
        sys.path.append(str(options.lhotse))
    prepare(options.data, options.work, options.hours)
    kinds = options.only or [*OURS, *(kind for kind in PEERS if options.lhotse or not kind.startswith("lhotse"))]
    if options.lhotse:
        prepare_lhotse(options.data, options.work)
    rows: dict[str, dict[str, list[dict[str, float]]]] = {kind: {"cold": [], "warm": []} for kind in kinds}
    for _ in range(options.rounds):
        for kind in kinds:
            forget(options.work, *audio_folders(options.data))
            for state in ("cold", "warm"):
                rows[kind][state].append(apart(kind, options))
    print("| loader | hours | cold, hours of speech a second | warm | warm, CPU seconds an hour of speech |")
    print("| --- | --- | --- | --- | --- |")
    for kind, states in rows.items():
        rate = {state: max(one["hours"] / one["seconds"] for one in found) for state, found in states.items()}
        cpu = min(one["cpu"] / one["hours"] for one in states["warm"])
        hours = states["warm"][0]["hours"]
        print(f"| {kind} | {hours:.2f} | {rate['cold']:.2f} | {rate['warm']:.2f} | {cpu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
