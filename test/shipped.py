"""The methods that the repository ships, and the sizes that each of them has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from dualtk.system import PretrainingSystem, System, TransducerSystem, load

ROOT = Path(__file__).resolve().parents[1]
METHODS = {path.stem: path for path in sorted(ROOT.glob("egs/methods/*.yaml"))}
CORPORA = ("fsdd", "librispeech", "synthetic")
SIZES = {
    "paper": ROOT / "egs/librispeech/asr1/conf/paper.yaml",
    **{f"cpu-{corpus}": ROOT / f"egs/{corpus}/asr1/conf/cpu.yaml" for corpus in CORPORA},
}
SHIPPED = [(method, size) for method in METHODS for size in SIZES]


def load_shipped(method: str, size: str, *overrides: str) -> System:
    """A shipped method at one of the sizes, with `key.path=value` changes."""
    return load(METHODS[method], SIZES[size], overrides)


def load_transducer(method: str, size: str, *overrides: str) -> TransducerSystem:
    """`load_shipped` of a method that trains a transducer."""
    system = load_shipped(method, size, *overrides)
    assert isinstance(system, TransducerSystem)
    return system


@cache
def is_pretraining(method: str) -> bool:
    """Whether the method has no transducer, at any size."""
    return isinstance(load_shipped(method, "paper"), PretrainingSystem)
