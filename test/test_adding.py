"""What a new encoder and a new term touch: a file each, and a line of the union in its `__init__`.

The code is that of docs/adding.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from documents import read
from tiny import ROOT, WORDS, write_set

from dualtk.data.tokens import TokenOptions, write_tokenizer

PAGE = read(ROOT / "docs/adding.md")
FILES = dict(re.findall(r"`((?:dualtk|egs)/\S+)`:\n\n```\w+\n(.*?)^```", PAGE, re.M | re.S))
FILES |= dict(re.findall(r"`(egs/methods/dual_cosine.yaml)` uses it:\n\n```yaml\n(.*?)^```", PAGE, re.M | re.S))
LINE = re.search(r'^    "convolutions": .*\n', PAGE, re.M)
SYSTEM = {
    "base": str(ROOT / "test/conf/dual_conformer.yaml"),
    "features": {"num_mels": 16},
    "model": {
        "encoder": {"name": "convolutions", "dim": 12, "num_layers": 2, "kernel": 5},
        "predictor": {"name": "stateless", "dim": 16},
        "joiner": {"joiner_dim": 16},
    },
    "batches": {"max_frames": 200, "max_utterance_frames": 200, "cache": True},
    "train": {"max_steps": 2, "log_every": 1, "validate_every": 2, "save_every": 2},
}


def add(root: Path, package: str) -> None:
    """Write the page's module of a package, and the line of the union that makes it known."""
    ((path, text),) = ((path, text) for path, text in FILES.items() if path.startswith(f"dualtk/{package}/"))
    (root / path).write_text(text)
    (options,) = re.findall(r"^class (\w+Options)\(", text, re.M)
    assert f"`{options}`" in PAGE
    init = root / "dualtk" / package / "__init__.py"
    known = init.read_text()
    imports = f"from dualtk.{package}.{Path(path).stem} import {options}\n"
    changed = re.sub(r"(?m)^(\w+ = Annotated\[)\n    ", rf"{imports}\n\1\n    {options} | ", known)
    assert changed != known
    init.write_text(changed)


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.py"))}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with what the page adds to it."""
    folder = tmp_path_factory.mktemp("added")
    shutil.copytree(ROOT / "dualtk", folder / "dualtk", ignore=shutil.ignore_patterns("__pycache__"))
    before = contents(folder)
    add(folder, "encoders")
    add(folder, "distill")
    after = contents(folder)
    assert {name for name in after if after[name] != before.get(name)} == {
        "dualtk/encoders/__init__.py",
        "dualtk/encoders/convolutions.py",
        "dualtk/distill/__init__.py",
        "dualtk/distill/frame_cosine.py",
    }
    return folder


def run(copy: Path, *command: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{copy}:{ROOT / 'test'}"}
    return subprocess.run(
        [sys.executable, *command], cwd=folder or copy, env=environment, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_new_encoder_and_a_new_term_are_a_file_and_a_line_each(copy: Path, tmp_path: Path) -> None:
    write_set(tmp_path / "train", 12, seed=1)
    write_set(tmp_path / "dev", 4, seed=2)
    write_tokenizer(tmp_path / "lang", [" ".join(WORDS)], TokenOptions(size=24))
    term = yaml.safe_load(FILES["egs/methods/dual_cosine.yaml"])["terms"]
    term["frame_cosine"] |= {"start_step": 0}
    (tmp_path / "system.yaml").write_text(yaml.safe_dump({**SYSTEM, "terms": term}))
    command = ["-m", "dualtk.bin.train", "--config", "system.yaml", "--exp", "exp", "--device", "cpu"]
    command += ["--train-dir", "train", "--dev-dir", "dev", "--tokens", "lang", "--threads", "1"]
    done = run(copy, *command, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '"streaming/frame_cosine": ' in (tmp_path / "exp/metrics.jsonl").read_text()
    assert "name: convolutions" in (tmp_path / "exp/config.yaml").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dual_convolutions", "dual_cosine"])
def test_the_methods_of_the_page_resolve(copy: Path, name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "egs/methods", tmp_path / "methods")
    path = tmp_path / "methods" / f"{name}.yaml"
    path.write_text(FILES[f"egs/methods/{name}.yaml"])
    size = str(ROOT / "egs/synthetic/asr1/conf/cpu.yaml")
    done = run(copy, "-m", "dualtk.bin.config", "show", str(path), "--size", size)
    assert done.returncode == 0, done.stderr
    assert {"dual_convolutions": "convolutions", "dual_cosine": "frame_cosine"}[name] in done.stdout


@pytest.mark.slow
def test_the_encoder_keeps_the_contract(copy: Path) -> None:
    """That of all others, with the page's line among them."""
    assert LINE is not None
    line = LINE[0]
    text = (ROOT / "test/encoders/test_contract.py").read_text(encoding="utf-8")
    changed = re.sub(r"^ENCODERS: .* = \{\n", lambda found: found[0] + line, text, flags=re.M)
    assert changed != text
    (copy / "test_contract.py").write_text(changed)
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-k", "convolutions"]
    done = run(copy, "-m", "pytest", *options, "test_contract.py")
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"^\d{2,} passed", done.stdout, re.M)
