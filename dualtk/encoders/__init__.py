"""Encoders, a paper each: the classes of options listed here are what `model.encoder.name` chooses from."""

from typing import Annotated

from pydantic import Field

from dualtk.encoders.conformer import ConformerOptions
from dualtk.encoders.contextnet import ContextNetOptions
from dualtk.encoders.lstm import LSTMOptions
from dualtk.encoders.transformer import TransformerOptions
from dualtk.encoders.wav2vec import Wav2VecOptions

EncoderOptions = Annotated[
    ConformerOptions | ContextNetOptions | LSTMOptions | TransformerOptions | Wav2VecOptions,
    Field(discriminator="name"),
]
