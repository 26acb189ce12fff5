"""Say what is installed and what is wrong with it, one line each; exit status 1 if anything is wrong.

Runs under a bare Python too, so that a broken installation can still be described.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Iterator

NEEDED = (
    "torch",
    "numpy",
    "numba",
    "sentencepiece",
    "kaldiio",
    "soundfile",
    "pydantic",
    "pyyaml",
    "safetensors",
    "tqdm",
)
OPTIONAL = (
    "espeakng-loader",
    "matplotlib",
    "tensorboard",
    "scikit-learn",
    "onnx",
    "onnxruntime",
    "sherpa-onnx",
    "sounddevice",
    "torchaudio",
    "k2",
)
MODULES = {"pyyaml": "yaml"}


def version(package: str) -> str | None:
    """The installed version of a distribution, None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def problems() -> Iterator[str]:
    """Every fault of the installation, each a line that says what to do."""
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
