"""A dualtk predictor and joiner behind the interface that `torchaudio.models.RNNTBeamSearch` wants of a network.

There blank is the last id, V - 1, and also the start symbol; label k there is k + 1 here.

Shapes: N hypotheses, T frames, D width, J joiner width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchaudio.models import RNNTBeamSearch

from dualtk.search.hypothesis import Hypothesis
from dualtk.transducer.joiner import Joiner
from dualtk.transducer.predictor import Predictor

States = list[list[Tensor]]


class TorchaudioNetwork(nn.Module):
    """transcribe, predict and join of a dualtk network whose encoder has already run."""

    def __init__(self, predictor: Predictor, joiner: Joiner) -> None:
        super().__init__()
        self.predictor = predictor
        self.joiner = joiner
        self.names = list(predictor.init_state(1))

    def transcribe(self, frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encoder frames (1, T, D) -> projected (1, T, J)."""
        return self.joiner.encoder(frames), lengths

    def predict(self, tokens: Tensor, lengths: Tensor, state: States | None) -> tuple[Tensor, Tensor, States]:
        """One token each (N, 1) -> projected outputs (N, 1, J) and states."""
        ours = tokens[:, 0] + 1
        ours[ours == self.joiner.vocab_size] = -1
        before = self.predictor.init_state(1) if state is None else dict(zip(self.names, state[0]))
        output, after = self.predictor.step(ours, before)
        return self.joiner.predictor(output).unsqueeze(1), lengths, [[after[name] for name in self.names]]

    def join(
        self, frames: Tensor, frame_lengths: Tensor, predicted: Tensor, predicted_lengths: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Frame (1, 1, J) and outputs (N, 1, J) -> logits (N, 1, 1, V), blank last."""
        logits = self.joiner(frames.unsqueeze(2), predicted.unsqueeze(1))
        return torch.cat([logits[..., 1:], logits[..., :1]], dim=-1), frame_lengths, predicted_lengths


@torch.inference_mode()
def torchaudio_search(
    predictor: Predictor, joiner: Joiner, frames: Sequence[Tensor], beam: int, max_symbols: int
) -> list[Hypothesis]:
    """Their best hypothesis for each utterance's frames (T, D), ranked by score as ours are; without times."""
    search = RNNTBeamSearch(
        TorchaudioNetwork(predictor, joiner),
        joiner.vocab_size - 1,
        hypo_sort_key=lambda found: found[3],
        step_max_tokens=max_symbols,
    )
    results = []
    for one in frames:
        best = max(search(one, torch.tensor([len(one)]), beam), key=lambda found: found[3])
        results.append(Hypothesis(tokens=[token + 1 for token in best[0][1:]], score=best[3]))
    return results
