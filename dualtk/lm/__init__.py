"""Language models that are networks, an options class a file; `language_model.name` chooses from the list here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from dualtk.lm.lstm import LSTMLanguageModelOptions
from dualtk.lm.transformer import TransformerLanguageModelOptions

LanguageModelOptions = Annotated[
    LSTMLanguageModelOptions | TransformerLanguageModelOptions, Field(discriminator="name")
]
