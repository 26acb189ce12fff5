"""The dualtk command: it finds its commands, imports only the one asked for, and says errors in one line."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Sequence

import pytest

from dualtk import __version__
from dualtk.bin import dualtk
from dualtk.errors import InputError


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "dualtk.bin.dualtk", *arguments], capture_output=True, text=True)


def test_help_lists_the_commands() -> None:
    done = call("--help")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")} == set(dualtk.available())
    assert call("--version").stdout.strip() == __version__
    assert call().returncode == 2


def test_every_command_has_a_main_and_help_with_all_options(capsys: pytest.CaptureFixture[str]) -> None:
    for command in dualtk.available():
        main = importlib.import_module(dualtk.module_name(command)).main
        with pytest.raises(SystemExit) as stop:
            main(["--help"])
        assert stop.value.code == 0
        assert "usage:" in capsys.readouterr().out


def test_help_imports_no_torch() -> None:
    code = "import sys; from dualtk.bin.dualtk import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_unknown_command_is_one_line_and_status_2() -> None:
    done = call("decod")
    assert done.returncode == 2
    assert done.stderr == "dualtk: error: no command 'decod'; `dualtk --help` lists them\n"


def test_underscore_is_hyphen() -> None:
    assert call("prepare_librispeech", "--help").returncode == 0


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [(InputError("a.flac: is empty"), 2, "dualtk: error: a.flac: is empty\n"), (KeyboardInterrupt(), 130, "")],
)
def test_run_turns_errors_into_a_status(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: Sequence[str] | None) -> int:
        raise error

    assert dualtk.run(main) == status
    assert capsys.readouterr().err == message


def test_a_programming_error_keeps_its_traceback() -> None:
    def main(argv: Sequence[str] | None) -> int:
        raise KeyError("bug")

    with pytest.raises(KeyError):
        dualtk.run(main)


def test_a_closed_pipe_is_quiet() -> None:
    code = "from dualtk.bin.dualtk import run\nrun(lambda argv: [print('x' * 99) for _ in range(9999)] and 0)"
    shell = f'"{sys.executable}" -c "{code}" | head -n 1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (len(done.stdout), done.stderr) == (100, "")
