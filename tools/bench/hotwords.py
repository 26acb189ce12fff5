"""What hotwords do to words that training never heard, and what they cost.

    python tools/bench/hotwords.py EXP WORK [--data DIR] [--sentences 200] [--modes streaming full]
        [--beams 1 4] [--scores 1 2 3] [--rounds 5] [--only errors cost]

EXP was trained by egs/synthetic/asr1. Its grammar knows none of the 20 words below; sentences of the same grammar with
these in the place of its names, towns and goods are synthesised by the recipe's voices of the test set into WORK, where
they stay. Recall is the share of their occurrences that are recognised, aligned with the reference; false is a hotword
in a hypothesis where the reference has another word or none. DIR is a test set without any of them (test_synthetic).
1,000 hotwords are the 20 and 980 words of random syllables.

The cost is CPU seconds of one thread for a stream of all rare sentences in pieces of 160 ms, without hotwords and with
1,000 in turns, each the least of --rounds: what else the machine does only adds. The reward there is the first score.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "egs/synthetic/asr1/local")]

import grammar  # noqa: E402
import make_corpus  # noqa: E402
import voices  # noqa: E402

import dualtk  # noqa: E402
from dualtk.data.audio import read_audio  # noqa: E402
from dualtk.data.kaldi import AudioSource, read_audio_sources  # noqa: E402
from dualtk.data.resample import resample  # noqa: E402
from dualtk.files import digest  # noqa: E402
from dualtk.score.align import align  # noqa: E402
from dualtk.search.options import SearchOptions  # noqa: E402
from dualtk.tables import read_table  # noqa: E402

RARE = {
    "name": ["gideon", "ottoline", "gilda", "winston", "wanda", "rufus", "ingrid", "felix", "olga", "hamish"],
    "city": ["lisbon", "prague", "vienna", "dublin", "cairo"],
    "goods": ["carrots", "lemons", "pickles", "mushrooms", "walnuts"],
}
WORDS = [word for words in RARE.values() for word in words]
MANY = 1000
PIECE_SECONDS = 0.16
RATE = 16000


@dataclass(frozen=True)
class Utterance:
    """Audio (N,) at 16 kHz, and what is said."""

    samples: Tensor
    text: list[str]


def sentences(count: int) -> list[str]:
    """Of the recipe's grammar, each with a rare word, all of which are about equally often."""
    rules, generator = grammar.parse(), random.Random("hotwords")
    found: list[str] = []
    for word in itertools.cycle(WORDS):
        if len(found) == count:
            return found
        rule = next(name for name, words in RARE.items() if word in words)
        special = {**rules, rule: [word]}
        taken = set(found)
        while word not in (text := grammar.sentence(special, generator, taken)).split():
            taken.add(text)
        found.append(text)
    raise AssertionError


