"""Distillation, a term a file: the classes of options listed here are what an entry of `terms` chooses from."""

from typing import Annotated

from pydantic import Field

from dualtk.distill.ctc_consistency import CTCConsistencyOptions
from dualtk.distill.encoder_logits import EncoderLogitsOptions
from dualtk.distill.full_kl import FullKLOptions
from dualtk.distill.heads import HeadsOptions
from dualtk.distill.hidden import HiddenVectorsOptions
from dualtk.distill.three_way import ThreeWayOptions

AnyTermOptions = Annotated[
    CTCConsistencyOptions
    | EncoderLogitsOptions
    | FullKLOptions
    | HeadsOptions
    | HiddenVectorsOptions
    | ThreeWayOptions,
    Field(discriminator="name"),
]
