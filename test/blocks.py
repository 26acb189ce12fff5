"""Blocks by their names and the options that matter to a test; all other options have their defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import TypeAdapter

from dualtk.distill import AnyTermOptions
from dualtk.distill.terms import Term
from dualtk.encoders import EncoderOptions

MODE_NAMES = ("full", "streaming")
ENCODER: TypeAdapter[Any] = TypeAdapter(EncoderOptions)
TERM: TypeAdapter[Any] = TypeAdapter(AnyTermOptions)


def make_encoder(name: str, input_dim: int, mode_names: Sequence[str] = MODE_NAMES, **options: object) -> Any:
    """The encoder `name` of features of `input_dim`, with norms for these modes."""
    return ENCODER.validate_python({"name": name, **options}).build(input_dim, mode_names)


def make_term(name: str, **options: object) -> Term:
    """The term `name`."""
    term: Term = TERM.validate_python({"name": name, "student": "streaming", "teacher": "full", **options}).build()
    return term
