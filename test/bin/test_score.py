"""`dualtk score` and `dualtk results` on small decoded sets."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from dualtk.bin import report, results, score
from dualtk.bin.dualtk import run
from dualtk.errors import InputError
from dualtk.score.latency import emission_time

REFS = {"s1-1": "TURN ON THE LIGHT", "s1-2": "IT'S LATE", "s2-1": "STOP"}
FACTS = {
    "mode": "streaming",
    "full_context": False,
    "chunk": 4,
    "left_context": None,
    "look_ahead_ms": 60,
    "subsampling": 4,
    "num_parameters": 1_060_000,
    "real_time_factor": 0.0123,
    "audio_seconds": 6.0,
    "seconds": 0.07,
    "search": {"name": "greedy"},
}


def write_data(folder: Path, ctm: bool = True) -> Path:
    folder.mkdir()
    (folder / "text").write_text("".join(f"{utt} {words}\n" for utt, words in REFS.items()))
    (folder / "utt2spk").write_text("".join(f"{utt} {utt[:2]}\n" for utt in REFS))
    if ctm:
        lines = []
        for utt, words in REFS.items():
            for position, word in enumerate(words.split()):
                lines.append(f"{utt} 1 {0.3 * position:.2f} 0.30 {word}\n")
        (folder / "words.ctm").write_text("".join(lines))
    return folder


def write_decoding(folder: Path, hyps: dict[str, str], facts: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / "text").write_text("".join(f"{utt} {words}".rstrip() + "\n" for utt, words in hyps.items()))
    with (folder / "tokens.jsonl").open("w") as tokens:
        for utt, words in hyps.items():
            pieces = [f"▁{word}" for word in words.split()]
            frames = [10 * position for position in range(len(pieces))]
            times = emission_time(frames, 4, 4, 6, 2.0).tolist()
            line = {"utt": utt, "tokens": pieces, "frames": frames, "emissions": times, "duration": 2.0}
            tokens.write(json.dumps(line) + "\n")
    (folder / "decode.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "test")


@pytest.fixture
def streaming(tmp_path: Path) -> Path:
    hyps = {"s1-1": "TURN THE LIGHTS", "s1-2": "IT'S LATE", "s2-1": "STOP"}
    return write_decoding(tmp_path / "exp" / "decode" / "test-streaming", hyps, FACTS)


def test_everything_is_written(data: Path, streaming: Path) -> None:
    assert score.main(["--data", str(data), "--decode", str(streaming)]) == 0
    found = json.loads((streaming / "score.json").read_text())
    counts = {"correct": 5, "substitutions": 1, "deletions": 1, "insertions": 0}
    assert found["wer"]["counts"] == counts
    assert found["wer"]["rate"]["value"] == pytest.approx(2 / 7)
    assert found["wer"]["rate"]["low"] <= 2 / 7 <= found["wer"]["rate"]["high"]
    assert (streaming / "ref.trn").read_text().splitlines()[0] == "TURN ON THE LIGHT (s1-1)"
    assert (streaming / "hyp.trn").read_text().splitlines()[2] == "STOP (s2-1)"
    assert "| Sum/Avg|    3      7 |" in (streaming / "result.txt").read_text()
    assert "light ==> lights" in (streaming / "result.dtl.txt").read_text()
    assert (streaming / "utterances.tsv").read_text().splitlines()[1].startswith("s1-1\ts1-1\t4\t1\t1\t0\t")


def test_latency_is_the_one_worked_out_by_hand(data: Path, streaming: Path) -> None:
    score.main(["--data", str(data), "--decode", str(streaming)])
    found = json.loads((streaming / "score.json").read_text())
    latency = found["emission_latency"]
    # Last tokens at frames 20, 10 and 0, in chunks of 4 (160 ms) with 60 ms of look-ahead: feature frames 95 + 6,
    # 47 + 6 and 15 + 6, so 1.0275, 0.5475 and 0.2275 s; speech ends at 1.2, 0.6 and 0.3 s.
    assert latency["source"] == "ctm"
    assert latency["all"]["num"] == 3
    assert latency["all"]["at50"]["value"] == pytest.approx(-0.0725)
    assert latency["last_word_right"]["num"] == 2
    assert latency["last_word_right"]["at50"]["value"] == pytest.approx((-0.0525 - 0.0725) / 2)
    assert found["algorithmic_latency"]["longest_wait"] == pytest.approx(0.18)
    assert found["algorithmic_latency"]["chunk"] == pytest.approx(0.16)
    assert found["algorithmic_latency"]["window"] == pytest.approx(0.0075)
    assert found["computation"] == {"real_time_factor": 0.0123, "chunk_seconds": None}
    assert found["felt_latency"] is None


def test_files_of_other_systems_score_alike(data: Path, streaming: Path) -> None:
    """Tabs, CRLF and a byte order mark in the tables, a comment in the word times."""
    score.main(["--data", str(data), "--decode", str(streaming)])
    before = (streaming / "score.json").read_bytes()
    for name in ("text", "utt2spk"):
        lines = (data / name).read_text().replace(" ", "\t").replace("\n", "\r\n")
        (data / name).write_bytes(b"\xef\xbb\xbf" + lines.encode())
    (data / "words.ctm").write_text(";; by hand\n" + (data / "words.ctm").read_text())
    score.main(["--data", str(data), "--decode", str(streaming)])
    assert (streaming / "score.json").read_bytes() == before


def test_marks_and_speakers_of_one_row_are_said(data: Path, streaming: Path, caplog: pytest.LogCaptureFixture) -> None:
    (data / "text").write_text("s1-1 { turn / switch } (the) light\ns1-2 it's @ late\ns2-1 st{op;\n")
    (data / "utt2spk").write_text("s1-1 s-1\ns1-2 s_1\ns2-1 S-1\n")
    with caplog.at_level(logging.INFO):
        score.main(["--data", str(data), "--decode", str(streaming)])
    assert "2 of 3 texts hold { a / b } (alternatives)" in caplog.text
    assert "1 of 3 texts hold ; \\ or braces that match none" in caplog.text
    assert "speakers s-1 and s_1 and S-1 are one row of result.txt" in caplog.text
    assert (streaming / "ref.trn").read_text().splitlines()[0] == "{ turn / switch } (the) light (s_1-s1-1)"


def test_a_set_without_words_has_no_rate(data: Path, streaming: Path) -> None:
    (data / "text").write_text("s1-1 @\ns1-2\ns2-1\n")
    score.main(["--data", str(data), "--decode", str(streaming)])
    found = json.loads((streaming / "score.json").read_text(), parse_constant=pytest.fail)
    assert found["wer"]["rate"] == {"value": None, "low": None, "high": None}
    assert results.main([str(streaming.parent.parent)]) == 0


def test_felt_latency_adds_computation_where_it_was_measured(data: Path, tmp_path: Path) -> None:
    facts = {**FACTS, "chunk_seconds": {"p50": 0.02, "p90": 0.03, "p99": 0.05}}
    decode = write_decoding(tmp_path / "test-streaming", REFS, facts)
    score.main(["--data", str(data), "--decode", str(decode)])
    found = json.loads((decode / "score.json").read_text())
    assert found["felt_latency"]["at50"] == pytest.approx(found["emission_latency"]["all"]["at50"]["value"] + 0.02)


def test_end_of_speech_is_estimated_without_word_times_and_says_so(tmp_path: Path, streaming: Path) -> None:
    data = write_data(tmp_path / "set", ctm=False)
    lines = []
    for utt in REFS:
        samples = np.random.default_rng(0).normal(0, 1e-4, 32000)
        samples[3200:16000] += 0.1 * np.sin(np.arange(12800) * 0.2)
        soundfile.write(data / f"{utt}.wav", samples, 16000)
        lines.append(f"{utt} {data / utt}.wav\n")
    (data / "wav.scp").write_text("".join(lines))
    score.main(["--data", str(data), "--decode", str(streaming)])
    latency = json.loads((streaming / "score.json").read_text())["emission_latency"]
    assert latency["source"] == "energy estimate"
    assert latency["words"] is None
    assert latency["all"]["at50"]["value"] == pytest.approx(0.5475 - 1.0, abs=0.02)


def test_churn_of_sessions_where_partial_results_were_kept(data: Path, streaming: Path) -> None:
    sessions = {"s1-1": [[0.1, "TURN"], [0.2, "TURN OFF"], [0.3, "TURN THE LIGHTS"]], "s1-2": [[0.5, "IT'S LATE"]]}
    lines = [json.dumps({"utt": utt, "partials": partials}) + "\n" for utt, partials in sessions.items()]
    (streaming / "partials.jsonl").write_text("".join(lines))
    score.main(["--data", str(data), "--decode", str(streaming)])
    found = json.loads((streaming / "score.json").read_text())["churn"]
    assert found == {"unstable_words": 1, "revisions": 1, "final_words": 5, "settled": None, "ratio": 0.2}
    (streaming / "partials.jsonl").write_text('{"utt": "s1-1"}\n')
    with pytest.raises(InputError, match=r"partials\.jsonl:1: not a line of partial results"):
        score.main(["--data", str(data), "--decode", str(streaming)])


def test_missing_hypothesis_is_deleted_and_named(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    decode = write_decoding(tmp_path / "test-streaming", {"s1-1": REFS["s1-1"]}, FACTS)
    with caplog.at_level(logging.WARNING):
        score.main(["--data", str(data), "--decode", str(decode)])
    assert "s1-2 s2-1" in caplog.text
    found = json.loads((decode / "score.json").read_text())
    assert found["wer"]["counts"]["deletions"] == 3
    assert found["missing"] == ["s1-2", "s2-1"]
    assert found["emission_latency"]["silent"] == 2


def test_faults_are_named(data: Path, tmp_path: Path, streaming: Path) -> None:
    unknown = write_decoding(tmp_path / "a", {"s9-9": "X"}, FACTS)
    with pytest.raises(InputError, match="a/text: utterance s9-9 has no reference"):
        score.main(["--data", str(data), "--decode", str(unknown)])
    assert not (unknown / "score.json").exists()
    with pytest.raises(InputError, match=r"decode\.json"):
        score.main(["--data", str(data), "--decode", str(tmp_path / "nowhere")])
    lacking = write_decoding(tmp_path / "b", REFS, {"mode": "full"})
    with pytest.raises(InputError, match="lacks the key full_context"):
        score.main(["--data", str(data), "--decode", str(lacking)])
    with pytest.raises(InputError, match=r"nothing\.ctm: cannot be read: No such file"):
        score.main(["--data", str(data), "--decode", str(streaming), "--ctm", str(tmp_path / "nothing.ctm")])


@pytest.mark.parametrize(("option", "lowest"), [("--replicates", 1), ("--seed", 0)])
def test_numbers_that_make_no_sense(
    data: Path, streaming: Path, option: str, lowest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        score.main(["--data", str(data), "--decode", str(streaming), option, str(lowest - 1)])
    assert f"{option}: {lowest - 1}: expected a whole number of at least {lowest}\n" in capsys.readouterr().err


def test_raw_samples_reach_no_further_than_their_frame(data: Path, streaming: Path) -> None:
    folder = write_decoding(streaming.parent / "test-samples", REFS, {**FACTS, "reach": 0.01})
    score.main(["--data", str(data), "--decode", str(folder)])
    assert json.loads((folder / "score.json").read_text())["algorithmic_latency"]["window"] == pytest.approx(0.0)


def test_results_show_both_modes_side_by_side(
    data: Path, streaming: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {**FACTS, "mode": "full", "full_context": True, "chunk": 1, "look_ahead_ms": 0}
    full = write_decoding(streaming.parent / "test-full", REFS, facts)
    for folder in (full, streaming):
        score.main(["--data", str(data), "--decode", str(folder)])
    experiment = tmp_path / "exp"
    assert results.main([str(experiment)]) == 0
    printed = capsys.readouterr().out
    assert (experiment / "RESULTS.md").read_text() == f"# exp\n\n{printed}"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.splitlines() if line.startswith("|")]
    assert rows[0][:5] == ["set", "mode", "look-ahead / chunk", "search", "WER %"]
    assert rows[2][:8] == ["test", "full", "whole utterance", "greedy", "0.00 [0.00, 0.00]", "0", "0", "0"]
    assert rows[3][:3] == ["test", "streaming", "60 ms / 160 ms"]
    # in ms: -172.5, -72.5 and -52.5; the first has its last word wrong
    at50, at90 = ([float(part) for part in cell.split("/")] for cell in rows[3][9:11])
    assert at50 == pytest.approx([-72.5, -62.5], abs=0.51)
    assert at90 == pytest.approx([-56.5, -54.5], abs=0.51)
    assert rows[2][9:11] == ["-", "-"]
    assert rows[3][11:] == ["0.012", "1.06 M"]


def test_results_of_an_experiment_that_was_not_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "exp").mkdir()
    assert run(results.main, [str(tmp_path / "exp")]) == 2
    assert "has no scored set" in capsys.readouterr().err
    assert run(results.main, [str(tmp_path / "none")]) == 2


def test_a_network_that_says_one_word_has_no_latency_and_is_told_on_top(tmp_path, caplog, capsys) -> None:
    refs = {
        f"s1-{index:02d}": f"TURN {word}"
        for index, word in enumerate(["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L"])
    }
    data = tmp_path / "test"
    data.mkdir()
    (data / "text").write_text("".join(f"{utt} {words}\n" for utt, words in refs.items()))
    (data / "utt2spk").write_text("".join(f"{utt} s1\n" for utt in refs))
    (data / "words.ctm").write_text("".join(f"{utt} 1 0.0 0.3 TURN\n{utt} 1 0.3 0.3 X\n" for utt in refs))
    decoding = write_decoding(tmp_path / "exp/decode/test-streaming", dict.fromkeys(refs, "THE"), FACTS)
    with caplog.at_level(logging.WARNING):
        assert run(score.main, ["--data", str(data), "--decode", str(decoding)]) == 0
    assert "says `the` for 100 % of the utterances, which is right for none" in caplog.text
    assert json.loads((decoding / "score.json").read_text())["emission_latency"] is None
    assert run(results.main, [str(tmp_path / "exp")]) == 0
    first, *_ = capsys.readouterr().out.splitlines()
    assert first == "**exp: test streaming: says `the` for 100 % of the utterances, which is right for none**"
    assert report.main([str(tmp_path / "exp")]) == 0
    page = (tmp_path / "exp/report.html").read_text(encoding="utf-8")
    assert page.index('<p class="warning">test streaming: says `the`') < page.index("<table")
