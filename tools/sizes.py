"""Every shipped size beside the published one, and what a second mode costs, as a table.

python tools/sizes.py
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from dualtk.modes import ModeOptions
from dualtk.system import TransducerSystem, load

EGS = Path(__file__).resolve().parents[1] / "egs"
PAPER = EGS / "librispeech/asr1/conf/paper.yaml"
FULL, STREAMING = ("full",), ("streaming",)
DUAL = FULL + STREAMING


@dataclass(frozen=True)
class Published:
    """A size in the papers and the method that has it.

    Attributes:
        what, source: what it is, and where it stands.
        millions: parameters, published.
        method: YAML of `egs/methods`, at the papers' size.
        vocab_size: wordpieces with blank.
        modes: the modes that the published network has.
        changes: what else differs from the YAML, as `--set` takes it.
        encoder_only: without predictor and joiner, but with the encoder's projection to the vocabulary.
    """

    what: str
    source: str
    millions: float
    method: str
    vocab_size: int = 1024
    modes: tuple[str, ...] = STREAMING
    changes: tuple[str, ...] = ()
    encoder_only: bool = False


TABLE3, CODERT, KOJIMA = "Dual-mode ASR, table 3", "CoDERT, table 2", "Kojima 2021, table 5"
REDUCTION = (
    "model.encoder.time_reduction=2",
)  # table 2 is of in-house speech; for LibriSpeech it was removed (section 4.3)
SIZES = [
    Published("Conformer", TABLE3, 30.7, "dual_conformer", modes=DUAL),
    Published("ContextNet, standalone", TABLE3, 31.4, "dual_contextnet"),
    Published("ContextNet, dual-mode", TABLE3, 31.8, "dual_contextnet", modes=DUAL),
    Published("Transformer, streaming", TABLE3, 18.9, "transformer_streaming"),
    Published("Transformer, dual-mode", TABLE3, 29.0, "dual_transformer", modes=DUAL),
    Published("LSTM, CoDERT's teacher", CODERT, 46.0, "codert_teacher", 4001, FULL, REDUCTION, True),
    Published("LSTM, CoDERT's student", CODERT, 16.0, "codert_student", 4001, STREAMING, REDUCTION, True),
    Published("Transformer-transducer", KOJIMA, 13.3, "tt_streaming", 256),
    Published("its LSTM baseline", KOJIMA, 13.1, "tt_lstm", 256),
]


def configured(size: Published, modes: tuple[str, ...]) -> TransducerSystem:
    """The system of a size with norms for these modes."""
    system = load(EGS / f"methods/{size.method}.yaml", PAPER, size.changes)
    assert isinstance(system, TransducerSystem)
    return system.model_copy(update={"modes": {name: ModeOptions(full_context=name == "full") for name in modes}})


def count(size: Published, modes: tuple[str, ...] | None = None) -> float:
    """Millions of parameters with the published modes, or with `modes`; nothing is allocated."""
    system = configured(size, size.modes if modes is None else modes)
    with torch.device("meta"):
        network = system.build_network(size.vocab_size, *torch.zeros(2, system.features.dim))
    modules = [network.encoder, network.joiner.encoder] if size.encoder_only else [network]
    return sum(parameter.numel() for module in modules for parameter in module.parameters()) / 1e6


def main() -> None:
    """Print the table."""
    print("| network | source | published M | measured M | difference % | a second mode adds % |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in SIZES:
        measured, dual, single = count(size), count(size, DUAL), count(size, STREAMING)
        changes = f"{100 * (measured / size.millions - 1):+.1f} | {100 * (dual / single - 1):.2f}"
        print(f"| {size.what} (`{size.method}.yaml`) | {size.source} | {size.millions} | {measured:.2f} | {changes} |")


if __name__ == "__main__":
    main()
