"""A transcript in the formats of OpenAI's API."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from typing import Any

from dualtk.formats import as_srt, as_vtt
from dualtk.search.hypothesis import SpokenWord
from dualtk.serving.request import FileWish
from dualtk.serving.web import JSONResponse, PlainTextResponse, Response
from dualtk.transcript import Result, Segment


def respond(result: Result, wish: FileWish, language: str) -> Response:
    """The whole transcript, as it was asked for."""
    if wish.response_format == "text":
        return PlainTextResponse(result.text + "\n")
    if wish.response_format == "srt":
        return PlainTextResponse(as_srt("", result), media_type="application/x-subrip")
    if wish.response_format == "vtt":
        return PlainTextResponse(as_vtt("", result), media_type="text/vtt")
    if wish.response_format == "json":
        return JSONResponse({"text": result.text})
    return JSONResponse(verbose(result, wish, language))


def verbose(result: Result, wish: FileWish, language: str) -> dict[str, Any]:
    """verbose_json; `confidence` of words and `mode` are beyond OpenAI's fields."""
    fields: dict[str, Any] = {
        "task": "transcribe",
        "language": language,
        "duration": round(result.audio_seconds, 3),
        "text": result.text,
        "mode": result.mode,
    }
    if "segment" in wish.granularities:
        fields["segments"] = [_segment(number, one) for number, one in enumerate(result.segments)]
    if "word" in wish.granularities:
        fields["words"] = [
            {
                "word": word.text,
                "start": round(word.start, 3),
                "end": round(word.end, 3),
                "confidence": round(word.confidence, 3),
            }
            for word in result.words
        ]
    return fields


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    """What this network knows of OpenAI's fields of a segment."""
    encoded = segment.text.encode()
    return {
        "id": number,
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": segment.text,
        "temperature": 0.0,  # a search draws nothing
        "avg_logprob": round(_mean_log(segment.words), 4),
        "compression_ratio": round(len(encoded) / len(zlib.compress(encoded)), 3),
    }


def _mean_log(words: Sequence[SpokenWord]) -> float:
    return sum(math.log(max(word.confidence, 1e-10)) for word in words) / max(1, len(words))


def delta(text: str) -> str:
    """A server-sent event: more text."""
    return _event({"type": "transcript.text.delta", "delta": text})


def done(text: str) -> str:
    """The last event: all of the text."""
    return _event({"type": "transcript.text.done", "text": text})


def failed(message: str) -> str:
    """The last event of a transcript that could not be finished."""
    return _event({"type": "error", "error": {"message": message, "type": "invalid_request_error"}})


def _event(fields: dict[str, Any]) -> str:
    return f"data: {json.dumps(fields, ensure_ascii=False)}\n\n"
