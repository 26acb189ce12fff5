"""The network of pre-training: an encoder, what stands for masked frames, and the targets (wav2vec 2.0, section 2).

Axes: B batch, T feature frames, T' encoder frames, M masked frames, F features, C channels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualtk.encoders.base import EncoderOutput
from dualtk.modes import Mode
from dualtk.nn.features import normalize, run_ahead
from dualtk.nn.masks import padding_mask
from dualtk.ssl.masking import MaskedFrames
from dualtk.ssl.penalties import feature_penalty
from dualtk.ssl.quantizer import Quantized, Quantizer


class PretrainableEncoder(Protocol):
    """An encoder that opens between its feature extractor and its context network."""

    input_dim: int
    output_dim: int
    extracted_dim: int
    subsampling: int

    def extract(self, feats: Tensor, lengths: Tensor, mode: Mode) -> Tensor:
        """Normalised feats (B, T, F) and their lengths -> (B, T', C)."""

    def project(self, extracted: Tensor, mode: Mode) -> Tensor:
        """(B, T', C) -> (B, T', D), what the context network reads."""

    def context(self, projected: Tensor, lengths: Tensor, mode: Mode) -> EncoderOutput:
        """(B, T', D) and the (B,) lengths of the feats -> frames (B, T', D)."""


@dataclass(frozen=True)
class MaskedPass:
    """One run of the network over a batch whose frames were masked.

    Attributes:
        context: (B, M, target_dim) what the context network says of each masked frame.
        targets: what stood there.
        penalty: scalar, mean square of the extractor's output.
    """

    context: Tensor
    targets: Quantized
    penalty: Tensor


class PretrainingNetwork(nn.Module):
    """An encoder in any of its modes, with a quantiser of its features; both are shared by the modes.

    Args:
        encoder: is what is kept for fine-tuning; its weights have the names that a transducer's encoder has.
        quantizer: from the extractor's output to targets.
        target_dim: width in which context and targets meet, the quantiser's output.
        feature_mean, feature_istd: (F,) global mean and inverse standard deviation of the features.
        extractor_gradient: the gradient that reaches the feature extractor is multiplied by this (section 4.2).
    """

    feature_mean: Tensor
    feature_istd: Tensor

    def __init__(
        self,
        encoder: PretrainableEncoder,
        quantizer: Quantizer,
        target_dim: int,
        feature_mean: Tensor,
        feature_istd: Tensor,
        *,
        extractor_gradient: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.mask_embedding = nn.Parameter(torch.rand(encoder.output_dim))
        self.quantizer = quantizer
        self.projection = nn.Linear(encoder.output_dim, target_dim)
        self.extractor_gradient = extractor_gradient
        self.register_buffer("feature_mean", feature_mean)
        self.register_buffer("feature_istd", feature_istd)

    def normalize(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Raw feats (B, T, F) to zero mean and unit variance; frames beyond `lengths` become zero."""
        return normalize(feats, lengths, self.feature_mean, self.feature_istd)

    def forward(
        self, feats: Tensor, lengths: Tensor, mode: Mode, mask: Tensor, frames: MaskedFrames, temperature: float
    ) -> MaskedPass:
        """Normalised feats (B, T, F), lengths (B,), the (B, T') mask and its frames -> one pass in `mode`.

        Targets are made of the extractor's output in this mode, before it is masked.
        """
        extracted = self.encoder.extract(run_ahead(feats, mode.look_ahead_frames), lengths, mode)
        extracted = extracted.detach() + self.extractor_gradient * (extracted - extracted.detach())
        # Without weights of its own: an affine map after the norm would vanish in the quantiser's first layer.
        quantizable = functional.layer_norm(frames.take(extracted), extracted.shape[2:])
        targets = self.quantizer(quantizable, frames.valid, temperature)

        projected = self.encoder.project(extracted, mode)
        hidden = functional.pad(mask, (0, projected.size(1) - mask.size(1))).unsqueeze(2)  # whole chunks are longer
        projected = torch.where(hidden, self.mask_embedding.to(projected.dtype), projected)
        encoded = self.encoder.context(projected, lengths, mode)
        penalty = feature_penalty(extracted, padding_mask(encoded.lengths, extracted.size(1)))
        return MaskedPass(self.projection(frames.take(encoded.frames)), targets, penalty)

    def num_parameters(self) -> int:
        """Trainable parameters, all modes together."""
        return sum(parameter.numel() for parameter in self.parameters())
