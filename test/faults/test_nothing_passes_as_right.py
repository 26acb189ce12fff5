"""What was wrong with exit status 0: each kind is refused by name, or counted and said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from faults_world import MELS, TEXTS, edit
from small_experiment import VOCABULARY
from small_networks import speech

from dualtk.data.fbank import FbankOptions
from dualtk.data.kinds import write_options
from dualtk.data.tokens import TokenOptions, write_tokenizer

pytestmark = pytest.mark.slow


def save_features(world, change) -> None:
    """Write `made/corpus` with other matrices, as features made elsewhere."""
    folder = world.path / "made/corpus"
    found = {
        name: change(index, np.array(matrix))
        for index, (name, matrix) in enumerate(kaldiio.load_scp(f"{folder}/feats.scp").items())
    }
    for name in ("utt2crc", "source.json"):
        (folder / name).unlink(missing_ok=True)
    kaldiio.save_ark(f"{folder}/feats.ark", found, scp=f"{folder}/feats.scp")


# Kind: what two folders say of themselves.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (FbankOptions(num_mels=16, sample_rate=8000, high_frequency=3600), "sample_rate"),
        (FbankOptions(num_mels=16, low_frequency=80), "low_frequency"),
        (FbankOptions(num_mels=20), "num_mels"),
    ],
)
def test_features_of_other_options_are_not_decoded(made, options, said) -> None:
    write_options(made.path / "made/corpus", options)
    line = made.refused(*made.decode())
    assert said in line
    assert "made/corpus" in line


@pytest.mark.parametrize("scale", [32768.0, 32767.0])
def test_features_of_int16_scale_are_not_decoded(made, scale) -> None:
    save_features(made, lambda _, feats: feats + np.float32(2 * np.log(scale)))
    assert "made/corpus" in made.refused(*made.decode())


@pytest.mark.parametrize("texts", [["GOLF HOTEL"] * 9, ["DELTA"] * 5 + ["ECHO"], ["FOXTROT BRAVO"] * 3])
def test_other_tokens_of_the_same_number_are_not_decoded_with(made, texts) -> None:
    write_tokenizer(made.path / "other", [*texts, *TEXTS], TokenOptions(size=VOCABULARY))
    line = made.refused(*made.decode("--tokens", "other"))
    assert "other" in line


# Kind: a declared length is believed.


def cut(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * share)])


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "ogg"])
def test_truncated_audio_is_named(world, kind, share) -> None:
    target = world.path / f"corpus/audio/cut.{kind}"
    soundfile.write(target, speech(48000, 1).numpy(), 16000)
    cut(target, share)
    edit("corpus/wav.scp", lambda text: text.replace(f"{world.path}/corpus/audio/s1-u1.wav", str(target)))
    for command in (
        ["validate", "--decode-audio", "corpus"],
        ["features", *MELS, "--out", "made", "--train", "corpus"],
    ):
        result = world(*command)
        assert result.status == 2, result
        assert "s1-u1" in result.err + result.out


@pytest.mark.parametrize("times", ["0.2 7.0", "3.0 4.0", "0.5 0.4"])
def test_segments_beyond_the_audio_are_named(world, times) -> None:
    edit(
        "corpus/wav.scp",
        lambda text: "".join(f"{line.split()[0]}-rec {line.split(' ', 1)[1]}\n" for line in text.splitlines()),
    )
    lines = [f"s{1 + k // 3}-u{k} s{1 + k // 3}-u{k}-rec {times if k == 1 else '0.1 0.9'}\n" for k in range(6)]
    Path("corpus/segments").write_text("".join(lines))
    result = world("validate", "corpus")
    assert result.status == 2
    assert "s1-u1" in result.err + result.out


# Kind: values outside what a format means.


@pytest.mark.parametrize("value", [3.0e3, np.nan, np.inf, -np.inf])
def test_samples_that_are_none_are_named(world, value) -> None:
    samples = speech(16000, 1).numpy().copy()
    if np.isfinite(value):
        samples *= value
    else:
        samples[800] = value
    soundfile.write("corpus/audio/s1-u1.wav", samples, 16000, "FLOAT")
    for command in (
        ["validate", "--decode-audio", "corpus"],
        ["features", *MELS, "--out", "made", "--train", "corpus"],
    ):
        result = world(*command)
        assert result.status == 2, result
        assert "s1-u1" in result.err + result.out
    assert "s1-u1.wav" in world.refused("transcribe", "--exp", "exp", "corpus/audio/s1-u1.wav")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_no_numbers_are_named(made, value) -> None:
    def spoil(index, feats):
        if index == 1:
            feats[3, 2] = value
        return feats

    save_features(made, spoil)
    line = made.refused(*made.decode())
    assert "s1-u1" in line
    assert not (made.path / "decoded").exists()
    result = made("validate", "made/corpus")
    assert result.status == 2
    assert "s1-u1" in result.err + result.out


@pytest.mark.parametrize(
    "line", ["s1-u0 1 nan 0.1 ALPHA", "s1-u0 1 -0.5 0.1 ALPHA", "s1-u0 1 0.2 -0.1 ALPHA", "s1-u0 1 0.2 inf ALPHA"]
)
def test_times_that_are_none_are_named(made, line) -> None:
    Path("made/corpus/words.ctm").write_text(f";; a comment\ns1-u1 1 0.1 0.2 BRAVO\n{line}\n")
    assert made(*made.decode()).status == 0
    assert "words.ctm:3" in made.refused("score", "--data", "made/corpus", "--decode", "decoded")


def test_json_holds_no_number_that_is_none(made) -> None:
    assert made(*made.decode()).status == 0
    for line in Path("decoded/tokens.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(name))


# Kind: a file is accepted when any of it fits.

GRAMS = "\\data\\\nngram 1={count}\n\n\\1-grams:\n{lines}{end}"


@pytest.mark.parametrize(
    ("words", "end", "count"),
    [
        ("tokens", "", None),
        ("words", "\n\\end\\\n", None),
        ("tokens", "\n\\end\\\n", 900),
        ("tokens", "\n\\2-grams:\n", None),
    ],
)
def test_language_models_of_words_or_cut_off_are_refused(made, words, end, count) -> None:
    pieces = [line.split()[0] for line in Path("lang/tokens.txt").read_text().splitlines()][1:]
    chosen = ["<s>", "</s>", *(pieces if words == "tokens" else ["HELLO", "WORLD", "AGAIN"])]
    lines = "".join(f"-1.5\t{word}\n" for word in chosen)
    Path("lm.arpa").write_text(GRAMS.format(count=count or len(chosen), lines=lines, end=end), encoding="utf-8")
    assert "lm.arpa" in made.refused(*made.decode("--beam", 2, "--lm", "lm.arpa"))


@pytest.mark.parametrize(
    ("before", "after"),
    [("train:", "train: {}\ntrain:"), ("modes:", "modes: {}\nmodes:"), ("passes:", "passes: {}\npasses:")],
)
def test_a_key_twice_is_named(made, before, after) -> None:
    from tiny import CONFIG

    text = CONFIG.read_text()
    assert before in text
    Path("twice.yaml").write_text(text.replace(before, after, 1))
    arguments = [argument if argument != str(CONFIG) else "twice.yaml" for argument in made.train()]
    assert "twice" in made.refused(*arguments)


# Kind: lost information is not reported.


@pytest.mark.parametrize("letters", ["abc def", "ΑΒΓ ΔΕΖ", "привет"])
def test_texts_that_are_all_unknown_are_refused(made, letters) -> None:
    edit("made/corpus/text", lambda text: "".join(f"{line.split()[0]} {letters}\n" for line in text.splitlines()))
    line = made.refused(*made.train())
    assert "<unk>" in line or "unknown" in line
    assert letters[0] in line


# Kind: a fallback is taken silently; speakers from text.


def test_audio_that_is_missing_is_not_found_elsewhere(world) -> None:
    moved = world.path / "corpus/audio/s1-u1.wav"
    shutil.move(moved, world.path / "corpus/s1-u1.wav")
    shutil.copy(world.path / "corpus/s1-u1.wav", world.path / "s1-u1.wav")
    result = world("validate", "corpus")
    assert result.status == 2
    assert "s1-u1" in result.err + result.out


@pytest.mark.parametrize("speakers", [("spk-01", "spk-02"), ("a", "a-b"), ("1", "01")])
def test_speakers_are_those_of_utt2spk(made, speakers) -> None:
    Path("made/corpus/utt2spk").write_text("".join(f"s{1 + k // 3}-u{k} {speakers[k // 3]}\n" for k in range(6)))
    assert made(*made.decode()).status == 0
    assert made("score", "--data", "made/corpus", "--decode", "decoded").status == 0
    rows = [line.split("|")[1:3] for line in Path("decoded/result.txt").read_text().splitlines() if line.count("|") > 3]
    found = {name.strip(): int(counts.split()[0]) for name, counts in rows if counts.split()[0].isdigit()}
    assert found == {**{name.replace("-", "_"): 3 for name in speakers}, "Sum/Avg": 6, "Sum": 6}
