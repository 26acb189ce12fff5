"""The parts of a network as functions of tensors alone, each of which becomes one graph.

What the joiner reads of a frame or of the labels is computed where that comes from, so the joiner's graph has only what
both meet in. Mean and variance of the features are part of the encoder.

Axes: N streams, T feature frames, T' output frames, C labels, F features, J joiner width, S numbers of a state,
V vocabulary.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from dualtk.modes import Mode
from dualtk.nn.masks import MASKED
from dualtk.nn.state import Spec
from dualtk.pruning.masks import prunable_layers
from dualtk.streaming.compiled_step import fix_positions
from dualtk.transducer.model import Transducer
from dualtk.transducer.predictor import LSTMPredictor

UNKNOWN_ID = 1


def network_of_mode(network: Transducer, mode: Mode) -> Transducer:
    """A copy whose weights are those that `mode` uses, its mask multiplied in."""
    own = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in prunable_layers(own).values():
        layer.weight.copy_(layer.masked_weight(mode))
        layer.set_mask(mode.name, None)
    return own


def without_unknown(network: Transducer) -> Transducer:
    """A copy that never writes `<unk>`, which sherpa-onnx takes for blank."""
    own = copy.deepcopy(network).eval().requires_grad_(False)
    layer = own.joiner.output or own.joiner.predictor
    layer.bias[UNKNOWN_ID] += MASKED
    return own


class FullEncoder(nn.Module):
    """Whole utterances: features (N, T, F) and their lengths (N,) -> what the joiner reads (N, T', J), lengths (N,)."""

    def __init__(self, network: Transducer, mode: Mode, repeats: int) -> None:
        super().__init__()
        self.network = network_of_mode(network, mode)
        self.mode = mode
        self.repeats = repeats

    def forward(self, feats: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(N, T, F), (N,) -> (N, T', J), (N,)."""
        encoded = self.network.encode(self.network.normalize(feats, lengths), lengths, self.mode)
        frames = repeat_frames(self.network.joiner.encoder(encoded.frames), self.repeats)
        return frames, encoded.lengths * self.repeats


class StreamingEncoder(nn.Module):
    """One chunk: features (N, T, F) and the state before it -> what the joiner reads (N, T', J), the state after it.

    T are the features of a chunk and those by which the input runs ahead of the output; the next window begins a chunk
    later. All zeros are the start of a stream.
    """

    def __init__(self, network: Transducer, mode: Mode, repeats: int) -> None:
        super().__init__()
        self.network = network_of_mode(network, mode)
        self.mode = mode
        self.repeats = repeats
        self.shift = mode.chunk * network.encoder.subsampling
        self.window = self.shift + mode.look_ahead_frames
        spec = network.encoder.state_spec(mode)
        self.spec: Spec = {name: shape for name, shape in spec.items() if math.prod(shape)}
        self.empty: Spec = {name: shape for name, shape in spec.items() if not math.prod(shape)}
        encoder = self.network.encoder
        start = torch.zeros(1, self.shift, encoder.input_dim), encoder.init_state(1, mode)
        assert isinstance(encoder, nn.Module)
        fix_positions(encoder, lambda: encoder.step(*start, mode))

    def forward(self, feats: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """(N, T, F), states -> (N, T', J), states."""
        network = self.network
        chunk = (feats[:, self.mode.look_ahead_frames :] - network.feature_mean) * network.feature_istd
        state = dict(zip(self.spec, values))
        state |= {name: feats.new_zeros(feats.shape[0], *shape) for name, shape in self.empty.items()}
        frames, after = network.encoder.step(chunk, state, self.mode)
        frames = repeat_frames(network.joiner.encoder(frames), self.repeats)
        return (frames, *(after[name] for name in self.spec))


class PackedStates(nn.Module):
    """A streaming encoder whose state is two tensors (1, N, S): what sherpa-onnx keeps for its encoders of type `lstm`.

    It only stores them, joins those of several streams along N, and fills them with zeros at the start.
    """

    def __init__(self, encoder: StreamingEncoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.sizes = [math.prod(shape) for shape in encoder.spec.values()]
        self.widths = (sum(self.sizes) - 1, 1)

    def forward(self, feats: Tensor, state0: Tensor, state1: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, T, F), two of (1, N, S) -> (N, T', J), two of (1, N, S)."""
        pieces = torch.split(torch.cat([state0, state1], dim=2).squeeze(0), self.sizes, dim=1)
        shapes = self.encoder.spec.values()
        states = (piece.reshape(feats.shape[0], *shape) for piece, shape in zip(pieces, shapes))
        frames, *after = self.encoder(feats, *states)
        state = torch.cat([value.flatten(1) for value in after], dim=1).unsqueeze(0)
        return frames, state[:, :, :-1], state[:, :, -1:]


class LabelWindow(nn.Module):
    """The last labels (N, C) -> what the joiner reads (N, J).

    Blank is the start of the utterance, before which there is nothing (-1): so sherpa-onnx begins. An LSTM predictor
    starts anew in every window, so what it says of more than C labels differs from what it was trained to say.
    """

    def __init__(self, network: Transducer, num_labels: int) -> None:
        super().__init__()
        self.predictor = network.predictor
        self.projection = network.joiner.predictor
        self.num_labels = num_labels

    def forward(self, labels: Tensor) -> Tensor:
        """(N, C) -> (N, J)."""
        known = torch.where(labels > 0, labels, torch.full_like(labels, -1))
        if isinstance(self.predictor, LSTMPredictor):
            output = self._last_output(self.predictor, known, (labels < 0).sum(1, keepdim=True))
        else:
            state = self.predictor.init_state(labels.shape[0])
            for label in known.unbind(1):
                output, state = self.predictor.step(label, state)
        projected: Tensor = self.projection(output)
        return projected

    def _last_output(self, predictor: LSTMPredictor, labels: Tensor, missing: Tensor) -> Tensor:
        """The output (N, D) after the last label; the first `missing` (N, 1) of the window do not exist."""
        places = torch.arange(self.num_labels)
        labels = labels.gather(1, (places + missing) % self.num_labels)  # those that exist come first
        outputs = predictor.windows(labels)
        is_last = (places == self.num_labels - 1 - missing).unsqueeze(2)
        return (outputs * is_last.to(outputs.dtype)).sum(1)


class LabelStep(nn.Module):
    """One more label (N, 1), -1 for the start, and the state -> what the joiner reads (N, J), the state after it."""

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.predictor = network.predictor
        self.projection = network.joiner.predictor
        self.spec: Spec = {name: tuple(value.shape[1:]) for name, value in network.predictor.init_state(1).items()}

    def forward(self, labels: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        """(N, 1), states -> (N, J), states."""
        output, after = self.predictor.step(labels.squeeze(1), dict(zip(self.spec, values)))
        return (self.projection(output), *(after[name] for name in self.spec))


class Joint(nn.Module):
    """What the joiner reads of a frame and of the labels, (N, J) each -> logits (N, V)."""

    def __init__(self, network: Transducer) -> None:
        super().__init__()
        self.joiner = network.joiner

    def forward(self, encoder: Tensor, predictor: Tensor) -> Tensor:
        """(N, J) twice -> (N, V)."""
        return self.joiner(encoder, predictor)


def repeat_frames(frames: Tensor, repeats: int) -> Tensor:
    """(N, T', J) -> (N, T' * repeats, J), each frame `repeats` times in a row."""
    if repeats == 1:
        return frames
    return frames.unsqueeze(2).expand(-1, -1, repeats, -1).flatten(1, 2)
