"""A whole training step beside those of other toolkits: forward, loss, backward, Adam.

    python tools/bench/step.py [--batch 8] [--seconds 16] [--precision float32] [--rounds 5] [--write]

The network is `egs/methods` at the paper's size: a Conformer of 16 layers and 256 units, subsampling by 4, an LSTM
predictor; dropout 0, no augmentation, 1,024 tokens and a label for every 80 ms. A peer has the same parts, of the same
sizes, from its own library. All take turns on the same tensors; medians over the rounds, ratios medians of each
round's ratio. On a CPU time is that of the clock, on as many threads as torch takes.

Axes: B batch, T feature frames, F features, U labels, V vocabulary.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from measure import in_turns, machine, write  # noqa: E402

from dualtk.system import load, require_transducer  # noqa: E402

METHODS = ROOT / "egs/methods"
PAPER = ROOT / "egs/librispeech/asr1/conf/paper.yaml"
PLAIN = (
    "model.encoder.dropout=0",
    "model.predictor.dropout=0",
    "augment.num_frequency_masks=0",
    "augment.num_time_masks=0",
    "sampled_steps=0",
)
AFTER_WARMUPS = 10**6


@dataclass(frozen=True)
class Data:
    """One batch: feats (B, T, F), targets (B, U), lengths (B,)."""

    feats: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    vocabulary: int

    @staticmethod
    def random(batch: int, seconds: float, vocabulary: int, device: torch.device) -> Data:
        """Utterances of 0.8 to 1 times `seconds`."""
        torch.manual_seed(0)
        frames, labels = round(100 * seconds), round(seconds / 0.08 / 4)
        feats = torch.randn(batch, frames, 80, device=device)
        lengths = torch.linspace(frames, 0.8 * frames, batch).long().to(device)
        targets = torch.randint(1, vocabulary, (batch, labels), device=device)
        return Data(feats, lengths, targets, torch.full((batch,), labels, device=device), vocabulary)


class Step:
    """Forward, backward and Adam of a module whose call gives the loss."""

    def __init__(self, module: nn.Module, loss: Callable[[], Tensor], precision: str, device: torch.device) -> None:
        self.module = module.to(device).train()
        self.loss = loss
        self.optimizer = torch.optim.Adam(module.parameters(), lr=1e-6, fused=True)
        if precision == "bfloat16":
            torch.set_float32_matmul_precision("high")  # as dualtk's training does
        self.cast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def __call__(self) -> None:
        """One step."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.cast:
            loss = self.loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.module.parameters(), 5.0)
        self.optimizer.step()

    @property
    def parameters(self) -> float:
        """In millions."""
        return sum(parameter.numel() for parameter in self.module.parameters()) / 1e6


def ours(method: str, data: Data, precision: str, *overrides: str) -> Step:
    """A method of egs/methods at the paper's size."""
    changes = [*PLAIN, *overrides]
    system = require_transducer(load(METHODS / f"{method}.yaml", PAPER, changes), method)
    torch.manual_seed(0)
    network = system.build_network(data.vocabulary, torch.zeros(80), torch.ones(80))
    objective = system.build_objective(network)

    def loss() -> Tensor:
        given = (data.feats, data.lengths, data.targets, data.target_lengths)
        return objective(*given, AFTER_WARMUPS).total

    return Step(objective.module, loss, precision, data.feats.device)


class TorchaudioTransducer(nn.Module):
    """torchaudio's Conformer and RNN-T loss, with a predictor and a joiner of torch's layers of the same sizes."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        from torchaudio.models import Conformer

        self.convolutions = nn.Sequential(nn.Conv2d(1, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1), nn.ReLU())
        self.projection = nn.Linear(64 * 20, 256)
        self.encoder = Conformer(256, 4, 1024, 16, 31, dropout=0.0)
        self.embedding = nn.Embedding(vocabulary, 640)
        self.predictor = nn.LSTM(640, 640, batch_first=True)
        self.from_encoder, self.from_predictor = nn.Linear(256, 640), nn.Linear(640, 640)
        self.output = nn.Linear(640, vocabulary)

    def forward(self, data: Data) -> Tensor:
        """The mean loss of the batch."""
        from torchaudio.functional import rnnt_loss

        x = self.convolutions(data.feats.unsqueeze(1))
        x = self.projection(x.transpose(1, 2).flatten(2))
        encoded, lengths = self.encoder(x, (data.lengths + 3) // 4)
        inputs = nn.functional.pad(data.targets, (1, 0))
        predicted, _ = self.predictor(self.embedding(inputs))
        hidden = torch.tanh(self.from_encoder(encoded).unsqueeze(2) + self.from_predictor(predicted).unsqueeze(1))
        logits = self.output(hidden).float()
        lengths = lengths.clamp(max=logits.shape[1])
        return rnnt_loss(logits, data.targets.int(), lengths.int(), data.target_lengths.int(), blank=0)


def torchaudio_step(data: Data, precision: str) -> Step:
    """The peer that is installed with dualtk."""
    torch.manual_seed(0)
    module = TorchaudioTransducer(data.vocabulary)
    return Step(module, lambda: module(data), precision, data.feats.device)


def main() -> int:
    """Measure, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--vocabulary", type=int, default=1024)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", action="store_true", help="update tools/bench/README.md")
    options = parser.parse_args()
    place = machine()
    data = Data.random(options.batch, options.seconds, options.vocabulary, torch.device(options.device))
    steps = {
        "torchaudio": torchaudio_step(data, options.precision),
        "one mode, exact loss": ours("full_only", data, options.precision, "loss={name: exact}"),
        "one mode, pruned loss": ours("full_only", data, options.precision),
        "streaming alone": ours("streaming_only", data, options.precision),
        "both modes": ours("dual_no_distillation", data, options.precision),
        "both modes, 3-way KL": ours("dual_conformer", data, options.precision),
    }
    seconds = in_turns(dict(steps), options.rounds)
    alone = [a + b for a, b in zip(seconds["one mode, pruned loss"], seconds["streaming alone"])]

    def ratio(first: list[float], second: list[float]) -> str:
        return f"{statistics.median(a / b for a, b in zip(first, second)):.2f}"

    lines = [
        f"{options.batch} x {options.seconds:g} s, {options.precision}, on {options.device}: {place}",
        "",
        "| step | M parameters | ms | faster than torchaudio by | of two steps of one mode |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, step in steps.items():
        share = ratio(seconds[name], alone) if name.startswith("both") else ""
        times = 1e3 * statistics.median(seconds[name])
        faster = ratio(seconds["torchaudio"], seconds[name])
        lines.append(f"| {name} | {step.parameters:.1f} | {times:.1f} | {faster} | {share} |")
    text = "\n".join(lines)
    print(text)
    if options.write:
        write(text, f"step-{options.device}-{options.precision}-{options.batch}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
