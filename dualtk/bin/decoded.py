"""What decoding finds of an utterance, and the folder that it is written to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dualtk.data.bpe import Wordpieces
from dualtk.files import atomic_path
from dualtk.modes import Mode
from dualtk.score.latency import emission_time
from dualtk.search.hypothesis import Hypothesis, SpokenWord, spoken_words

FRAME_SECONDS = 0.01


@dataclass
class Decoded:
    """One utterance's best hypothesis with its times in seconds, and all that the search kept."""

    utterance: str
    text: str
    tokens: list[str]
    frames: list[int]
    emissions: list[float]
    duration: float
    score: float
    words: list[SpokenWord]
    nbest: list[Hypothesis]


def describe(
    utterance: str,
    num_frames: int,
    nbest: list[Hypothesis],
    wordpieces: Wordpieces,
    mode: Mode,
    subsampling: int,
    reach: float,
) -> Decoded:
    """Text and times of the best hypothesis; a feature frame covers `reach` seconds of audio from its start on."""
    hypothesis = nbest[0]
    duration = num_frames * FRAME_SECONDS
    chunk = None if mode.full_context else mode.chunk
    emissions = emission_time(hypothesis.frames, subsampling, chunk, mode.look_ahead, duration, reach)
    return Decoded(
        utterance,
        " ".join(wordpieces.decode(hypothesis.tokens).split()),
        [wordpieces.pieces[token] for token in hypothesis.tokens],
        hypothesis.frames,
        [round(time, 4) for time in emissions.tolist()],
        duration,
        hypothesis.score,
        spoken_words(hypothesis, wordpieces.pieces),
        nbest,
    )


def ctm_lines(decoded: Decoded, subsampling: int) -> Iterator[str]:
    """`utt 1 start duration WORD confidence` in seconds: from the frame of its first wordpiece to the end of that of
    its last."""
    seconds = subsampling * FRAME_SECONDS
    for word in decoded.words:
        start, duration = word.first * seconds, (word.last + 1 - word.first) * seconds
        yield f"{decoded.utterance} 1 {start:.2f} {duration:.2f} {word.text} {word.confidence:.2f}\n"


def nbest_line(decoded: Decoded, wordpieces: Wordpieces, size: int) -> str:
    """The best `size` hypotheses of an utterance as a line of JSON."""
    hypotheses = [
        {"text": " ".join(wordpieces.decode(one.tokens).split()), "score": round(one.score, 4), "frames": one.frames}
        for one in decoded.nbest[:size]
    ]
    return json.dumps({"utt": decoded.utterance, "hypotheses": hypotheses}, ensure_ascii=False) + "\n"


def write_decoded(
    folder: Path, results: list[Decoded], facts: dict[str, object], wordpieces: Wordpieces, subsampling: int, nbest: int
) -> None:
    """text, hyp.ctm, tokens.jsonl, nbest.jsonl and decode.json, as one folder that is whole or absent."""
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with (temporary / "text").open("w", encoding="utf-8") as text:
            text.writelines(f"{one.utterance} {one.text}".rstrip() + "\n" for one in results)
        with (temporary / "hyp.ctm").open("w", encoding="utf-8") as ctm:
            for one in results:
                ctm.writelines(ctm_lines(one, subsampling))
        if nbest:
            with (temporary / "nbest.jsonl").open("w", encoding="utf-8") as lists:
                lists.writelines(nbest_line(one, wordpieces, nbest) for one in results)
        with (temporary / "tokens.jsonl").open("w", encoding="utf-8") as tokens:
            for one in results:
                line = {
                    "utt": one.utterance,
                    "tokens": one.tokens,
                    "frames": one.frames,
                    "emissions": one.emissions,
                    "duration": round(one.duration, 4),
                    "score": round(one.score, 4),
                }
                tokens.write(json.dumps(line, ensure_ascii=False) + "\n")
        (temporary / "decode.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
