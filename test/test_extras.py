"""What works without the packages that are extras, and what is said where one is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dualtk.bin.dualtk import available
from dualtk.errors import InputError
from dualtk.extras import extra, import_problem

ROOT = Path(__file__).resolve().parents[1]
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")

# Runs a command in a process that cannot import the packages named before `--`.
WITHOUT = """
import sys
cut = sys.argv.index("--")
for name in sys.argv[1:cut]:
    sys.modules[name] = None
from dualtk.bin.dualtk import main
sys.exit(main(sys.argv[cut + 1 :]))
"""

# Runs a command, and ends with what of these it imported.
HEAVY = """
import sys
from dualtk.bin.dualtk import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
heavy = ("torch", "numba", "sentencepiece", "soundfile", "kaldiio", "matplotlib", "dualtk.system")
sys.exit(", ".join(name for name in heavy if name in sys.modules) or 0)
"""


def call(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_what_is_absent_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with (
        pytest.raises(InputError, match=r"^matplotlib is not installed: pip install 'dualtk\[plots\]'$"),
        extra("plots"),
    ):
        import matplotlib  # noqa: F401


def test_what_is_broken_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "for_another_torch.py").write_text("raise OSError('undefined symbol: of torch\\nand more')")
    monkeypatch.syspath_prepend(tmp_path)
    line = r"^a package of 'dualtk\[hub\]' is installed but does not import: undefined symbol: of torch$"
    with pytest.raises(InputError, match=line), extra("hub"):
        import for_another_torch  # type: ignore[import-not-found] # noqa: F401
    said = "for_another_torch is installed but does not import: undefined symbol: of torch"
    assert import_problem("for_another_torch", "loss") == said
    assert import_problem("no_such_package", "loss") == "no_such_package is not installed"


def test_every_extra_that_is_named_exists() -> None:
    named = {
        name for path in (ROOT / "dualtk").rglob("*.py") for name in re.findall(r'extra\("(\w+)"\)', path.read_text())
    }
    assert named
    for name in named:
        assert f'"{name}": [' in SETUP


ASKED = [["--help"], ["--version"], ["trian"], ["data", "split", "--help"], *([name, "--help"] for name in available())]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ASKED, ids=" ".join)
def test_help_waits_for_nothing_heavy(arguments: list[str]) -> None:
    done = call(HEAVY, *arguments)
    assert done.returncode == 0, done.stderr


def test_the_package_itself_imports_nothing_heavy() -> None:
    code = "import sys, dualtk; sys.exit(len({'torch', 'numpy', 'pydantic', 'numba'} & sys.modules.keys()))"
    assert call(code).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "analyse"])
def test_figures_need_plots(command: str) -> None:
    done = call(WITHOUT, "matplotlib", "--", command, "exp")
    assert (done.returncode, done.stderr) == (
        2,
        "dualtk: error: matplotlib is not installed: pip install 'dualtk[plots]'\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["features", "tokens", "train", "decode", "score", "results", "transcribe", "pack"])
def test_nothing_else_needs_an_extra(command: str) -> None:
    """torchaudio, k2 and kaldialign are needed nowhere: commands come as far as that their input is missing."""
    options = {
        "features": ["x", "--out", "y"],
        "tokens": ["--plain", "x", "--out", "y"],
        "train": ["--config", "x", "--exp", "y", "--train-dir", "z", "--dev-dir", "z"],
        "decode": ["--exp", "x", "--mode", "full", "--data", "y"],
        "score": ["--data", "x", "--decode", "y"],
        "results": ["x"],
        "transcribe": ["--exp", "x", "a.wav"],
        "pack": ["x", "y"],
    }[command]
    absent = ["torchaudio", "k2", "kaldialign", "matplotlib", "tensorboard", "sklearn", "onnx", "onnxruntime"]
    done = call(WITHOUT, *absent, "--", command, *options)
    assert done.returncode == 2
    assert done.stderr.startswith(("dualtk: error: x", "dualtk: error: y/decode.json", "x"))
