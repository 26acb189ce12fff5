"""Tables, texts and numbers of which a part was lost, doubled or taken from elsewhere, with exit status 0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from faults_world import TEXTS

pytestmark = pytest.mark.slow


def table(world, text: str, name: str = "table.tsv", *more: object) -> tuple[object, ...]:
    """A command line that makes `out` of a table, whose audio is that of the corpus."""
    Path(name).write_text(text)
    columns = ("--audio", "path", "--text", "words", "--audio-dir", "corpus/audio")
    return ("prepare-table", name, *columns, "--out", "out", *more)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.tsv", "path\twords\twords\ns1-u0.wav\tONE\tTWO\n"),
        ("t.csv", "path,words,path\ns1-u0.wav,ONE,s1-u1.wav\n"),
        ("t.jsonl", '{"path": "s1-u0.wav", "words": "ONE", "words": "TWO"}\n'),
        ("t.json", '[{"path": "s1-u0.wav", "path": "s1-u1.wav", "words": "ONE"}]\n'),
    ],
)
def test_a_column_twice_is_named(world, name, text) -> None:
    line = world.refused(*table(world, text, name))
    assert name in line
    assert "twice" in line
    assert not Path("out").exists()


@pytest.mark.parametrize("elsewhere", [".", "corpus"])
def test_audio_of_a_table_is_not_found_elsewhere(world, elsewhere) -> None:
    shutil.copy("corpus/audio/s1-u0.wav", f"{elsewhere}/other.wav")
    assert "table.tsv:2: no audio file other.wav" in world.refused(*table(world, "path\twords\nother.wav\tONE\n"))


def test_two_speakers_do_not_become_one(world) -> None:
    text = "path\twords\tspk\ns1-u0.wav\tONE\ta 1\ns1-u1.wav\tTWO\ta_1\n"
    line = world.refused(*table(world, text, "table.tsv", "--speaker", "spk"))
    assert "table.tsv:3: the speakers 'a 1' and 'a_1' would both be written as a_1" in line


@pytest.mark.parametrize("seconds", ["0", "1e300", "16000000"])
def test_durations_of_a_table_are_seconds(world, seconds) -> None:
    text = f"path\twords\tlast\ns1-u0.wav\tONE\t{seconds}\n"
    assert "table.tsv:2: last is" in world.refused(*table(world, text, "table.tsv", "--duration", "last"))


@pytest.mark.parametrize("command", [["subset", "--hours", "1"], ["split", "--parts", "a=1,b=1"]])
@pytest.mark.parametrize("value", ["nan", "-5", "0", "inf", "x"])
def test_durations_that_are_none_are_named(world, command, value) -> None:
    lines = [line.split()[0] for line in Path("corpus/text").read_text().splitlines()]
    Path("corpus/utt2dur").write_text("".join(f"{name} {value if k == 1 else 1.0}\n" for k, name in enumerate(lines)))
    line = world.refused("data", command[0], "corpus", *command[1:], "--out", "out")
    assert "corpus/utt2dur: utterance s1-u1" in line


# Language models.

SMALL = ("--type", "lstm", "--set", "language_model.dim=8", "--device", "cpu")


@pytest.mark.parametrize("kind", ["ngram", "lstm"])
@pytest.mark.parametrize("letters", ["привет мир", "alpha bravo", "ΑΒΓ 123"])
def test_a_language_model_of_unknown_words_is_refused(world, kind, letters) -> None:
    Path("text").write_text(f"{letters}\n" * 30)
    more = SMALL if kind == "lstm" else ()
    line = world.refused("train-lm", "--tokens", "lang", "--plain", "text", "--out", "lm", *more)
    assert line.startswith("dualtk: error: text: 60 of 60 words")
    assert letters[0] in line
    assert not Path("lm").exists()


@pytest.mark.parametrize("least", [["1", "1", "2"], ["100"]])
def test_n_grams_that_are_too_rare_shorten_the_model(world, least) -> None:
    Path("text").write_text("ALPHA\n")
    result = world("train-lm", "--tokens", "lang", "--plain", "text", "--out", "lm", "--least", *least)
    assert result.status == 0, result
    world.make_features()
    assert world(*world.decode("--beam", 2, "--lm", "lm")).status == 0


@pytest.mark.parametrize("out", ["text", "corpus/text", "exp/config.yaml"])
def test_n_grams_replace_n_grams_alone(world, out) -> None:
    Path("text").write_text("ALPHA BRAVO\n" * 9)
    before = Path(out).read_text()
    assert f"{out}: exists" in world.refused("train-lm", "--tokens", "lang", "--plain", "text", "--out", out)
    assert Path(out).read_text() == before
    for _ in range(2):
        assert world("train-lm", "--tokens", "lang", "--plain", "text", "--out", "lm").status == 0


# Numbers and lists elsewhere.


@pytest.mark.parametrize("port", ["65536", "99999"])
def test_a_port_is_one(world, port) -> None:
    result = world("serve", "exp", "--port", port)
    assert result.status == 2
    assert port in result.err


def test_a_list_of_sums_that_is_empty_vouches_for_nothing(made) -> None:
    assert made("pack", "exp", "packed").status == 0
    Path("packed/SHA256SUMS").write_text("")
    line = made.refused("decode", "--exp", "packed", "--mode", "full", "--data", "made/corpus", "--out", "decoded")
    assert "packed/SHA256SUMS: is empty" in line
    assert json.loads(Path("packed/fbank.json").read_text())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--lm-weight", "0.5"), "lm_weight: is for lm"),
        (("--source-lm-weight", "0.7", "--beam", "2"), "source_lm_weight: is for source_lm"),
        (("--nbest", "3"), "--nbest 3: needs a --beam of at least 3, not 1"),
        (("--nbest", "5", "--beam", "4"), "--nbest 5: needs a --beam of at least 5, not 4"),
    ],
)
def test_an_option_that_would_do_nothing_is_refused(made, options, words) -> None:
    assert words in made.refused(*made.decode(*options))
    assert not Path("decoded").exists()


def test_a_rate_that_teaches_nothing_is_told(world) -> None:
    Path("text").write_text("".join(f"{text}\n" for text in TEXTS * 20))
    changes = ["schedule.lr=1.0e+30", "schedule.warmup_steps=0", "train.max_epochs=1", "language_model.dim=8"]
    options = [part for change in changes for part in ("--set", change)]
    line = world.refused("train-lm", "--type", "lstm", "--tokens", "lang", "--plain", "text", "--out", "lm", *options)
    assert "lower schedule.lr" in line


@pytest.mark.parametrize("cache", ["true", "false"])
def test_an_utterance_of_the_development_set_that_cannot_be_read(made, cache) -> None:
    shutil.copytree("made/corpus", "dev")
    sums = Path("dev/utt2crc")
    sums.write_text("s1-u0 00000001\n" + sums.read_text().split("\n", 1)[1])
    train = made.train(f"batches.cache={cache}")
    train[train.index("--dev-dir") + 1] = "dev"
    assert "utterance s1-u0" in made.refused(*train)
    result = made(*train, "--max-bad", "1", "--override")
    assert result.status == 0, result.err
    assert Path("new/left_out").read_text().startswith("s1-u0 ")
