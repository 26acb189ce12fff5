"""`dualtk decode` with its searches."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import kaldiio
import pytest
import soundfile
import torch
from small_experiment import MELS, write_experiment
from small_networks import RATE, speech
from tiny import write_set

from dualtk import recognizer
from dualtk.bin import decode, train_lm, transcribe
from dualtk.bin.dualtk import run
from dualtk.ctm import read_ctm
from dualtk.data.fbank import fbank
from dualtk.data.stream import FbankStream
from dualtk.score.read import read_emissions
from dualtk.search.hypothesis import Hypothesis
from dualtk.search.options import SearchOptions
from dualtk.search.whole import WholeDecoder
from dualtk.search.word_times import timed_words
from dualtk.tables import read_table
from dualtk.trained import load


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("exp") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "test"
    write_set(folder, 7, seed=3)
    return folder


def call(exp: Path, data: Path, out: Path, *arguments: object) -> int:
    options = ["--exp", exp, "--data", data, "--out", out, "--device", "cpu", *arguments]
    return run(decode.main, [str(option) for option in options])


def scores(folder: Path) -> dict[str, float]:
    lines = (folder / "tokens.jsonl").read_text(encoding="utf-8").splitlines()
    return {line["utt"]: line["score"] for line in map(json.loads, lines)}


def test_a_decoding_is_consistent(exp, data, tmp_path) -> None:
    assert call(exp, data, tmp_path / "out", "--mode", "full", "--beam", 4, "--nbest", 3) == 0
    texts, words = read_table(tmp_path / "out/text", empty_values=True), read_ctm(tmp_path / "out/hyp.ctm")
    emissions = read_emissions(tmp_path / "out/tokens.jsonl")
    assert len(texts) == 7
    assert any(texts.values())
    for utterance, text in texts.items():
        assert [word.word for word in words.get(utterance, [])] == text.split()
        assert all(0 <= word.start < word.end for word in words.get(utterance, []))
        assert all(time == emissions[utterance].duration for time in emissions[utterance].times)
    for line in (tmp_path / "out/hyp.ctm").read_text(encoding="utf-8").splitlines():
        assert 0 <= float(line.split()[5]) <= 1
    for line in map(json.loads, (tmp_path / "out/nbest.jsonl").read_text(encoding="utf-8").splitlines()):
        assert 1 <= len(line["hypotheses"]) <= 3
        assert line["hypotheses"][0]["text"].strip() == texts[line["utt"]]
    facts = json.loads((tmp_path / "out/decode.json").read_text(encoding="utf-8"))
    assert facts["reach"] == 0.0175
    assert facts["streamed"] is False
    assert facts["search"] == {
        "name": "beam",
        "head": "transducer",
        "beam": 4,
        "max_symbols": 5,
        "max_length": None,
        "lm": None,
        "lm_weight": None,
        "source_lm": None,
        "source_lm_weight": None,
        "internal_lm_weight": 0.0,
        "length_reward": 0.0,
        "hotwords": None,
        "hotwords_score": None,
    }


@pytest.mark.parametrize("limits", [(), ("--max-length", 30)], ids=["free", "limited"])
def test_a_beam_scores_no_less_than_greedy_search(exp, data, tmp_path, limits) -> None:
    for name, beam in (("greedy", 1), ("beam", 4)):
        assert call(exp, data, tmp_path / name, "--mode", "full", "--beam", beam, *limits) == 0
    greedy, beam = scores(tmp_path / "greedy"), scores(tmp_path / "beam")
    assert len(greedy) == 7
    assert all(beam[utterance] >= score - 1e-3 for utterance, score in greedy.items())
    assert sum(beam.values()) > sum(greedy.values()) + 0.1


def test_a_language_model_is_consulted_and_its_change_noticed(exp, data, tmp_path) -> None:
    pieces = load(exp).tokenizer.pieces
    path, out = tmp_path / "lm.arpa", tmp_path / "out"
    options = ("--mode", "full", "--beam", 4, "--lm", path, "--lm-weight", 2.0)
    for loved in (pieces[5], pieces[9]):
        lines = [f"{-0.01 if piece == loved else -5.0} {piece}" for piece in pieces[1:]]
        head = f"\\data\\\nngram 1={len(lines) + 1}\n\n\\1-grams:\n-5 </s>\n"
        path.write_text(head + "\n".join(lines) + "\n\\end\\\n", encoding="utf-8")
        assert call(exp, data, out, *options) == 0
        said = [token for one in read_emissions(out / "tokens.jsonl").values() for token in one.tokens]
        assert set(said) <= {loved}, "at this weight only the loved piece is worth saying"


@pytest.mark.slow
def test_another_network_as_language_model_is_noticed(exp, data, tmp_path) -> None:
    """It is a folder; what decides is in the files of it."""
    text, out = tmp_path / "plain", tmp_path / "out"
    keys = set()
    for words in ("ALPHA ALPHA BRAVO", "HOTEL GOLF"):
        text.write_text(f"{words}\n" * 20, encoding="utf-8")
        shutil.rmtree(tmp_path / "lm", ignore_errors=True)
        arguments = ["--type", "lstm", "--tokens", exp / "lang", "--plain", text, "--out", tmp_path / "lm"]
        changes = ("language_model={name: lstm, dim: 8, num_layers: 1}", "train.max_epochs=3", "schedule.lr=0.1")
        arguments += [one for change in changes for one in ("--set", change)]
        assert run(train_lm.main, [str(one) for one in arguments]) == 0
        decoded = "--mode", "full", "--beam", 3, "--lm", tmp_path / "lm", "--lm-weight", 3.0, "--length-reward", 9.0
        assert call(exp, data, out, *decoded) == 0
        other = call(exp, data, tmp_path / words.split()[0], *decoded)
        assert other == 0
        assert (tmp_path / words.split()[0] / "text").read_text() == (out / "text").read_text()
        keys.add((out / ".done").read_text(encoding="utf-8"))
    assert len(keys) == 2


def test_finished_work_is_not_repeated(exp, data, tmp_path) -> None:
    out = tmp_path / "out"
    assert call(exp, data, out, "--mode", "full") == 0
    before = (out / "decode.json").stat().st_mtime_ns
    assert call(exp, data, out, "--mode", "full") == 0
    assert (out / "decode.json").stat().st_mtime_ns == before
    assert call(exp, data, out, "--mode", "full", "--beam", 2) == 0
    assert (out / "decode.json").stat().st_mtime_ns != before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--mode", "none"), "has no mode none"),
        (("--mode", "full", "--lm", "lm.arpa"), "needs a --beam"),
        (("--mode", "full", "--internal-lm-weight", 0.1), "--internal-lm-weight: needs a --beam"),
        (("--mode", "full", "--head", "ctc", "--length-reward", 1), "--head ctc: is searched without --length-reward"),
        (("--mode", "full", "--beam", 2, "--source-lm-weight", -1), "source_lm_weight"),
        (("--mode", "full", "--beam", 2, "--lm", Path(__file__).parent), "bin: holds no language model: it has no con"),
        (("--mode", "full", "--tokens", "/nowhere"), "/nowhere"),
    ],
)
def test_bad_options(exp, data, tmp_path, capsys, arguments, words: str) -> None:
    assert call(exp, data, tmp_path / "out", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


BOUNDED = "modes.streaming={left_context: 8, chunk: 2, look_ahead_ms: 60}"


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("streamed") / "tiny", BOUNDED)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with features of audio, which lies beside them."""
    folder = tmp_path_factory.mktemp("spoken") / "test"
    folder.mkdir()
    audio = {f"spk-{index}": speech(size, index) for index, size in enumerate((14000, 32000, 9011, 24000))}
    feats = {name: fbank(samples, RATE, MELS).numpy() for name, samples in audio.items()}
    kaldiio.save_ark(str(folder / "feats.ark"), feats, scp=str(folder / "feats.scp"))
    (folder / "utt2num_frames").write_text("".join(f"{name} {len(one)}\n" for name, one in feats.items()))
    for name, samples in audio.items():
        soundfile.write(folder / f"{name}.wav", samples.numpy(), RATE, subtype="FLOAT")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "streaming"])
