"""The synthetic corpus: varied, exactly timed, reproducible, and safe to interrupt."""

from __future__ import annotations

import importlib
import random
import re
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile

from .conftest import Run, contents

pytestmark = pytest.mark.slow

LOCAL = Path(__file__).resolve().parents[2] / "egs/synthetic/asr1/local"
MAKE = "egs/synthetic/asr1/local/make_corpus.py"
SMALL = ("--hours", "0.02", "--dev", "5", "--test", "6")


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The recipe's own modules by name."""
    monkeypatch.syspath_prepend(str(LOCAL))
    return {name: importlib.import_module(name) for name in ("grammar", "voices", "espeak", "sound")}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus, in a folder with spaces in its name."""
    folder = tmp_path_factory.mktemp("a folder with spaces") / "my corpus"
    subprocess.run([sys.executable, LOCAL / "make_corpus.py", folder, *SMALL, "--nj", "2"], check=True)
    return folder


def test_the_grammar_is_varied(local: dict[str, ModuleType]) -> None:
    grammar = local["grammar"]
    rules = grammar.parse()
    generator = random.Random(0)
    sentences = [grammar.sentence(rules, generator) for _ in range(2000)]
    words = {word for sentence in sentences for word in sentence.split()}
    assert 150 <= len(words) <= len(grammar.vocabulary(rules))
    assert len(set(sentences)) > 1500
    assert all(2 <= len(sentence.split()) <= 12 for sentence in sentences)
    assert not {"to", "too", "for", "read", "right", "our", "week", "sun"} & words, "a homophone cannot be told apart"


def test_voices_of_dev_and_test_are_new(local: dict[str, ModuleType]) -> None:
    voices = local["voices"]
    lists = [voices.VARIANTS[role] for role in ("train", "dev", "test")]
    assert len(set().union(*lists)) == sum(map(len, lists))
    folder = Path(local["espeak"].loader().get_data_path()) / "voices" / "!v"

    def settings(variant: str) -> set[str]:
        lines = (line.split("//")[0].split() for line in (folder / variant).read_text(errors="replace").splitlines())
        return {
            " ".join(line) for line in lines if line and not line[0].startswith(("language", "name", "gender", "#"))
        }

    for new in (*voices.VARIANTS["test"], *voices.VARIANTS["dev"]):
        for known in voices.VARIANTS["train"]:
            shared = len(settings(new) & settings(known)) / max(len(settings(new)), 1)
            assert shared < 0.6, f"{new} is {known} under another name"


def test_the_sets_share_neither_sentences_nor_speakers(corpus: Path) -> None:
    sentences, speakers = defaultdict(set), defaultdict(set)
    for path in corpus.glob("LibriSpeech/*/*/*/*.trans.txt"):
        role = path.parts[-4]
        speakers[role].add(path.parts[-3])
        sentences[role] |= {line.split(" ", 1)[1] for line in path.read_text().splitlines()}
    assert set(sentences) == {"train-synthetic", "dev-synthetic", "test-synthetic"}
    for one, other in (("train", "dev"), ("train", "test")):
        assert not sentences[f"{one}-synthetic"] & sentences[f"{other}-synthetic"]
        assert not speakers[f"{one}-synthetic"] & speakers[f"{other}-synthetic"]


def test_word_times_lie_where_the_speech_is(corpus: Path) -> None:
    for ctm in corpus.glob("LibriSpeech/*.ctm"):
        times = defaultdict(list)
        for line in ctm.read_text().splitlines():
            utterance, _, start, duration, word = line.split()
            times[utterance].append((float(start), float(start) + float(duration), word))
        transcripts = {}
        for path in ctm.with_suffix("").glob("*/*/*.trans.txt"):
            transcripts.update(line.split(" ", 1) for line in path.read_text().splitlines())
        assert {name: " ".join(word for *_, word in words) for name, words in times.items()} == transcripts
        for name, words in times.items():
            speaker, chapter, _ = name.split("-")
            samples, rate = soundfile.read(ctm.with_suffix("") / speaker / chapter / f"{name}.flac")
            assert rate == 16000
            assert np.any(samples[:800]), "digital silence"
            edges = [edge for start, end, _ in words for edge in (start, end)]
            assert edges == pytest.approx(sorted(edges), abs=0.0011)
            assert edges[-1] + 0.2 <= len(samples) / rate
            speech = samples[int(edges[0] * rate) : int(edges[-1] * rate)]
            around = np.concatenate([samples[: int((edges[0] - 0.002) * rate)], samples[-int(0.15 * rate) :]])
            assert np.std(around) < 0.05 * np.std(speech)


def test_bytes_do_not_depend_on_the_number_of_processes(corpus: Path, tmp_path: Path, call: Run) -> None:
    assert call(MAKE, tmp_path / "again", *SMALL, "--nj", 1).returncode == 0
    assert contents(tmp_path / "again") == contents(corpus)
    assert call(MAKE, tmp_path / "other", *SMALL, "--seed", 1).returncode == 0
    assert contents(tmp_path / "other") != contents(corpus)


def test_a_killed_run_is_continued(corpus: Path, tmp_path: Path, call: Run) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, LOCAL / "make_corpus.py", out, *SMALL, "--nj", "1"])
    while process.poll() is None and not list(out.glob("LibriSpeech/*/3*")):
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (out / ".done").exists()
    done = call(MAKE, out, *SMALL)
    assert done.returncode == 0
    assert re.fullmatch(rf"{re.escape(str(out))}: the last run there was killed: .*; going on\n", done.stderr)
    assert contents(out) == contents(corpus)
    assert not list(out.rglob(".*.part"))
    assert "nothing to do" in call(MAKE, out, *SMALL).stdout


def test_other_options_replace_the_corpus(corpus: Path, tmp_path: Path, call: Run) -> None:
    out = tmp_path / "twice"
    assert call(MAKE, out, *SMALL, "--seed", 3, "--rate-scale", 1.3).returncode == 0
    assert call(MAKE, out, *SMALL).returncode == 0
    assert contents(out) == contents(corpus)


def test_a_corpus_of_somebody_else_is_not_touched(tmp_path: Path, call: Run) -> None:
    theirs = tmp_path / "LibriSpeech" / "dev-clean" / "README"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("mine")
    done = call(MAKE, tmp_path, *SMALL)
    assert done.returncode == 2
    assert done.stderr.startswith("dualtk: error: ")
    assert "was not made by this command" in done.stderr
    assert contents(tmp_path) == {"LibriSpeech/dev-clean/README": b"mine"}


@pytest.mark.parametrize("option", [("--hours", 0), ("--dev", 0), ("--nj", 0)])
def test_options_out_of_range_are_refused(option: tuple[str, int], tmp_path: Path, call: Run) -> None:
    done = call(MAKE, tmp_path, *option)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_noise_has_the_ratio_asked_for(local: dict[str, ModuleType]) -> None:
    espeak, sound = local["espeak"], local["sound"]
    tone = np.sin(np.arange(22050) * 0.1).astype(np.float32)
    speech = espeak.Speech(tone, 22050, [espeak.Word("word", 0, 22050)])
    for seed in range(4):
        clean, words = sound.record(speech, None, np.random.default_rng(seed))
        noisy, _ = sound.record(speech, 10.0, np.random.default_rng(seed))
        part = slice(words[0].start, words[0].end)
        ratio = 20 * np.log10(np.std(clean[part]) / np.std(noisy - clean))
        assert ratio == pytest.approx(10.0, abs=0.3)
