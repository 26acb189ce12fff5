"""Distillation, options beside the terms: the classes listed here are what an entry of `terms` chooses from."""

from typing import Annotated

from pydantic import Field

from dualtk.distill.ctc_consistency import CTCConsistencyOptions
from dualtk.distill.encoder_logits import EncoderLogitsOptions
from dualtk.distill.full_kl import FullKLOptions
from dualtk.distill.three_way import ThreeWayOptions
from dualtk.distill.vectors import HeadsOptions, HiddenVectorsOptions

AnyTermOptions = Annotated[
    CTCConsistencyOptions
    | EncoderLogitsOptions
    | FullKLOptions
    | HeadsOptions
    | HiddenVectorsOptions
    | ThreeWayOptions,
    Field(discriminator="name"),
]