def test_several_processes_find_what_one_finds(exp, data, tmp_path, mode: str) -> None:
    for processes in (1, 3):
        options = ("--mode", mode, "--max-frames", 120, "--nj", processes)
        assert call(exp, data, tmp_path / str(processes), *options) == 0
    for name in ("text", "hyp.ctm", "tokens.jsonl"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "3" / name).read_text()
    assert (tmp_path / "3/text").read_text().strip()


def test_hotwords_change_what_is_found(exp, data, tmp_path) -> None:
    (tmp_path / "words").write_text("ALPHA BRAVO :6.0\nECHO :6.0\n")
    for name, options in (("without", ()), ("with", ("--hotwords", tmp_path / "words"))):
        assert call(exp, data, tmp_path / name, "--mode", "full", *options) == 0
    counts = [(tmp_path / name / "text").read_text().count("ECHO") for name in ("without", "with")]
    assert counts[0] < counts[1]
    assert json.loads((tmp_path / "with/decode.json").read_text())["search"]["hotwords"] == "words"
    (tmp_path / "words").write_text("ALPHA\nÄÖÜ\n")
    assert call(exp, data, tmp_path / "bad", "--mode", "full", "--hotwords", tmp_path / "words") == 2
    assert not (tmp_path / "bad").exists()


