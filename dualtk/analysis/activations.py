"""What goes on inside a network for one utterance: hidden vectors, attention, component outputs, and the lattice.

Shapes: B batch (1 inside), T' output frames, U labels, D width, H heads, V vocabulary, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from dualtk.lattice.joint import joint_lattice
from dualtk.lattice.lattice import Lattice
from dualtk.modes import Mode
from dualtk.transducer.model import Transducer


class AttentionRecorder(TorchFunctionMode):
    """Collects the attention weights, (B, H, Q, K), of every attention that runs inside its block.

    Fused kernels never form the weights; here they are computed once more beside the kernel, so that the network needs
    no code for being looked at.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Let the call through, and note what it attended to."""
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func is functional.scaled_dot_product_attention:
            query, key = args[:2]
            scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5  # (B, H, K, E) -> (B, H, E, K)
            mask = kwargs.get("attn_mask")
            self.weights.append(torch.softmax(scores if mask is None else scores + mask, dim=-1))
        elif func is torch.softmax and isinstance(result, Tensor) and result.dim() == 4:
            self.weights.append(result)
        return result


@dataclass(frozen=True)
class Activations:
    """One utterance in one mode; no batch axis but in the lattice.

    Attributes:
        lattice: log-probabilities of blank and label, B = 1.
        hidden: per block (T', D).
        attention: per attention layer (H, T', T').
        encoder_logits: (T', V) what the joiner makes of the encoder alone.
        predictor_logits: (U + 1, V) what it makes of the predictor alone.
        joint_logits: (T', U + 1, V).
    """

    lattice: Lattice
    hidden: list[Tensor]
    attention: list[Tensor]
    encoder_logits: Tensor
    predictor_logits: Tensor
    joint_logits: Tensor


@torch.inference_mode()
def observe(network: Transducer, feats: Tensor, targets: Tensor, mode: Mode) -> Activations:
    """Run a network in evaluation over one utterance and keep what it did.

    "Alone" means that the joiner adds nothing for the other component. With CoDERT's additive joiner this is its
    h_enc and h_dec; with an output layer it is that layer's view of each, which the paper does not have.

    Args:
        network: in evaluation mode.
        feats: (T, F) raw features.
        targets: (U,) labels.
        mode: the encoder's mode.
    """
    lengths = torch.tensor([feats.shape[0]])
    normalised = network.normalize(feats.unsqueeze(0), lengths)
    with AttentionRecorder() as recorder:
        encoded = network.encode(normalised, lengths, mode)
    num_frames = int(encoded.lengths[0])
    joiner = network.joiner
    encoder = joiner.encoder(encoded.frames[:, :num_frames])
    predictor = network.predict(targets.unsqueeze(0)).through(joiner.predictor)
    lattice = joint_lattice(
        encoder,
        predictor,
        *joiner.layer,
        targets.unsqueeze(0),
        encoded.lengths,
        torch.tensor([targets.shape[0]]),
        activation=joiner.activation,
    )
    return Activations(
        lattice,
        [hidden[0, :num_frames] for hidden in encoded.hidden],
        [weights[0, :, :num_frames, :num_frames] for weights in recorder.weights],
        joiner(encoder[0], torch.zeros_like(encoder[0])),
        joiner(torch.zeros_like(predictor[0]), predictor[0]),
        joiner(encoder[0].unsqueeze(1), predictor),
    )
