"""Spoken digits joined into utterances: 3 to 7 digits of one speaker, with pauses, as Kaldi data directories.

Reads FSDD's recordings `{digit}_{speaker}_{take}.wav` and writes OUT/train, OUT/dev and OUT/test, each with its audio
(wav/), wav.scp, text, utt2spk, spk2utt, utt2dur and words.ctm (the time of every word). The audio stays at 8 kHz.
"""

from __future__ import annotations

import argparse
import random
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from dualtk.bin.dualtk import run
from dualtk.data.kaldi import Utterance, write_data_directory
from dualtk.errors import InputError
from dualtk.files import Done, FolderKind, atomic_folder, digest, write_text

WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
# Takes 0 to 4 are the corpus's own test set.
TAKES = {"test": range(0, 5), "dev": range(5, 7), "train": range(7, 1000)}
DEV_ROUNDS = 4
SAMPLE_RATE = 8000


@dataclass(frozen=True)
class Recording:
    """One spoken digit."""

    path: Path
    digit: int
    speaker: str
    take: int


def recordings(folder: Path) -> list[Recording]:
    """All recordings of FSDD in `folder`, in the order of their names."""
    found = []
    for path in sorted(folder.glob("*.wav")):
        parts = path.stem.split("_")
        if len(parts) != 3 or not (parts[0].isdecimal() and parts[2].isdecimal() and int(parts[0]) < len(WORDS)):
            raise InputError(f"{path}: the name is not {{digit}}_{{speaker}}_{{take}}.wav")
        found.append(Recording(path, int(parts[0]), parts[1], int(parts[2])))
    if not found:
        raise InputError(f"{folder}: has no *.wav; give FSDD's folder of recordings with --fsdd")
    return found


def groups(
    pool: Sequence[Recording], count: int | None, rounds: int, generator: random.Random
) -> list[list[Recording]]:
    """Utterances of 3 to 7 recordings, one speaker each: `count` of them, or `rounds` times through the recordings.

    All recordings serve equally often: each round goes through them once, in a new order.
    """
    speakers = sorted({recording.speaker for recording in pool})
    made: list[list[Recording]] = []
    while rounds > 0 if count is None else len(made) < count:
        rounds -= 1
        for speaker in speakers:
            left = [recording for recording in pool if recording.speaker == speaker]
            generator.shuffle(left)
            while left:
                rest = [len(left) - size for size in range(3, 8)]
                size = generator.choice([len(left) - size for size in rest if size == 0 or size >= 3] or [len(left)])
                made.append(left[:size])
                left = left[size:]
    return made[:count]


def join(
    group: Sequence[Recording], seed: str, noise_snr: float | None
) -> tuple[NDArray[np.float32], list[tuple[float, float, str]]]:
    """Samples of the recordings with pauses before, between and after, and (start, duration, word) in seconds.

    Pauses last 0.1 to 0.4 s before, 0.02 to 0.4 s between and 0.2 to 0.5 s after, and hold faint noise, never zeros.
    `noise_snr` adds white noise over all of it, this many dB below the mean power of the recordings.
    """
    generator = np.random.default_rng(zlib.crc32(seed.encode()))
    floor = 10 ** (generator.uniform(-75, -60) / 20)

    def pause(shortest: float, longest: float) -> NDArray[np.float64]:
        return floor * generator.standard_normal(int(generator.uniform(shortest, longest) * SAMPLE_RATE))

    pieces = [pause(0.1, 0.4)]
    words, spoken = [], []
    for index, recording in enumerate(group):
        if index:
            pieces.append(pause(0.02, 0.4))
        samples = read(recording.path)
        start = sum(map(len, pieces))
        words.append((start / SAMPLE_RATE, len(samples) / SAMPLE_RATE, WORDS[recording.digit]))
        pieces.append(samples)
        spoken.append(samples)
    pieces.append(pause(0.2, 0.5))
    whole = np.concatenate(pieces)
    if noise_snr is not None:
        level = np.sqrt(np.mean(np.square(np.concatenate(spoken)))) * 10 ** (-noise_snr / 20)
        whole = np.clip(whole + level * generator.standard_normal(len(whole)), -0.999, 0.999)
    return whole.astype(np.float32), words


