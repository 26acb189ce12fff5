"""The sections `features`, `augment` and `batches`."""

from __future__ import annotations

from dualtk.config.section import Section


class FeaturesConfig(Section):
    """Log-mel features, extracted in stage 1."""

    num_mels: int = 80


class AugmentConfig(Section):
    """`dualtk.data.augment.Augmentation`: nothing before `start_step`, so that alignments are found on clean speech."""

    start_step: int = 0
    frequency_warp: float = 0.0
    channel: float = 0.0
    num_frequency_masks: int = 2
    frequency_width: int = 27
    num_time_masks: int = 10
    time_width: int | None = None
    time_fraction: float = 0.05
    time_rate: float | None = None


class BatchesConfig(Section):
    """How utterances become batches."""

    max_frames: int = 40000
    num_buckets: int = 30
    shortest_epochs: int = 0
    num_workers: int = 2
    cache: bool = False
