"""The folder of a decoded set."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dualtk.data.bad import FILE as LEFT_OUT
from dualtk.data.bad import bad_text
from dualtk.files import FolderKind, atomic_folder
from dualtk.frames import FRAME_SECONDS
from dualtk.modes import Mode
from dualtk.score.latency import emission_time
from dualtk.search.hypothesis import Hypothesis, SpokenWord, spoken_words
from dualtk.trained import Trained

FOLDER = FolderKind(
    "decoding folder",
    "decode.json",
    frozenset({"decode.json", "text", "hyp.ctm", "aligned.ctm", "tokens.jsonl", "nbest.jsonl", LEFT_OUT, ".done"})
    | {"partials.jsonl", "hyp.trn", "ref.trn", "result.txt", "result.dtl.txt", "utterances.tsv", "score.json"},
)


@dataclass(frozen=True)
class Decoded:
    """An utterance: its name, its length in feature frames, its hypotheses, best first, and the words of the best by
    alignment, where that was asked for."""

    utterance: str
    num_frames: int
    nbest: Sequence[Hypothesis]
    aligned: Sequence[SpokenWord] = ()

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.num_frames * FRAME_SECONDS


def ctm_lines(utterance: str, words: Sequence[SpokenWord]) -> Iterator[str]:
    """`utt 1 start duration WORD confidence`, in seconds."""
    for word in words:
        yield f"{utterance} 1 {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence:.2f}\n"


@dataclass(frozen=True)
class Writer:
    """Writes what a network gave in one of its modes."""

    trained: Trained
    mode: Mode

    def text(self, hypothesis: Hypothesis) -> str:
        """Its words."""
        return " ".join(self.trained.tokenizer.decode(hypothesis.tokens).split())

    def emitted(self, decoded: Decoded) -> list[SpokenWord]:
        """The words of the best hypothesis, each from the frame of its first token to the end of that of its last."""
        frame_seconds = self.trained.network.encoder.subsampling * FRAME_SECONDS
        return spoken_words(decoded.nbest[0], self.trained.tokenizer.pieces, frame_seconds)

    def tokens_line(self, decoded: Decoded) -> str:
        """The tokens of the best hypothesis as a line of JSON, each with its encoder frame and the seconds of audio
        that had to be there for it."""
        best, mode = decoded.nbest[0], self.mode
        emissions = emission_time(
            best.frames,
            self.trained.network.encoder.subsampling,
            None if mode.full_context else mode.chunk,
            mode.look_ahead_frames,
            decoded.seconds,
            self.trained.system.features.reach,
        )
        line = {
            "utt": decoded.utterance,
            "tokens": [self.trained.tokenizer.pieces[token] for token in best.tokens],
            "frames": best.frames,
            "emissions": [round(time, 4) for time in emissions.tolist()],
            "duration": round(decoded.seconds, 4),
            "score": round(best.score, 4),
        }
        return json.dumps(line, ensure_ascii=False) + "\n"

    def nbest_line(self, decoded: Decoded, size: int) -> str:
        """The best `size` hypotheses as a line of JSON."""
        hypotheses = [
            {"text": self.text(one), "score": round(one.score, 4), "frames": one.frames} for one in decoded.nbest[:size]
        ]
        return json.dumps({"utt": decoded.utterance, "hypotheses": hypotheses}, ensure_ascii=False) + "\n"

    def write(
        self,
        folder: Path,
        results: Sequence[Decoded],
        facts: dict[str, object],
        *,
        nbest: int,
        is_aligned: bool,
        unread: Mapping[str, str],
    ) -> None:
        """text, hyp.ctm (times of emission), aligned.ctm, tokens.jsonl, nbest.jsonl, decode.json and left_out, as one
        folder that is whole or absent."""
        files = {
            "text": (f"{one.utterance} {self.text(one.nbest[0])}".rstrip() + "\n" for one in results),
            "hyp.ctm": (line for one in results for line in ctm_lines(one.utterance, self.emitted(one))),
            "tokens.jsonl": (self.tokens_line(one) for one in results),
            "decode.json": [json.dumps(facts, indent=2) + "\n"],
        }
        if is_aligned:
            files["aligned.ctm"] = (line for one in results for line in ctm_lines(one.utterance, one.aligned))
        if nbest:
            files["nbest.jsonl"] = (self.nbest_line(one, nbest) for one in results)
        if unread:
            files[LEFT_OUT] = [bad_text(unread)]
        with atomic_folder(folder, FOLDER) as temporary:
            temporary.mkdir()
            for name, lines in files.items():
                with (temporary / name).open("w", encoding="utf-8") as file:
                    file.writelines(lines)
