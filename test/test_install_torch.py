"""Which torch `make .venv` takes: from indexes that hold a small package of that name."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # makes an environment

SCRIPT = Path(__file__).resolve().parents[1] / "utils/install_torch.sh"
WHEEL = "torch-2.99.0+cpu-py3-none-any.whl"
RECORD = "torch-2.99.0+cpu.dist-info"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one wheel."""
    folder = tmp_path_factory.mktemp("wheels")
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        archive.writestr("torch/__init__.py", "")
        archive.writestr(
            f"{RECORD}/METADATA",
            "Metadata-Version: 2.1\nName: torch\nVersion: 2.99.0+cpu\nRequires-Dist: no-such-package\n",
        )
        archive.writestr(f"{RECORD}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{RECORD}/RECORD", "")
    return folder


@pytest.fixture(scope="module")
def index(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a package index in a folder."""
    folder = tmp_path_factory.mktemp("index")
    (folder / "torch").mkdir()
    (folder / "torch" / WHEEL).write_bytes((wheels / WHEEL).read_bytes())
    link = WHEEL.replace("+", "%2B")
    (folder / "torch/index.html").write_text(f'<!DOCTYPE html><html><body><a href="{link}">{WHEEL}</a></body></html>')
    return folder


@pytest.fixture(scope="module")
def server(index: Path) -> Iterator[str]:
    """The same on this machine's network."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(index))
    handler.log_message = lambda *arguments: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an empty environment."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    return folder / "bin/python"


@pytest.fixture
def python(environment: Path) -> Path:
    """The same without torch."""
    subprocess.run([str(environment), "-m", "pip", "uninstall", "-q", "-y", "torch"], check=True, capture_output=True)
    return environment


def installed(python: Path) -> str:
    code = "import importlib.metadata as m; print(*(x.version for x in m.distributions(name='torch')))"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def run(python: Path, tmp_path: Path, torch_index: str = "", driver: bool = False) -> subprocess.CompletedProcess[str]:
    """The script, with an nvidia-smi that finds a GPU or fails."""
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nexit {0 if driver else 9}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TORCH_INDEX": torch_index}
    return subprocess.run([str(SCRIPT), str(python)], capture_output=True, text=True, env=environ)


def test_a_folder_of_wheels(python: Path, tmp_path: Path, wheels: Path) -> None:
    done = run(python, tmp_path, str(wheels))
    assert done.stdout == f"== torch 2.99.0+cpu from {wheels}, as TORCH_INDEX says\n", done.stderr
    assert installed(python) == "2.99.0+cpu"
    assert run(python, tmp_path).stdout == "== torch 2.99.0+cpu is there already\n"


def test_a_folder_of_an_index(python: Path, tmp_path: Path, index: Path) -> None:
    done = run(python, tmp_path, str(index))
    assert done.stdout == f"== torch 2.99.0+cpu from {index}, as TORCH_INDEX says\n", done.stderr


def test_a_mirror_is_taken_beside_a_driver_too(python: Path, tmp_path: Path, server: str) -> None:
    done = run(python, tmp_path, server, driver=True)
    assert done.stdout == f"== torch 2.99.0+cpu from {server}, as TORCH_INDEX says\n", done.stderr
    assert installed(python) == "2.99.0+cpu"


def test_a_driver_leaves_torch_to_pip(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, driver=True)
    assert (done.returncode, done.stdout) == (0, "== torch: the usual index's, as nvidia-smi finds an NVIDIA driver\n")
    assert installed(python) == ""


def test_what_cannot_be_reached_is_said_and_left_to_pip(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, "http://127.0.0.1:9/cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("== torch: the usual index's, as http://127.0.0.1:9/cpu cannot be reached: ")
    assert done.stdout.endswith("refused\n")
    assert done.stdout.count("\n") == 1
    assert installed(python) == ""


def test_an_index_without_torch_is_said_and_left_to_pip(python: Path, tmp_path: Path, server: str) -> None:
    done = run(python, tmp_path, f"{server}/none")
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"== torch: the usual index's, as {server}/none has none: No matching distribution found for torch>=2.8\n"
    )


def test_a_folder_without_torch_is_refused(python: Path, tmp_path: Path) -> None:
    done = run(python, tmp_path, str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.startswith(f"install_torch.sh: error: {tmp_path}: ")
    assert done.stderr.count("\n") == 1