def synthesise(work: Path, count: int) -> list[Utterance]:
    """The rare sentences, spoken by voices of the test set; read from `work` where they are there."""
    texts = sentences(count)
    folder = work / f"rare-{digest([], texts)[:8]}"
    people = voices.speakers("test", -(-count // 5), 40001, 1.0, random.Random("hotword speakers"))
    chapters = [
        make_corpus.Chapter(
            folder / str(person.number),
            person,
            texts[index :: len(people)],
            None,
            f"rare {person.number}",
        )
        for index, person in enumerate(people)
    ]
    make_corpus.synthesise(chapters, 1)
    found = []
    for chapter in chapters:
        for path in sorted(chapter.folder.glob("*/*.trans.txt")):
            for name, text in read_table(path).items():
                found.append(utterance(AudioSource(path.with_name(f"{name}.flac")), text))
    return found


def utterance(source: AudioSource, text: str) -> Utterance:
    """Audio of a file or a pipe."""
    samples, rate = read_audio(source)
    return Utterance(resample(samples, rate, RATE), text.lower().split())


def plain_set(data: Path) -> list[Utterance]:
    """A set without rare words."""
    texts = read_table(data / "text")
    found = [utterance(source, texts[name]) for name, source in read_audio_sources(data).items()]
    assert not {word for one in found for word in one.text} & set(WORDS), f"{data}: has rare words"
    return found


def hotword_lines(many: bool) -> list[str]:
    """The rare words, alone or among others of random syllables."""
    generator = random.Random("syllables")
    syllables = [consonant + vowel for consonant in "BCDFGHKLMNPRSTVW" for vowel in "AEIOU"]
    lines = dict.fromkeys(word.upper() for word in WORDS)
    while many and len(lines) < MANY:
        lines["".join(generator.choices(syllables, k=generator.randint(2, 4)))] = None
    return list(lines)


def write_hotwords(work: Path, many: bool) -> Path:
    """A file of them."""
    path = work / f"hotwords{MANY if many else len(WORDS)}.txt"
    path.write_text("".join(f"{line}\n" for line in hotword_lines(many)), encoding="utf-8")
    return path


@dataclass
class Tally:
    """What was found in a set: rare words said and recognised, hotwords that were not said, word errors."""

    said: int = 0
    recognised: int = 0
    false: int = 0
    words: int = 0
    errors: int = 0

    def add(self, reference: Sequence[str], hypothesis: Sequence[str], hotwords: set[str]) -> None:
        """An utterance."""
        for pair in align(list(reference), list(hypothesis)):
            self.said += pair.ref in WORDS
            self.recognised += pair.ref in WORDS and pair.ref == pair.hyp
            self.false += pair.hyp in hotwords and pair.ref != pair.hyp
            self.errors += pair.kind != "C"
        self.words += len(reference)


def tally(recognizer: dualtk.Recognizer, mode: str, spoken: Sequence[Utterance], hotwords: set[str]) -> Tally:
    """Of a set, in a mode."""
    found = Tally()
    for one in spoken:
        text = recognizer.transcribe(one.samples, mode, rate=RATE).text
        found.add(one.text, text.lower().split(), hotwords)
    return found


def error_rows(options: argparse.Namespace, rare: Sequence[Utterance], plain: Sequence[Utterance]) -> Iterator[str]:
    """The table of recall and false insertions."""
    header = ["mode", "beam", "hotwords", "reward", "recall of 20 rare words"]
    header += [f"{what}, {where}" for where in ("rare set", "test set") for what in ("false", "WER")]
    yield f"| {' | '.join(header)} |"
    yield f"|{' --- |' * len(header)}"
    lists: list[tuple[bool | None, float]] = [(None, 0.0)]
    lists += [(many, score) for many in (False, True) for score in options.scores]
    for beam, (many, score) in itertools.product(options.beams, lists):
        path = None if many is None else write_hotwords(options.work, many)
        search = SearchOptions(beam=beam, hotwords=path, hotwords_score=score)
        recognizer = dualtk.load(options.exp, search=search)
        wanted = {line.lower() for line in hotword_lines(bool(many))}
        for mode in options.modes:
            on_rare, on_plain = tally(recognizer, mode, rare, wanted), tally(recognizer, mode, plain, wanted)
            cells = [mode, str(beam), "-" if many is None else str(MANY if many else len(WORDS)), f"{score:g}"]
            cells += [f"{100 * on_rare.recognised / on_rare.said:.1f} % of {on_rare.said}", str(on_rare.false)]
            cells += [f"{100 * on_rare.errors / on_rare.words:.2f} %"]
            cells += [str(on_plain.false), f"{100 * on_plain.errors / on_plain.words:.2f} %"] if plain else ["-", "-"]
            yield f"| {' | '.join(cells)} |"


def seconds(recognizer: dualtk.Recognizer, pieces: Sequence[Tensor], hotwords: Sequence[str]) -> float:
    """CPU seconds of a stream."""
    stream = recognizer.stream("streaming", hotwords=hotwords)
    began = time.thread_time()
    for piece in pieces:
        stream.accept(piece, RATE)
    stream.finish()
    return time.thread_time() - began


def cost_rows(options: argparse.Namespace, rare: Sequence[Utterance]) -> Iterator[str]:
    """What hotwords cost a stream."""
    audio = torch.cat([one.samples for one in rare])
    pieces = torch.split(audio, round(PIECE_SECONDS * RATE))
    many = [f"{line} :{options.scores[0]:g}" for line in hotword_lines(True)]
    heard = f"{len(audio) / RATE:.0f} s of audio"
    yield f"| beam | CPU s without, {heard} | with {MANY} | more | opening a stream with them |"
    yield "| --- | --- | --- | --- | --- |"
    for beam in options.beams:
        recognizer = dualtk.load(options.exp, search=SearchOptions(beam=beam))
        seconds(recognizer, pieces[:50], many)  # compiles
        taken = [(seconds(recognizer, pieces, ()), seconds(recognizer, pieces, many)) for _ in range(options.rounds)]
        without, with_them = (min(one) for one in zip(*taken))
        began = time.thread_time()
        recognizer.stream("streaming", hotwords=many)
        opening = time.thread_time() - began
        more = 100 * (with_them / without - 1)
        yield f"| {beam} | {without:.2f} | {with_them:.2f} | {more:+.1f} % | {1000 * opening:.0f} ms |"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("exp", type=Path, metavar="EXP")
    parser.add_argument("work", type=Path, metavar="WORK")
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--sentences", type=int, default=200)
    parser.add_argument("--modes", nargs="+", default=["streaming", "full"])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--scores", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=["errors", "cost"], default=["errors", "cost"])
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    options.work.mkdir(parents=True, exist_ok=True)
    rare = synthesise(options.work, options.sentences)
    plain = [] if options.data is None else plain_set(options.data)
    for name, rows in (("errors", error_rows(options, rare, plain)), ("cost", cost_rows(options, rare))):
        for row in rows if name in options.only else ():
            print(row, flush=True)
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
