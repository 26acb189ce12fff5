"""Write a synthetic corpus in the layout of LibriSpeech, with exact word times, by espeak-ng. No download, no root.

    OUT/LibriSpeech/<set>/<speaker>/<chapter>/<speaker>-<chapter>-<nnnn>.flac, and <speaker>-<chapter>.trans.txt
    OUT/LibriSpeech/<set>.ctm       utterance, channel, start, duration (seconds), WORD

The sets are train-synthetic, dev-synthetic and test-synthetic. Equal options give equal bytes, whatever --nj is. A
speaker appears whole or not at all, so a killed run is continued by the same command.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import shutil
import signal
import sys
import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import espeak
import grammar
import numpy as np
import sound
import soundfile
import torch
import voices

from dualtk.bin.dualtk import run
from dualtk.errors import InputError
from dualtk.files import Done, atomic_folder, digest, write_text
from dualtk.locks import NAME, locked

UTTERANCES_PER_SPEAKER = {"train": 6, "dev": 5, "test": 5}
FIRST_SPEAKER = {"train": 10001, "dev": 20001, "test": 30001}
# A line fitted to the corpus: silences and the lengthened last word, and the seconds of a word at a word a minute.
SECONDS_PER_SENTENCE, SECONDS_PER_WORD = 0.85, 41.0


@dataclass(frozen=True)
class Chapter:
    """What one speaker says: the unit of work, and of resuming."""

    folder: Path
    speaker: voices.Speaker
    sentences: list[str]
    noise_snr: float | None
    seed: str

    @property
    def name(self) -> str:
        """`<speaker>-<chapter>`, where every utterance id begins."""
        return f"{self.speaker.number}-{self.speaker.number}1"


def write_chapter(chapter: Chapter) -> float:
    """Write the folder of `chapter`'s speaker, whole or not at all. Returns its seconds of audio."""
    torch.set_num_threads(1)
    synthesiser = espeak.Synthesiser()
    moods = random.Random(chapter.seed)
    noise = np.random.default_rng(zlib.crc32(chapter.seed.encode()))
    transcripts, times, seconds = [], [], 0.0
    with atomic_folder(chapter.folder, durable=False) as temporary:
        folder = temporary / chapter.name.split("-")[1]
        folder.mkdir(parents=True)
        for index, sentence in enumerate(chapter.sentences):
            utterance = f"{chapter.name}-{index:04d}"
            speech = synthesiser.speak(sentence, voices.mood(chapter.speaker.voice, moods))
            samples, words = sound.record(speech, chapter.noise_snr, noise)
            check_times(utterance, words, len(samples))
            soundfile.write(folder / f"{utterance}.flac", samples, sound.SAMPLE_RATE, subtype="PCM_16")
            transcripts.append(f"{utterance} {sentence.upper()}\n")
            times += [ctm_line(utterance, word) for word in words]
            seconds += len(samples) / sound.SAMPLE_RATE
        write_text(folder / f"{chapter.name}.ctm", "".join(times), durable=False)
        write_text(folder / f"{chapter.name}.trans.txt", "".join(transcripts), durable=False)
    return seconds


def ctm_line(utterance: str, word: espeak.Word) -> str:
    """One word as NIST's CTM has it: utterance, channel, start and duration in seconds, word."""
    start, duration = word.start / sound.SAMPLE_RATE, (word.end - word.start) / sound.SAMPLE_RATE
    return f"{utterance} 1 {start:.3f} {duration:.3f} {word.text.upper()}\n"


def check_times(utterance: str, words: Sequence[espeak.Word], num_samples: int) -> None:
    """Words must follow one another, each longer than nothing, all within the audio."""
    edges = [0, *(edge for word in words for edge in (word.start, word.end)), num_samples]
    if edges != sorted(edges) or any(word.end <= word.start for word in words):
        raise InputError(f"{utterance}: espeak-ng gave word times out of order: {words}")


def expected_seconds(sentence: str, rate: float) -> float:
    """About how long a sentence takes at `rate` words per minute; enough to plan the hours of a set."""
    return SECONDS_PER_SENTENCE + SECONDS_PER_WORD / rate * len(sentence.split())


