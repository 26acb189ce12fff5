"""A transcript as a file: text, JSON, subtitles (SRT, WebVTT), NIST's CTM and trn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from dualtk.errors import InputError
from dualtk.search.hypothesis import SpokenWord
from dualtk.transcript import Result, Segment

CUE_LETTERS = 84  # two lines of 42, as broadcasters set subtitles
CUE_SECONDS = 7.0
CUE_PAUSE = 0.6  # seconds between words of different cues


def as_dict(segment: Segment) -> dict[str, object]:
    """A segment for JSON; times in seconds."""
    words = [
        {
            "word": word.text,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": round(word.confidence, 3),
        }
        for word in segment.words
    ]
    times = {"start": round(segment.start, 3), "end": round(segment.end, 3)}
    return {"mode": segment.mode, "text": segment.text, **times, "words": words}


def as_json(name: str, result: Result) -> str:
    """The whole result, its segments and words with their times."""
    segments = [
        as_dict(one) | ({} if one.first_pass is None else {"first_pass": as_dict(one.first_pass)})
        for one in result.segments
    ]
    whole = {"file": name, "mode": result.mode, "audio_seconds": round(result.audio_seconds, 3)}
    return json.dumps({**whole, "text": result.text, "segments": segments}, ensure_ascii=False, indent=1) + "\n"


def as_text(name: str, result: Result) -> str:
    """A line for each segment."""
    return "".join(f"{segment.text}\n" for segment in result.segments if segment.text)


def cues(words: Sequence[SpokenWord]) -> Iterator[Sequence[SpokenWord]]:
    """The words of one subtitle after the other: cut at pauses, and where it would be too long to read."""
    begin = 0
    for index in range(1, len(words) + 1):
        own = words[begin:index]
        if index < len(words):
            letters = sum(len(word.text) + 1 for word in words[begin : index + 1]) - 1
            is_long = letters > CUE_LETTERS or words[index].end - own[0].start > CUE_SECONDS
            if not is_long and words[index].start - own[-1].end < CUE_PAUSE:
                continue
        yield own
        begin = index


def _clock(seconds: float, comma: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}{comma}{rest % 1000:03d}"


def _timed_lines(result: Result, comma: str) -> Iterator[str]:
    for segment in result.segments:
        for cue in cues(segment.words):
            times = f"{_clock(cue[0].start, comma)} --> {_clock(cue[-1].end, comma)}"
            yield f"{times}\n{' '.join(word.text for word in cue)}\n"


def as_srt(name: str, result: Result) -> str:
    """SubRip subtitles."""
    return "\n".join(f"{number}\n{lines}" for number, lines in enumerate(_timed_lines(result, ","), start=1))


def as_vtt(name: str, result: Result) -> str:
    """WebVTT subtitles."""
    escaped = (lines.replace("&", "&amp;").replace("<", "&lt;") for lines in _timed_lines(result, "."))
    return "\n".join(["WEBVTT\n", *escaped])


def as_ctm(name: str, result: Result) -> str:
    """`name 1 start duration WORD confidence` for each word."""
    recording = "_".join(name.split())
    return "".join(
        f"{recording} 1 {word.start:.2f} {word.end - word.start:.2f} {word.text} {word.confidence:.2f}\n"
        for word in result.words
    )


def as_trn(name: str, result: Result) -> str:
    """`words (name)`, one line.

    Raises:
        InputError: a name with a parenthesis, which would end it early.
    """
    if "(" in name or ")" in name:
        raise InputError(f"{name}: a name with a parenthesis cannot be written as trn")
    return f"{result.text} ({'_'.join(name.split())})".lstrip() + "\n"


FORMATS: dict[str, Callable[[str, Result], str]] = {
    "txt": as_text,
    "json": as_json,
    "srt": as_srt,
    "vtt": as_vtt,
    "ctm": as_ctm,
    "trn": as_trn,
}
