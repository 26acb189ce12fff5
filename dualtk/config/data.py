"""The sections `features`, `augment` and `batches`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag

from dualtk.config.section import Amount, Count, Probability, Section, Size

SAMPLES_PER_FRAME = 160  # 10 ms at 16 kHz


class FbankConfig(Section):
    """Log-mel features, extracted in stage 1."""

    kind: Literal["fbank"] = "fbank"
    num_mels: Size = 80

    @property
    def dim(self) -> int:
        """F, the dimension of a frame."""
        return self.num_mels

    @property
    def reach(self) -> float:
        """Seconds from the start of a frame to the end of the audio that it covers: 10 ms apart, centred in 25 ms."""
        return 0.0175


class SamplesConfig(Section):
    """Raw samples, `dualtk.data.samples`."""

    kind: Literal["samples"]

    @property
    def dim(self) -> int:
        """F, the dimension of a frame."""
        return SAMPLES_PER_FRAME

    @property
    def reach(self) -> float:
        """Seconds from the start of a frame to the end of the audio that it covers."""
        return 0.010


def _kind(section: Any) -> Any:
    """The kind of a section, log-mel where it does not say."""
    return section.get("kind", "fbank") if isinstance(section, dict) else getattr(section, "kind", None)


FeaturesConfig = Annotated[
    Annotated[FbankConfig, Tag("fbank")] | Annotated[SamplesConfig, Tag("samples")], Discriminator(_kind)
]


class AugmentConfig(Section):
    """`dualtk.data.augment.Augmentation`: nothing before `start_step`, so that alignments are found on clean speech."""

    start_step: Count = 0
    frequency_warp: Amount = 0.0
    channel: Amount = 0.0
    num_frequency_masks: Count = 2
    frequency_width: Count = 27
    num_time_masks: Count = 10
    time_width: Count | None = None
    time_fraction: Probability = 0.05
    time_rate: Amount | None = None


class BatchesConfig(Section):
    """How utterances become batches."""

    max_frames: Size = 40000
    num_buckets: Size = 30
    shortest_epochs: Count = 0
    num_workers: Count = 2
    cache: bool = False
