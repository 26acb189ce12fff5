"""dualtk: streaming and full-context speech recognition with one set of weights.

    import dualtk

    recognizer = dualtk.load("exp/dual_conformer")
    result = recognizer.transcribe("talk.wav", mode="two-pass")
    print(result.text)

`import dualtk` imports nothing heavy: torch comes with the first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dualtk.version import __version__

if TYPE_CHECKING:
    from dualtk.errors import InputError
    from dualtk.recognizer import Recognizer, Stream, load
    from dualtk.search.hypothesis import SpokenWord
    from dualtk.search.options import SearchOptions
    from dualtk.streaming.endpoint import EndpointOptions
    from dualtk.transcript import Result, Segment

__all__ = [
    "EndpointOptions",
    "InputError",
    "Recognizer",
    "Result",
    "SearchOptions",
    "Segment",
    "SpokenWord",
    "Stream",
    "__version__",
    "load",
]

_MODULES = {
    "EndpointOptions": "dualtk.streaming.endpoint",
    "InputError": "dualtk.errors",
    "Result": "dualtk.transcript",
    "Segment": "dualtk.transcript",
    "SearchOptions": "dualtk.search.options",
    "SpokenWord": "dualtk.search.hypothesis",
}


def __getattr__(name: str) -> Any:
    """A name of the public face, imported when it is asked for; `dualtk.lattice` too."""
    if name == "lattice":
        return importlib.import_module("dualtk.lattice")
    if name not in __all__:
        raise AttributeError(f"module 'dualtk' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES.get(name, "dualtk.recognizer")), name)


def __dir__() -> list[str]:
    return [*__all__, "lattice"]
