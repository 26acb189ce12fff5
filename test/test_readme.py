"""What the README tells its reader to type exists: targets of make, recipes, commands, and every option named."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path

import pytest
import soundfile
from shipped import METHODS, ROOT
from small_experiment import write_experiment
from small_networks import speech

import dualtk

pytestmark = pytest.mark.slow

README = (ROOT / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def commands() -> list[str]:
    """The lines of fenced and indented blocks, without prompts and comments, continued lines joined."""
    fenced = re.findall(r"^```(?:sh|bash|console)?\n(.*?)^```", README, re.S | re.M)
    indented = re.findall(r"(?:^|\n\n)((?: {4}.*\n)+)", re.sub(r"^```.*?^```", "", README, flags=re.S | re.M))
    lines = "".join([*fenced, *indented]).replace("\\\n", " ").splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if not line.strip().startswith(("#", "|"))]


def words_of(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def with_program(*endings: str) -> list[str]:
    return [line for line in commands() if words_of(line) and words_of(line)[0].endswith(endings)]


@lru_cache
def help_of(*program: str) -> str:
    done = subprocess.run([*program, "--help"], capture_output=True, text=True, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 0, f"{program}: {done.stderr}"
    return done.stdout


def check_options(words: list[str], text: str) -> None:
    for word in words:
        if word.startswith("--"):
            option = word.split("=")[0].replace("_", "-")
            assert re.search(rf"{option}\b(?!-)", text), f"{option} is in the README, but not in --help"


def test_the_first_screen_has_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:30])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("target", ["demo", "test", "check", "test-k2", "format", ".venv"])
def test_make_knows_its_targets(target: str) -> None:
    done = subprocess.run(["make", "-n", target], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", with_program("make"))
def test_make_commands(command: str) -> None:
    words = words_of(command)
    done = subprocess.run(["make", "-n", *words[1:]], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", with_program("run.sh"))
def test_recipe_commands(command: str) -> None:
    words = words_of(command)
    scripts = [ROOT / words[0]] if "egs/" in words[0] else sorted(ROOT.glob("egs/*/asr1/run.sh"))
    check_options(words[1:], "".join(help_of(str(script)) for script in scripts))


def patterns(page: str) -> list[str]:
    """The names and patterns in the first column of the page's table of methods."""
    table = page.split("| `--conf` |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([\w*]+)`", row)]


@pytest.mark.parametrize("page", ["README.md", "docs/methods.md"])
def test_methods_in_tables_exist(page: str) -> None:
    found = patterns((ROOT / page).read_text(encoding="utf-8"))
    assert found
    assert not [pattern for pattern in found if not any(fnmatch(method, pattern) for method in METHODS)]


def test_the_table_of_methods_has_all_that_there_are() -> None:
    found = patterns((ROOT / "docs/methods.md").read_text(encoding="utf-8"))
    assert not [method for method in METHODS if not any(fnmatch(method, pattern) for pattern in found)]


def test_the_python_of_the_first_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another network and recording."""
    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)
    exp = write_experiment(tmp_path / "exp")
    soundfile.write(tmp_path / "recording.wav", 0.1 * speech(32000, 1).numpy(), 16000)
    monkeypatch.chdir(tmp_path)
    code = re.sub(r'load\(".*"\)', f"load({str(exp)!r})", block)
    assert code.count(str(exp)) == 1
    found: dict[str, object] = {}
    exec(code, found)
    assert str(found["result"].text) == dualtk.load(exp).transcribe("recording.wav", mode="two-pass").text


@pytest.mark.parametrize("method", re.findall(r"--conf (\S+?)[`\s]", README))
def test_methods_in_commands_exist(method: str) -> None:
    assert method in METHODS


@pytest.mark.parametrize("command", with_program("dualtk"))
def test_dualtk_commands(command: str) -> None:
    words = words_of(command)
    parts = 3 if words[1:2] in (["data"], ["config"]) else 2
    program = ["dualtk"] if len(words) == 1 or words[1].startswith("-") else words[:parts]
    check_options(words[1:], help_of(*program) + "--help --version")


@pytest.mark.parametrize("command", [line for line in commands() if words_of(line)])
def test_the_program_exists(command: str) -> None:
    program = next(word for word in words_of(command) if "=" not in word or command == word)
    known = (
        "=" in program
        or shutil.which(program, path=ENVIRONMENT["PATH"])
        or (ROOT / program).exists()
        or program.endswith("run.sh")
    )
    assert known or program in ("cd", "export"), f"{program} is no program"