def read(path: Path) -> NDArray[np.float64]:
    """The samples of one recording."""
    try:
        samples, rate = soundfile.read(path)
    except soundfile.LibsndfileError as error:
        raise InputError(f"{path}: cannot be read as audio: {error}") from error
    if rate != SAMPLE_RATE or samples.ndim != 1 or not len(samples):
        raise InputError(f"{path}: expected mono speech at {SAMPLE_RATE} Hz, found {samples.shape} at {rate} Hz")
    return samples


MADE = FolderKind(
    "data directory of this recipe",
    ".done",
    frozenset({".done", "wav", "words.ctm", "wav.scp", "text", "utt2spk", "spk2utt", "utt2dur"}),
)


def write_set(
    directory: Path, name: str, made: Sequence[Sequence[Recording]], seed: int, noise_snr: float | None
) -> None:
    """Write the audio and tables of one set into `directory`, which the caller puts in place."""
    (directory / "wav").mkdir(parents=True)
    utterances, times = [], {}
    for index, group in enumerate(made):
        utterance = f"{group[0].speaker}-{name}-{index:05d}"
        samples, words = join(group, f"{seed} {utterance}", noise_snr)
        soundfile.write(directory / "wav" / f"{utterance}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
        text = " ".join(word for _, _, word in words)
        duration = len(samples) / SAMPLE_RATE
        utterances.append(Utterance(utterance, group[0].speaker, f"wav/{utterance}.wav", text, duration))
        times[utterance] = "".join(f"{utterance} 1 {start:.3f} {length:.3f} {word}\n" for start, length, word in words)
    write_data_directory(directory, utterances)
    write_text(directory / "words.ctm", "".join(times[utterance] for utterance in sorted(times)))


def prepare(
    folder: Path, out: Path, utterances: int, test_rounds: int, noise_snr: float | None, seed: int
) -> Iterator[str]:
    """Write the sets that are missing or made from something else; yields a line on each."""
    all_rounds = {"train": 0, "dev": DEV_ROUNDS, "test": test_rounds}
    found = recordings(folder)
    for name, takes in TAKES.items():
        pool = [recording for recording in found if recording.take in takes]
        if not pool:
            raise InputError(f"{folder}: has no takes of the {name} set")
        count = utterances if name == "train" else None
        rounds = all_rounds[name]
        key = digest([Path(__file__), *(recording.path for recording in pool)], [count, rounds, noise_snr, seed])
        done = Done(out / name / ".done")
        if done.matches(key):
            yield f"{out / name}: nothing to do"
            continue
        made = groups(pool, count, rounds, random.Random(f"{seed} {name}"))
        with atomic_folder(out / name, MADE, durable=False) as temporary:
            write_set(temporary, name, made, seed, noise_snr)
            Done(temporary / ".done").write(key)
        yield f"{out / name}: {len(made)} utterances, {sum(map(len, made))} digits, {len(pool)} recordings"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=Path, help="FSDD's folder of recordings")
    parser.add_argument("out", type=Path, help="folder for the data directories train, dev and test")
    parser.add_argument("--utterances", type=int, default=2400, help="utterances of the training set (default: 2400)")
    parser.add_argument(
        "--test-rounds", type=int, default=4, help="times that every recording of the test set occurs (default: 4)"
    )
    parser.add_argument("--noise-snr", type=float, help="add white noise this many dB below the speech (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="seed of orders and pauses (default: 0)")
    options = parser.parse_args(argv)
    if min(options.utterances, options.test_rounds) < 1:
        raise InputError("--utterances and --test-rounds must be greater than 0")
    described = options.utterances, options.test_rounds, options.noise_snr, options.seed
    for line in prepare(options.recordings, options.out, *described):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
