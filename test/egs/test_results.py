"""Commands of RESULTS.md and docs/: each is understood by its program, and what it would train resolves.

A shell runs every block of commands with programs that only write down how they were called.
"""

from __future__ import annotations

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import pytest
from documents import PAGES, blocks, read
from shipped import METHODS, ROOT

from dualtk.bin.ablation.runs import chosen, plan
from dualtk.bin.ablation.size import sized
from dualtk.bin.ablation.suite import find_budget, load_suite
from dualtk.bin.dualtk import available, module_name
from dualtk.system import load

RESULTS = [*sorted(ROOT.glob("egs/*/asr1/RESULTS.md")), ROOT / "docs/papers.md"]
ESPNET = (ROOT / "utils/espnet_names.txt").read_text(encoding="utf-8")
ADDED = re.findall(r"`egs/methods/(\w+)\.yaml`", read(ROOT / "docs/adding.md"))  # methods that a reader has written
SCRIPTS = [path.relative_to(ROOT) for path in [*ROOT.glob("egs/*/asr1/run.sh"), *ROOT.glob("utils/*.sh")]]
RECORD = '#!/bin/bash\nprintf "%s\\0" "$0" "$@" >>"$RECORD"\nprintf "\\n\\0" >>"$RECORD"\n'
Call = tuple[str, ...]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the paths of the repository, in which every program only records its call."""
    folder = tmp_path_factory.mktemp("stage")
    for path in [*SCRIPTS, Path("bin/dualtk")]:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(RECORD)
        (folder / path).chmod(0o755)
    return folder


def calls(text: str, stage: Path) -> list[Call]:
    """The calls that a shell makes of a block of commands; programs that are not recorded are not there."""
    record = stage / "calls"
    record.unlink(missing_ok=True)
    environment = {"PATH": str(stage / "bin"), "RECORD": str(record)}
    bash = shutil.which("bash")
    assert bash is not None
    subprocess.run([bash, "-c", text], cwd=stage, env=environment, capture_output=True)
    words = record.read_text().split("\0")[:-1] if record.exists() else []
    found: list[Call] = []
    while words:
        end = words.index("\n")
        found.append((words[0].removeprefix(str(stage / "bin") + "/"), *words[1:end]))
        words = words[end + 1 :]
    return found


@lru_cache
def help_of(script: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / script, "--help"], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def check_recipe(script: str, arguments: list[str]) -> None:
    """Its options are those that it lists, and its method at its size is one that there is."""
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    for option in given:
        known = re.search(rf"^  {option.replace('_', '-')} ", help_of(script), re.M)
        assert known or f"\n{option[2:]} " in ESPNET, f"{option} is not in {script} --help"
    if given.get("--conf") in ADDED:
        return
    default = Path(script).parent / "conf/cpu.yaml"  # any size; what is asked is whether the method is there
    size = given.get("--size", "cpu")
    load(METHODS[given.get("--conf", "dual_conformer")], default if size == "cpu" else Path(size))


def check_command(command: str, arguments: list[str]) -> None:
    """It takes these options, and what it would train resolves."""
    if command in ("--help", "--version"):
        return
    assert command in available()
    parser = importlib.import_module(module_name(command)).parser()
    if "..." in arguments:  # the rest is what the reader gives
        assert all(one in parser._option_string_actions for one in arguments if one.startswith("--"))
        return
    options = parser.parse_args(arguments)
    if command == "ablate":
        check_suites(options)
    elif getattr(options, "config", None) is not None:
        load(options.config, options.size, options.set)


def check_suites(options: argparse.Namespace) -> None:
    """The suite plans; SUITE stands for every one that has the budget."""
    paths = [options.suite]
    if options.suite.stem == "SUITE":
        paths = [path for path in options.suite.parent.glob("*.yaml") if options.budget in load_suite(path).budgets]
    assert paths
    for path in paths:
        suite = load_suite(path)
        budget = find_budget(path, suite, options.budget)
        size = sized(options.size, budget, str(path))
        runs = plan(path, suite, options.runs, size, options.set)
        names = options.systems or budget.systems
        if names:
            plan(path, chosen(suite, runs, names), options.runs, size, options.set)


@pytest.mark.slow
@pytest.mark.parametrize("path", [*RESULTS, *PAGES], ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_every_command_is_understood(path: Path, stage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    made = [call for block in blocks(read(path)) if block.is_shell for call in calls(block.text, stage)]
    if path in RESULTS:
        assert any(program == "dualtk" for program, *_ in made)
        assert any(program.endswith("run.sh") for program, *_ in made)
    for program, *arguments in made:
        if program == "dualtk":
            check_command(arguments[0], arguments[1:])
        elif program.endswith("run.sh"):
            check_recipe(program, arguments)
        else:
            assert (ROOT / program).is_file()
