"""The sections `terms` and `loss`: what a step minimises."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dualtk.config.section import Amount, Count, Positive, Probability, Section, Size


class TermSection(Section):
    """Between which passes a term is, and how its weight grows; see `dualtk.distill.terms.WeightedTerm`."""

    student: str
    teacher: str
    weight: Amount = 1.0
    start_step: Count = 0
    warmup_steps: Count = 0
    reduction: Literal["mean", "sum"] = "mean"

    def arguments(self) -> dict[str, Any]:
        """The fields of the term itself."""
        schedule = {"student", "teacher", "weight", "start_step", "warmup_steps"}
        return {key: value for key, value in super().arguments().items() if key not in schedule}


class ThreeWayConfig(TermSection):
    """`dualtk.distill.three_way.ThreeWay`: in-place distillation (Dual-mode ASR, section 3.2)."""

    name: Literal["three_way"]
    shift: int = Field(default=0, ge=-16, le=16)
    symmetric: bool = False


class EncoderLogitsConfig(TermSection):
    """`dualtk.distill.encoder_logits.EncoderLogits` (CoDERT, section 3.3)."""

    name: Literal["encoder_logits"]
    distance: Literal["l2", "cross_entropy", "cosine"] = "l2"
    top_k: Size | None = None
    reach_teacher: bool = False


class HiddenConfig(TermSection):
    """`dualtk.distill.hidden.HiddenVectors` (Kojima 2021, equation 6)."""

    name: Literal["hidden"]


class HeadsConfig(TermSection):
    """`dualtk.distill.heads.Heads` (Kojima 2021, equation 7)."""

    name: Literal["heads"]


class FullKLConfig(TermSection):
    """`dualtk.distill.full_kl.FullKL`."""

    name: Literal["full_kl"]
    temperature: Positive = 1.0
    top_k: Size | None = None


TermConfig = Annotated[
    ThreeWayConfig | EncoderLogitsConfig | HiddenConfig | HeadsConfig | FullKLConfig, Field(discriminator="name")
]


class ExactLossConfig(Section):
    """`dualtk.transducer.criterion.ExactLoss`."""

    name: Literal["exact"]
    fastemit_lambda: Amount = 0.0
    delay_penalty: float = 0.0


class PrunedLossConfig(Section):
    """`dualtk.transducer.criterion.PrunedLoss`."""

    name: Literal["pruned"]
    prune_range: int = Field(default=5, ge=2)
    simple_scale: Amount = 0.5
    lm_scale: Probability = 0.25
    am_scale: Probability = 0.0
    warmup_steps: Count = 2000
    fastemit_lambda: Amount = 0.0
    delay_penalty: float = 0.0


LossConfig = Annotated[ExactLossConfig | PrunedLossConfig, Field(discriminator="name")]
