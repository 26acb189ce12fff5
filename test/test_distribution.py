"""What is published: sdist and wheel are whole, and the wheel works outside the checkout, recipes included."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import dualtk
from dualtk.shared import shared_files, top

pytestmark = pytest.mark.slow  # builds and installs

ROOT = Path(__file__).resolve().parents[1]


def call(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, with nothing of the checkout on its path."""
    environ = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, cwd=cwd, env=environ)


def succeed(*words: object, cwd: Path) -> str:
    done = call(*words, cwd=cwd)
    assert done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    copy = tmp_path_factory.mktemp("checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    for name in filter(None, tracked.stdout.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
            (copy / name).chmod((ROOT / name).stat().st_mode)
    folder = tmp_path_factory.mktemp("dist")
    succeed(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, copy, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment that has the wheel, and what it depends on from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    succeed(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (wheel,) = built.glob("*.whl")
    python = folder / "bin/python"
    succeed(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin"


def test_descriptions_are_valid(built: Path) -> None:
    said = succeed(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)
    assert said.count("PASSED") == 2


def test_the_wheel_holds_modules_and_recipes(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "dualtk"], cwd=ROOT, capture_output=True, text=True, check=True)
    recipes = {f"dualtk/shared/{path}" for path in shared_files(ROOT)}
    own = {name for name in names if ".dist-info/" not in name}
    assert own == set(tracked.stdout.splitlines()) | recipes
    assert not [name for name in names if name.startswith("test/")]


def test_the_sdist_can_be_built_from(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert {"setup.py", "pyproject.toml", "LICENSE", "README.md", "CHANGELOG.md"} <= names
    assert {str(path) for path in shared_files(ROOT)} <= names


def test_the_command_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    assert succeed(installed / "dualtk", "--version", cwd=tmp_path) == f"{dualtk.__version__}\n"
    where = succeed(installed / "python", "-c", "import dualtk; print(dualtk.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)


@pytest.mark.parametrize("name", ["librispeech", "fsdd", "synthetic"])
def test_a_recipe_is_laid_down_and_starts(name: str, installed: Path, tmp_path: Path) -> None:
    assert name in succeed(installed / "dualtk", "recipe", cwd=tmp_path)
    said = succeed(installed / "dualtk", "recipe", name, "mine", cwd=tmp_path)
    script = tmp_path / f"mine/egs/{name}/asr1/run.sh"
    assert said == f"mine/egs/{name}/asr1/run.sh --help describes its options\n"
    environ = {**os.environ, "PATH": f"{installed}:{os.environ['PATH']}", "VIRTUAL_ENV": ""}
    environ.pop("PYTHONPATH", None)
    done = subprocess.run([script, "--help"], capture_output=True, text=True, cwd=tmp_path, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "--train-dir" in done.stdout
    assert {path.parts[-3] for path in (tmp_path / "mine").glob("egs/*/asr1/run.sh")} == {"librispeech", name}


def test_a_method_of_the_recipe_is_read(installed: Path, tmp_path: Path) -> None:
    succeed(installed / "dualtk", "recipe", "librispeech", "mine", cwd=tmp_path)
    method, size = "mine/egs/methods/codert.yaml", "mine/egs/librispeech/asr1/conf/cpu.yaml"
    assert "teacher" in succeed(installed / "dualtk", "config", "show", method, "--size", size, cwd=tmp_path)


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes").write_text("mine")
    command = [sys.executable, "-m", "dualtk.bin.dualtk", "recipe"]
    done = subprocess.run([*command, "fsdd", str(tmp_path / "mine")], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (
        2,
        f"dualtk: error: {tmp_path / 'mine'}: exists already and is not empty\n",
    )
    done = subprocess.run([*command, "wsj", str(tmp_path / "x")], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "dualtk: error: no recipe 'wsj': there are fsdd, librispeech, synthetic\n"


def test_a_checkout_has_its_own() -> None:
    assert top() == ROOT
