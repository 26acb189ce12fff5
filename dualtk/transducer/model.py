"""The network: an encoder that runs in several modes, one predictor, one joiner (Dual-mode ASR, section 3).

Shapes: B batch, T frames, U labels, D width, J joiner width, F features, V vocabulary, S prune range.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor, nn

from dualtk.encoders import EncoderOptions
from dualtk.encoders.base import Encoder, EncoderOutput
from dualtk.lattice.inputs import JointInputs
from dualtk.lattice.joint import joint_lattice
from dualtk.lattice.lattice import Lattice
from dualtk.modes import Mode
from dualtk.nn.features import normalize, run_ahead
from dualtk.options import Section
from dualtk.transducer.ctc import CTCHead, required_head
from dualtk.transducer.joiner import Joiner, JoinerOptions
from dualtk.transducer.predicted import Predicted
from dualtk.transducer.predictor import Predictor, PredictorOptions


@dataclass
class Pass:
    """One run of the network over a batch, up to the joiner.

    Attributes:
        encoded: frames (B, T, D), their lengths and the hidden vectors.
        predicted: predictor outputs (B, U+1, D), shared with the other passes of the step.
        joiner: the joiner that these two meet in.
        ctc: the network's CTC head, where it has one.
    """

    encoded: EncoderOutput
    predicted: Predicted
    joiner: Joiner
    ctc: CTCHead | None = None

    @cached_property
    def projected(self) -> Tensor:
        """(B, T, J): the frames as the joiner reads them."""
        projected: Tensor = self.joiner.encoder(self.encoded.frames)
        return projected

    @cached_property
    def ctc_log_probs(self) -> Tensor:
        """(B, T, V): log-probabilities of the CTC head, in at least float32.

        Raises:
            InputError: the network has none.
        """
        log_probs: Tensor = required_head(self.ctc)(self.encoded.frames)
        return log_probs

    def joint(self) -> JointInputs:
        """All that the joiner reads."""
        return JointInputs(
            self.projected,
            self.predicted.through(self.joiner.predictor),
            *self.joiner.layer,
            self.joiner.activation,
        )

    def lattice(
        self, targets: Tensor, target_lengths: Tensor, ranges: Tensor | None = None, *, backend: str = "auto"
    ) -> Lattice:
        """The lattice over targets (B, U), whole or on `ranges` (B, T, S), by a backend of `dualtk.lattice`."""
        inputs = self.joint()
        return joint_lattice(
            inputs.encoder,
            inputs.predictor,
            inputs.weight,
            inputs.bias,
            targets,
            self.encoded.lengths,
            target_lengths,
            ranges=ranges,
            activation=inputs.activation,
            backend=backend,
        )


class Transducer(nn.Module):
    """An RNN transducer whose encoder runs in any of its modes with shared weights (Graves 2012; Dual-mode ASR).

    Args:
        encoder, predictor, joiner: the built parts.
        feature_mean, feature_istd: (F,) global mean and inverse standard deviation of the features; they travel in the
            checkpoint, so that nothing outside it is needed to decode.
        ctc: a CTC head on the encoder, where training asks for one; the transducer does not read it.
    """

    feature_mean: Tensor
    feature_istd: Tensor

    def __init__(
        self,
        encoder: Encoder,
        predictor: Predictor,
        joiner: Joiner,
        feature_mean: Tensor,
        feature_istd: Tensor,
        ctc: CTCHead | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.predictor = predictor
        self.joiner = joiner
        self.ctc = ctc
        self.register_buffer("feature_mean", feature_mean)
        self.register_buffer("feature_istd", feature_istd)
        self._open_mode: Mode | None = None

    @contextmanager
    def mode(self, mode: Mode) -> Iterator[None]:
        """Calls inside the block run in `mode`. Resolved at `forward`'s entry; layers only see an argument.

        Raises:
            RuntimeError: inside another open mode; which one would count is not worth guessing.
        """
        if self._open_mode is not None:
            raise RuntimeError(f"mode {mode.name} opened inside mode {self._open_mode.name}; modes do not nest")
        self._open_mode = mode
        try:
            yield
        finally:
            self._open_mode = None

    def forward(
        self,
        feats: Tensor,
        lengths: Tensor,
        predicted: Predicted,
        mode: Mode | None = None,
        *,
        return_heads: bool = False,
    ) -> Pass:
        """Normalised feats (B, T, F), lengths (B,) and predictor outputs (B, U+1, D) -> one pass.

        `mode` may be left out inside `with network.mode(...)`; `return_heads` keeps the attention heads of each block.
        """
        mode = mode or self._open_mode
        if mode is None:
            raise RuntimeError("no mode: open one with network.mode(...) or pass it")
        return Pass(self.encode(feats, lengths, mode, return_heads=return_heads), predicted, self.joiner, self.ctc)

    def normalize(self, feats: Tensor, lengths: Tensor) -> Tensor:
        """Raw feats (B, T, F) to zero mean and unit variance; frames beyond `lengths` become zero."""
        return normalize(feats, lengths, self.feature_mean, self.feature_istd)

    def encode(self, feats: Tensor, lengths: Tensor, mode: Mode, *, return_heads: bool = False) -> EncoderOutput:
        """Normalised feats (B, T, F), lengths (B,) -> encoder frames, in `mode`; look-ahead is a shift of the input."""
        return self.encoder(run_ahead(feats, mode.look_ahead_frames), lengths, mode, return_heads)

    def predict(self, targets: Tensor) -> Predicted:
        """Labels (B, U) -> predictor outputs (B, U+1, D); the same for every mode, so computed once a step."""
        return Predicted(self.predictor(targets))

    def token_parameters(self) -> set[str]:
        """Names of parameters whose first axis is the vocabulary."""
        output = self.joiner.output
        owners: list[nn.Module] = [self.joiner.encoder, self.joiner.predictor] if output is None else [output]
        owners += [self.predictor.embedding, *([] if self.ctc is None else [self.ctc.output])]
        wanted = {id(parameter) for owner in owners for parameter in owner.parameters()}
        return {name for name, parameter in self.named_parameters() if id(parameter) in wanted}

    def num_parameters(self) -> int:
        """Trainable parameters, all modes together."""
        return sum(parameter.numel() for parameter in self.parameters())


def count_parameters_of_mode(network: Transducer, mode_names: list[str], name: str) -> int:
    """Parameters a network would have with the norms of mode `name` only."""
    others = {other for other in mode_names if other != name}
    return sum(parameter.numel() for key, parameter in network.named_parameters() if not others & set(key.split(".")))


class ModelOptions(Section):
    """A transducer: encoder, predictor, joiner."""

    encoder: EncoderOptions
    """From features to frames, in every mode."""
    predictor: PredictorOptions
    """From the labels so far to what they say of the next."""
    joiner: JoinerOptions
    """From both to logits."""

    def build(
        self,
        mode_names: Sequence[str],
        vocab_size: int,
        feature_mean: Tensor,
        feature_istd: Tensor,
        *,
        with_ctc: bool = False,
    ) -> Transducer:
        """The network for tokens 0 (blank) to `vocab_size` - 1 and features of these statistics (F,).

        `with_ctc`: it has a CTC head, whose weights are drawn after all others.
        """
        encoder = self.encoder.build(feature_mean.numel(), mode_names)
        predictor = self.predictor.build(vocab_size)
        joiner = self.joiner.build(encoder.output_dim, predictor.output_dim, vocab_size)
        ctc = CTCHead(encoder.output_dim, vocab_size) if with_ctc else None
        return Transducer(encoder, predictor, joiner, feature_mean, feature_istd, ctc)
