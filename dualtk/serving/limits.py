"""What a server takes from its clients, and what it refuses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from dualtk.options import Section, Unit


class Limits(Section):
    """What a server takes from its clients."""

    max_streams: PositiveInt = 100
    """Live streams at once; others are refused."""
    max_uploads: PositiveInt = 4
    """Files that are transcribed at once; others are refused."""
    max_latency: Annotated[PositiveFloat, Unit("chunks")] = 0.75
    """95th percentile of chunk latency above which new streams are refused, so that old ones do not come late."""
    max_message: Annotated[PositiveInt, Unit("bytes")] = 1 << 20
    """Longest message of a stream."""
    max_messages: Annotated[PositiveInt, Unit("a second")] = 200
    """Messages of a stream, on average; five seconds' worth may come at once."""
    max_ahead: Annotated[float, Field(ge=1.0), Unit("seconds")] = 10.0
    """Audio of a client that waits to be decoded; no more of it is read then."""
    max_stream: Annotated[PositiveFloat, Unit("seconds")] = 6 * 3600.0
    """Audio of a stream."""
    max_idle: Annotated[PositiveFloat, Unit("seconds")] = 60.0
    """Without a message of a client, or without it reading its own, before it is closed."""
    max_header: Annotated[PositiveFloat, Unit("seconds")] = 10.0
    """For the head of a request, from its connection or its first byte on."""
    max_upload: Annotated[PositiveInt, Unit("megabytes")] = 200
    """Of an uploaded file."""
    max_duration: Annotated[PositiveFloat, Unit("seconds")] = 4 * 3600.0
    """Audio of an uploaded file."""
    max_openings: Annotated[NonNegativeInt, Unit("a minute")] = 600
    """Streams and uploads that one address opens; 0 for any number."""
    max_hotwords: NonNegativeInt = 50
    """Words and phrases that a stream may prefer."""
    max_drain: Annotated[PositiveFloat, Unit("seconds")] = 30.0
    """For which streams go on after SIGTERM."""
