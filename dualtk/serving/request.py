"""What a request to `/v1/audio/transcriptions` asks for, in the form of OpenAI's API."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dualtk.errors import InputError
from dualtk.serving.web import FormData

RESPONSE_FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
GRANULARITIES = ("word", "segment")


class FieldError(InputError):
    """A field that is not understood."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


@dataclass(frozen=True)
class FileWish:
    """What is asked for.

    Attributes:
        mode: of the network.
        response_format: one of `RESPONSE_FORMATS`.
        granularities: of times in verbose_json.
        is_streamed: results come as they are made.
    """

    mode: str
    response_format: str
    granularities: Sequence[str]
    is_streamed: bool


def read_file_wish(form: FormData, modes: Sequence[str], default_mode: str) -> FileWish:
    """Fields that are not named here (`model`, `language`, `prompt`, `temperature`) change nothing.

    Raises:
        FieldError: names the field.
    """
    mode = _one_of(form, "mode", modes, default_mode)
    response_format = _one_of(form, "response_format", RESPONSE_FORMATS, "json")
    is_streamed = _one_of(form, "stream", ("true", "false", "True", "False"), "false").lower() == "true"
    granularities = [
        str(one) for key in ("timestamp_granularities[]", "timestamp_granularities") for one in form.getlist(key)
    ]
    for one in granularities:
        if one not in GRANULARITIES:
            raise FieldError("timestamp_granularities", f"{one[:40]!r}: expected {' or '.join(GRANULARITIES)}")
    if granularities and response_format != "verbose_json":
        raise FieldError("timestamp_granularities", "are for response_format verbose_json")
    if is_streamed and response_format not in ("json", "text"):
        raise FieldError("stream", "is for response_format json or text")
    return FileWish(mode, response_format, granularities or ["segment"], is_streamed)


def _one_of(form: FormData, field: str, values: Sequence[str], default: str) -> str:
    value = form.get(field, default)
    if value not in values:
        shown = repr(value[:40]) if isinstance(value, str) else "a file"
        raise FieldError(field, f"{shown}: expected one of {', '.join(values)}")
    return str(value)