@pytest.mark.slow
@pytest.mark.parametrize("beam", [1, 3], ids=["greedy", "beam"])
def test_eight_bits_find_the_tokens_that_transcribe_finds(streamed, spoken, tmp_path, beam) -> None:
    out, options = tmp_path / "out", ("--mode", "streaming", "--precision", "int8", "--beam", beam)
    assert call(streamed, spoken, out, *options, "--nbest", min(beam, 2)) == 0
    assert {path.name for path in out.iterdir()} >= {"text", "hyp.ctm", "tokens.jsonl", "nbest.jsonl", "decode.json"}
    facts = json.loads((out / "decode.json").read_text(encoding="utf-8"))
    assert (facts["precision"], facts["streamed"]) == ("int8", True)
    loaded = recognizer.load(streamed, precision="int8", search=SearchOptions(beam=beam))
    decoder = loaded.passes("streaming").first
    assert decoder is not None
    said = 0
    for line in map(json.loads, (out / "tokens.jsonl").read_text(encoding="utf-8").splitlines()):
        samples, rate = soundfile.read(spoken / f"{line['utt']}.wav", dtype="float32")
        session = decoder.open(FbankStream(MELS))
        for piece in torch.from_numpy(samples).split(1600):
            session.accept(piece, rate)
        found = session.finish()
        assert line["tokens"] == [loaded.trained.tokenizer.pieces[token] for token in found.tokens]
        assert line["frames"] == found.frames
        assert line["score"] == pytest.approx(found.score, abs=1e-3)
        said += len(found.tokens)
    assert said > 40, "a network that says nothing proves nothing"


@pytest.mark.slow
@pytest.mark.parametrize("left_context", [8, "null"])
@pytest.mark.parametrize("beam", [1, 3])
def test_streams_equal_the_masked_whole_utterance(spoken, tmp_path, beam: int, left_context: object) -> None:
    """Utterances of a test set, streamed together, have the tokens and frames of whole-utterance decoding."""
    mode = f"modes.streaming={{left_context: {left_context}, chunk: 2, look_ahead_ms: 60}}"
    exp, out = write_experiment(tmp_path / "exp", mode), tmp_path / "out"
    assert call(exp, spoken, out, "--mode", "streaming", "--beam", beam) == 0
    facts = json.loads((out / "decode.json").read_text(encoding="utf-8"))
    assert (facts["streamed"], facts["look_ahead_ms"]) == (True, 60)
    trained = load(exp)
    search = SearchOptions(beam=beam).build(trained.network, trained.tokenizer.pieces)
    whole = WholeDecoder(trained.network, trained.mode("streaming"), search)
    said = 0
    for line in map(json.loads, (out / "tokens.jsonl").read_text(encoding="utf-8").splitlines()):
        samples, rate = soundfile.read(spoken / f"{line['utt']}.wav", dtype="float32")
        feats = fbank(torch.from_numpy(samples), rate, MELS)
        expected = whole.decode(feats.unsqueeze(0), torch.tensor([len(feats)]))[0][0]
        assert line["tokens"] == [trained.tokenizer.pieces[token] for token in expected.tokens]
        assert line["frames"] == expected.frames
        assert line["score"] == pytest.approx(expected.score, abs=1e-3)
        said += len(expected.tokens)
    assert said > 40, "a network that says nothing proves nothing"


