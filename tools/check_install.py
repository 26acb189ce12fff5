"""Say what is installed and what is wrong with it, one line each; exit status 1 if anything is wrong.

Runs under a bare Python too, so that a broken installation can still be described.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import sys
from collections.abc import Iterator

NEEDED = (
    "torch",
    "torchaudio",
    "numpy",
    "numba",
    "sentencepiece",
    "kaldiio",
    "soundfile",
    "pydantic",
    "pyyaml",
    "safetensors",
)
OPTIONAL = ("espeakng-loader", "tensorboard", "matplotlib", "scikit-learn", "k2", "onnxruntime", "sherpa-onnx")
MODULES = {"pyyaml": "yaml"}


def version(package: str) -> str | None:
    """The installed version of a distribution, None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def problems() -> Iterator[str]:
    """Every fault of the installation, each a line that says what to do."""
    if not (3, 10) <= sys.version_info[:2] < (3, 13):
        yield f"Python is {platform.python_version()}: dualtk needs 3.10, 3.11 or 3.12"
    if version("dualtk") is None:
        yield "dualtk is not installed: make .venv"
    for package in NEEDED:
        if version(package) is None:
            yield f"{package} is not installed: make .venv"
            continue
        try:
            importlib.import_module(MODULES.get(package, package))
        except Exception as error:
            yield f"{package} {version(package)} cannot be imported: {str(error).splitlines()[0]}"
    torch, torchaudio = version("torch"), version("torchaudio")
    if torch and torchaudio and torch.split(".")[:2] != torchaudio.split(".")[:2]:
        yield f"torch {torch} and torchaudio {torchaudio} are no pair: install the same release of both"
    if cuda_of("torch") != cuda_of("torchaudio"):
        yield f"torch {torch} and torchaudio {torchaudio} are built for different CUDA: install both from one index"


def cuda_of(package: str) -> str:
    """Which CUDA a torch package was built for, as its version says (`2.9.0+cu128`), or nothing."""
    match = re.search(r"\+(\w+)$", version(package) or "")
    return match[1] if match else ""


def hardware() -> Iterator[str]:
    """What torch sees, and which transducer backends work here."""
    import torch

    from dualtk.lattice import list_backends

    yield f"torch threads: {torch.get_num_threads()}; built for CUDA {torch.version.cuda or 'none'}"
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield f"GPUs: {', '.join(names) or 'none, everything runs on the CPU'}"
    for backend in list_backends():
        yield f"transducer backend {backend.name}: {backend.unavailable_reason or 'works'}"


def main() -> int:
    """Print the report."""
    print(f"Python {platform.python_version()} on {platform.platform()}")
    for package in ("dualtk", *NEEDED, *OPTIONAL):
        print(f"{package}: {version(package) or 'not installed'}")
    found = list(problems())
    if not found:
        print(*hardware(), sep="\n")
    for line in found:
        print(f"problem: {line}", file=sys.stderr)
    print("no problems" if not found else f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
