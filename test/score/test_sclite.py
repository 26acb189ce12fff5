"""Our reports against the real sclite where it is installed, and against its saved output everywhere."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dualtk.score.sclite_detail import detail_text, result_text
from dualtk.score.wer import ScoredUtterance, score_all
from dualtk.trn import trn_text

GOLDEN = Path(__file__).parent / "golden"
SPOKEN = "the THE cat Cat it's its IT'S don't a I i'm sat mat on extraordinarily o'clock ok SAINT st"
WORDS = SPOKEN.split()
NUM_FILES = 240
GOLDEN_SEEDS = (0, 1, 2, 3, 17)  # the last has lines that wrap


def random_words(generator: random.Random, longest: int) -> list[str]:
    return [generator.choice(WORDS) for _ in range(generator.randint(0, longest))]


def corrupted(generator: random.Random, words: list[str]) -> list[str]:
    """Insertions, deletions, substitutions, changes of case; sometimes nothing is left."""
    if generator.random() < 0.1:
        return []
    out: list[str] = []
    for word in words:
        draw = generator.random()
        if draw < 0.12:
            continue
        out.append(generator.choice(WORDS) if draw < 0.3 else word.swapcase() if draw < 0.4 else word)
        if generator.random() < 0.12:
            out.append(generator.choice(WORDS))
    return out


def random_corpus(seed: int) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    generator = random.Random(seed)
    refs, hyps, speakers = {}, {}, {}
    longest = generator.choice([3, 12, 12, 12, 300])
    for number in range(generator.randint(1, 9)):
        speaker = generator.choice(["f1", "m2", "a-long-speaker-name", "S4"])
        utt = f"{speaker}-{generator.choice(['A', 'b'])}{number:04d}"
        words = random_words(generator, longest)
        # a speaker without any word is the subject of another test
        refs[utt] = " ".join(words if any(known == speaker for known in speakers.values()) else [*words, "mat"])
        hyps[utt] = " ".join(corrupted(generator, words))
        speakers[utt] = speaker
    return refs, hyps, speakers


def sclite(
    folder: Path, refs: dict[str, str], hyps: dict[str, str], speakers: dict[str, str], out: str, *options: str
) -> str:
    (folder / "ref.trn").write_text(trn_text(refs, speakers, sorted(refs)))
    (folder / "hyp.trn").write_text(trn_text(hyps, speakers, sorted(refs)))
    command = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", "hyp.trn", "trn", "-i", "rm", "-o", out, "stdout"]
    return subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True, text=True).stdout


def scored(refs: dict[str, str], hyps: dict[str, str], speakers: dict[str, str]) -> list[ScoredUtterance]:
    return score_all(refs, hyps, speakers)


needs_sclite = pytest.mark.skipif(shutil.which("sctk") is None, reason="sctk (Debian package) is not installed")


@pytest.mark.slow
@needs_sclite
@pytest.mark.parametrize("first", range(0, NUM_FILES, 40))
def test_line_by_line_equal_to_sclite_on_random_files(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 40):
        corpus = random_corpus(seed)
        assert result_text("hyp.trn", scored(*corpus)).splitlines() == sclite(tmp_path, *corpus, "all").splitlines()
        assert detail_text("hyp.trn", scored(*corpus)).splitlines() == sclite(tmp_path, *corpus, "dtl").splitlines()


@needs_sclite
def test_speaker_without_reference_words(tmp_path: Path) -> None:
    refs = {"f1-1": "a b", "f1-2": "", "m2-1": "", "m3-1": "c", "m3-2": "c d"}
    hyps = {"f1-1": "a", "f1-2": "b c", "m2-1": "x y", "m3-1": "c", "m3-2": "d"}
    corpus = refs, hyps, {utt: utt[:2] for utt in refs}
    assert result_text("hyp.trn", scored(*corpus)) == sclite(tmp_path, *corpus, "all")


@needs_sclite
def test_no_reference_words_at_all(tmp_path: Path) -> None:
    corpus = {"f1-1": ""}, {"f1-1": "a b"}, {"f1-1": "f1"}
    assert result_text("hyp.trn", scored(*corpus)) == sclite(tmp_path, *corpus, "all")
    assert detail_text("hyp.trn", scored(*corpus)) == sclite(tmp_path, *corpus, "dtl")


@pytest.mark.parametrize("seed", GOLDEN_SEEDS)
def test_equal_to_saved_output_of_sclite(seed: int) -> None:
    corpus = random_corpus(seed)
    assert result_text("hyp.trn", scored(*corpus)) == (GOLDEN / f"all{seed}.txt").read_text()
    assert detail_text("hyp.trn", scored(*corpus)) == (GOLDEN / f"dtl{seed}.txt").read_text()


@needs_sclite
@pytest.mark.parametrize(
    "title", ["h.trn", "a-name-so-long-that-the-whole-table-has-to-be-stretched-a-good-deal-for-it.trn"]
)
def test_title_of_any_length(tmp_path: Path, title: str) -> None:
    corpus = random_corpus(7)
    sclite(tmp_path, *corpus, "all")
    (tmp_path / "hyp.trn").rename(tmp_path / title)
    command = ["sctk", "sclite", "-r", "ref.trn", "trn", "-h", title, "trn", "-i", "rm", "-o", "all", "stdout"]
    printed = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert result_text(title, scored(*corpus)) == printed


@pytest.mark.parametrize("words", ["{} a b", "a {} b", "a b {}"])
@pytest.mark.parametrize("length", [990, 1000, 5000])
def test_a_word_longer_than_a_line(words: str, length: int) -> None:
    """An untrained network writes such words."""
    word = "st" * (length // 2)
    text = result_text("hyp.trn", scored({"f1-1": "a b"}, {"f1-1": words.format(word)}, {"f1-1": "f1"}))
    lines = [line.removeprefix(">> ").split() for line in text.splitlines()]
    printed = [word for line in lines if line[:1] == ["HYP:"] for word in line[1:] if set(word) != {"*"}]
    assert printed == [word.upper() if word.startswith("st") else word for word in words.format(word).split()]


MARKED_WORDS = ["a", "b", "c", "d", "the", "cat"]


def marked_words(generator: random.Random, number: int, depth: int = 0) -> list[str]:
    """Words, some with an asterisk, in parentheses, or as alternatives of which some hold others."""
    out: list[str] = []
    for _ in range(number):
        draw, word = generator.random(), generator.choice(MARKED_WORDS)
        if draw < 0.12 and depth < 2:
            groups = [
                marked_words(generator, generator.randint(1, 3), depth + 1) if generator.random() < 0.8 else ["@"]
                for _ in range(generator.randint(1, 3))
            ]
            space = generator.choice(["", " "])
            out.append(f"{{{space}{f'{space}/{space}'.join(' '.join(group) for group in groups)}{space}}}")
        else:
            out.append(f"({word})" if draw < 0.22 else "@" if draw < 0.27 else f"{word}*" if draw < 0.3 else word)
    return out


def marked_corpus(seed: int) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    generator = random.Random(seed)
    longest = generator.choice([4, 8, 20])
    names = [f"s1-{number}" for number in range(8)]
    refs = {name: " ".join([*marked_words(generator, generator.randint(1, longest)), "z"]) for name in names}
    hyps = {}
    for name, text in refs.items():
        words = [word.strip("()*") for word in re.sub("[{}/@]", " ", text).split()]
        kept = [generator.choice(MARKED_WORDS) if generator.random() < 0.2 else word for word in words]
        kept = [word for word in kept if generator.random() > 0.2]
        hyps[name] = " ".join(f"({word})" if generator.random() < 0.05 else word for word in kept)
    return refs, hyps, dict.fromkeys(names, "s1")


@pytest.mark.slow
@needs_sclite
@pytest.mark.parametrize("first", range(0, 120, 40))
def test_marks_score_as_in_sclite(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + 40):
        corpus = marked_corpus(seed)
        assert result_text("hyp.trn", scored(*corpus)) == sclite(tmp_path, *corpus, "all", "-D")
        assert detail_text("hyp.trn", scored(*corpus)) == sclite(tmp_path, *corpus, "dtl", "-D")