@pytest.mark.slow
def test_a_streaming_mode_is_decoded_in_other_chunks_and_left_contexts(spoken, tmp_path, capsys) -> None:
    """As a network of the same weights whose mode says so; each has a folder of its own."""
    exp = write_experiment(tmp_path / "exp", BOUNDED)
    other = write_experiment(tmp_path / "other", BOUNDED.replace("8, chunk: 2", "3, chunk: 4"))
    assert call(other, spoken, tmp_path / "expected", "--mode", "streaming") == 0
    options = ["--exp", exp, "--data", spoken, "--device", "cpu", "--mode"]
    for mode in ("streaming", "streaming@4-3"):
        assert run(decode.main, [str(option) for option in [*options, mode]]) == 0
    usual, found = (exp / "decode" / f"{spoken.name}-{mode}" for mode in ("streaming", "streaming@4-3"))
    assert scores(found) == scores(tmp_path / "expected") != scores(usual)
    facts = json.loads((found / "decode.json").read_text(encoding="utf-8"))
    assert (facts["mode"], facts["chunk"], facts["left_context"]) == ("streaming", 4, 3)
    assert call(exp, spoken, tmp_path / "none", "--mode", "streaming@0") == 2
    assert "mode streaming@0: behind @ stands CHUNK or CHUNK-LEFT" in capsys.readouterr().err


@pytest.mark.slow
def test_the_ctc_head_is_decoded_in_both_modes(data, tmp_path) -> None:
    """Beside the transducer's folders, and what the best path of its log-probabilities spells."""
    exp = write_experiment(tmp_path / "exp", "ctc={}")
    arguments = ["--exp", str(exp), "--data", str(data), "--head", "ctc", "--device", "cpu", "--mode"]
    for mode in ("full", "streaming"):
        assert run(decode.main, [*arguments, mode]) == 0
        folder = exp / f"decode/test-ctc-{mode}"
        facts = json.loads((folder / "decode.json").read_text(encoding="utf-8"))
        assert facts["search"]["name"] == "ctc greedy"
        trained, said = load(exp), 0
        assert trained.network.ctc is not None
        locations = read_table(data / "feats.scp")
        for line in map(json.loads, (folder / "tokens.jsonl").read_text(encoding="utf-8").splitlines()):
            feats = torch.tensor(kaldiio.load_mat(locations[line["utt"]])).unsqueeze(0)
            lengths = torch.tensor([feats.shape[1]])
            with torch.no_grad():
                normal = trained.network.normalize(feats, lengths)
                frames = trained.network.encode(normal, lengths, trained.mode(mode)).frames
                classes = trained.network.ctc(frames)[0].argmax(1).unique_consecutive()
            assert line["tokens"] == [trained.tokenizer.pieces[token] for token in classes.tolist() if token]
            said += len(line["tokens"])
        assert said > 10


@pytest.mark.parametrize(
    ("ctc", "beam", "message"), [("null", 1, "has no CTC head"), ("{}", 2, "--head ctc: is searched greedily")]
)
def test_a_ctc_head_that_cannot_be_searched(data, tmp_path, capsys, ctc: str, beam: int, message: str) -> None:
    exp = write_experiment(tmp_path / "exp", f"ctc={ctc}")
    assert call(exp, data, tmp_path / "out", "--mode", "full", "--head", "ctc", "--beam", beam) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "onnxruntime"])
def test_eight_bits_say_what_transcribe_says(streamed, spoken, tmp_path, capsys, engine: str) -> None:
    arithmetic = ["--precision", "int8", "--engine", engine]
    assert call(streamed, spoken, tmp_path / "out", "--mode", "streaming", *arithmetic) == 0
    assert json.loads((tmp_path / "out/decode.json").read_text(encoding="utf-8"))["engine"] == engine
    capsys.readouterr()
    texts = read_table(tmp_path / "out/text", empty_values=True)
    files = [str(spoken / f"{name}.wav") for name in texts]
    assert run(transcribe.main, ["--exp", str(streamed), *arithmetic, "--no-endpoints", *files]) == 0
    printed = [line.partition(": ")[2].split() for line in capsys.readouterr().out.splitlines()]
    assert printed == [text.split() for text in texts.values()]