def plan(out: Path, options: argparse.Namespace) -> dict[str, list[Chapter]]:
    """Who says what in each set.

    The sets draw their sentences independently of each other; a sentence that dev or test already has is drawn again
    for training, so none is in both. Fragments are for training only: a transducer finds its alignments on them long
    before it does on sentences.
    """
    rules = grammar.parse()
    held_out: set[str] = set()
    chapters: dict[str, list[Chapter]] = {}
    for role in ("test", "dev", "train"):
        generator = random.Random(f"{options.seed} {role}")
        rate = 165 * options.rate_scale
        wanted = {"test": options.test, "dev": options.dev}.get(role)
        seconds, taken = options.hours * 3600 * (1 - options.fragments), set(held_out)
        sentences: list[str] = []
        while len(sentences) < wanted if wanted is not None else seconds > 0:
            sentences.append(grammar.sentence(rules, generator, taken))
            taken.add(sentences[-1])
            seconds -= expected_seconds(sentences[-1], rate)
        if role == "train":
            sentences += fragments(rules, options.hours * 3600 * options.fragments, rate, generator)
        else:
            held_out |= taken
        count = -(-len(sentences) // UTTERANCES_PER_SPEAKER[role])
        people = voices.speakers(role, count, FIRST_SPEAKER[role], options.rate_scale, generator)
        chapters[role] = [
            Chapter(
                out / "LibriSpeech" / f"{role}-synthetic" / str(person.number),
                person,
                sentences[index :: len(people)],
                options.noise_snr,
                f"{options.seed} {role} {person.number}",
            )
            for index, person in enumerate(people)
        ]
    return chapters


def fragments(rules: grammar.Rules, seconds: float, rate: float, generator: random.Random) -> list[str]:
    """Fragments of about `seconds` in all, in random order; they may repeat."""
    found: list[str] = []
    while seconds > 0:
        found.append(grammar.fragment(rules, generator))
        seconds -= expected_seconds(found[-1], rate)
    return found


def synthesise(chapters: Sequence[Chapter], num_jobs: int) -> None:
    """Write those chapters that are not there yet, each in a process of its own (see espeak.py)."""
    missing = [chapter for chapter in chapters if not chapter.folder.exists()]
    if missing:
        context, ignore = multiprocessing.get_context("fork"), (signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for this one
        with context.Pool(num_jobs, signal.signal, ignore, maxtasksperchild=1) as pool:
            for _ in pool.imap_unordered(write_chapter, missing, chunksize=1):
                pass


def make_corpus(out: Path, options: argparse.Namespace) -> None:
    """Write the whole corpus to `out`, or what is missing of it."""
    with locked(out / NAME, out):
        complete_corpus(out, options)


def complete_corpus(out: Path, options: argparse.Namespace) -> None:
    """The same, while nobody else writes there."""
    done, started = Done(out / ".done"), Done(out / ".started")
    choices = {name: value for name, value in vars(options).items() if name not in ("out", "nj")}
    key = digest(sorted(Path(__file__).parent.glob("*.py")), choices)
    if done.matches(key):
        print(f"{out}: nothing to do, the corpus is complete")
        return
    done.clear()
    sets = plan(out, options)
    if not started.matches(key):
        if (out / "LibriSpeech").exists() and not started.path.exists():
            raise InputError(f"{out / 'LibriSpeech'}: exists and was not made by this command; choose another folder")
        shutil.rmtree(out / "LibriSpeech", ignore_errors=True)
        started.write(key)
    begin = time.monotonic()
    synthesise([chapter for chapters in sets.values() for chapter in chapters], options.nj)
    for chapters in sets.values():
        folder = chapters[0].folder.parent
        times = "".join(path.read_text() for path in sorted(folder.glob("*/*/*.ctm")))
        write_text(folder.with_suffix(".ctm"), times)
        report(folder, chapters)
    done.write(key)
    print(f"{out}: complete after {time.monotonic() - begin:.0f} s")


def report(folder: Path, chapters: Sequence[Chapter]) -> None:
    """One line on a finished set."""
    seconds = sum(soundfile.info(path).duration for path in folder.glob("*/*/*.flac"))
    sentences = [sentence for chapter in chapters for sentence in chapter.sentences]
    words = {word for sentence in sentences for word in sentence.split()}
    print(
        f"{folder.name}: {seconds / 3600:.2f} h, {len(sentences)} utterances ({len(set(sentences))} different), "
        f"{len(chapters)} speakers, {len({c.speaker.voice.variant for c in chapters})} voices, {len(words)} words"
    )


def parser() -> argparse.ArgumentParser:
    """The options, each with its default and unit."""
    described = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = described.add_argument
    add("out", type=Path, help="folder to write the corpus to")
    add("--hours", type=float, default=1.5, help="hours of training speech, within a few per cent (default: 1.5)")
    add("--fragments", type=float, default=0.35, help="share of it in utterances of 1-3 words (default: 0.35)")
    add("--dev", type=int, default=120, help="utterances of dev-synthetic (default: 120)")
    add("--test", type=int, default=300, help="utterances of test-synthetic (default: 300)")
    add("--seed", type=int, default=0, help="seed of sentences, voices and noise (default: 0)")
    add("--noise-snr", type=float, help="add pink or white noise this many dB below the speech (default: none)")
    add("--rate-scale", type=float, default=1.0, help="multiply every speaker's words per minute (default: 1.0)")
    add("--nj", type=int, default=2, help="processes (default: 2)")
    return described


def main(argv: Sequence[str] | None = None) -> int:
    """The command line of this file."""
    options = parser().parse_args(argv)
    if options.hours <= 0 or min(options.dev, options.test, options.nj) < 1:
        raise InputError("--hours, --dev, --test and --nj must be greater than 0")
    espeak.loader()
    make_corpus(options.out, options)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