@pytest.mark.slow
def test_each_precision_has_its_folder_and_scores(streamed, data, tmp_path) -> None:
    found = {}
    for precision in ("float32", "int8"):
        options = ["--exp", streamed, "--data", data, "--mode", "streaming", "--precision", precision]
        assert run(decode.main, list(map(str, options))) == 0
    for name in ("test", "test-int8"):
        found[name] = scores(streamed / "decode" / f"{name}-streaming")
    assert found["test"].keys() == found["test-int8"].keys()
    assert found["test"] != found["test-int8"]


@pytest.mark.slow
def test_eight_bits_of_an_utterance_do_not_depend_on_the_others(streamed, spoken, tmp_path) -> None:
    options = ("--mode", "streaming", "--precision", "int8")
    for name, frames in (("one", 1), ("all", 20000)):
        assert call(streamed, spoken, tmp_path / name, *options, "--max-frames", frames) == 0
    one, everything = ((tmp_path / name / "tokens.jsonl").read_bytes() for name in ("one", "all"))
    assert one == everything


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--mode", "full"), "--precision: is for streaming, and mode full sees the whole utterance"),
        (("--mode", "streaming", "--device", "cuda"), "--precision int8: computes on a CPU, not with --device cuda"),
    ],
)
def test_what_eight_bits_cannot_do(streamed, data, tmp_path, capsys, arguments, line: str) -> None:
    assert call(streamed, data, tmp_path / "out", "--precision", "int8", *arguments) == 2
    assert f"dualtk: error: {line}\n" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_eight_bits_need_a_bounded_left_context(tmp_path, data, capsys) -> None:
    unbounded = write_experiment(tmp_path / "exp", "modes.streaming={left_context: null, chunk: 2}")
    assert call(unbounded, data, tmp_path / "out", "--precision", "int8", "--mode", "streaming") == 2
    line = "--precision int8: mode streaming has an unbounded left context"
    assert f"dualtk: error: {line}\n" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_words_have_the_times_that_the_ctc_head_gives(data, tmp_path, jobs: int) -> None:
    exp = write_experiment(tmp_path / "exp", "ctc={}")
    options = ["--max-length", 5, "--word-times", "--nj", jobs]
    assert call(exp, data, tmp_path / "out", "--mode", "full", *options) == 0
    trained, found = load(exp), read_ctm(tmp_path / "out/aligned.ctm")
    locations = read_table(data / "feats.scp")
    for line in map(json.loads, (tmp_path / "out/tokens.jsonl").read_text(encoding="utf-8").splitlines()):
        tokens = [trained.tokenizer.pieces.index(piece) for piece in line["tokens"]]
        feats = torch.tensor(kaldiio.load_mat(locations[line["utt"]]))  # alone, without the padding of a batch
        hypothesis = Hypothesis(tokens, line["frames"], [0.0] * len(tokens))
        words = timed_words(trained.network, trained.mode("full"), feats, hypothesis, trained.tokenizer.pieces)
        assert [word.word for word in found.get(line["utt"], [])] == [word.text for word in words]
        for one, other in zip(found.get(line["utt"], []), words):
            assert (one.start, one.end) == pytest.approx((other.start, other.end), abs=0.011)
    assert (tmp_path / "out/hyp.ctm").read_text() != (tmp_path / "out/aligned.ctm").read_text()


def test_words_of_a_network_without_a_ctc_head_are_not_aligned(exp, data, tmp_path, capsys) -> None:
    assert call(exp, data, tmp_path / "out", "--mode", "full", "--word-times") == 2
    assert capsys.readouterr().err == f"dualtk: error: --word-times: the network of {exp} has no CTC head " + (
        "(section ctc) that aligns words\n"
    )
    assert not (tmp_path / "out").exists()
