"""The dualtk command: it finds its commands, imports only the one asked for, and says errors in one line."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dualtk import __version__
from dualtk.bin import dualtk, problems
from dualtk.errors import InputError

ROOT = Path(__file__).resolve().parent.parent.parent


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
    meant = {"trian": "train", "prepare_librispech": "prepare-librispeech", "x": ""}
    for wrong, command in meant.items():
        question = f": did you mean {command}?" if command else ""
        done = call(wrong)
        assert done.returncode == 2
        assert done.stderr == f"dualtk: error: no command {wrong!r}{question}; `dualtk --help` lists them\n"


@pytest.mark.slow
def test_underscore_is_hyphen() -> None:
    assert call("prepare_librispeech", "--help").returncode == 0


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("a.flac: is empty"), 2, "dualtk: error: a.flac: is empty\n"),
        (KeyboardInterrupt(), 130, "dualtk: interrupted\n"),
    ],
)
def test_run_turns_errors_into_a_status(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: Sequence[str] | None) -> int:
        raise error

    assert dualtk.run(main) == status
    assert capsys.readouterr().err == message


def faulty(error: BaseException) -> dualtk.Main:
    def main(argv: Sequence[str] | None) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "not enough memory: free some, or give less at once (shorter audio, smaller batches)"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes\nError code 12"),
            "not enough memory: free some, or give less at once (shorter audio, smaller batches)",
        ),
        (FileNotFoundError(2, "No such file or directory", "a\nb"), "a\\nb: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            UnicodeDecodeError("utf-8", b"a\xff", 1, 2, "invalid start byte"),
            "text that is not UTF-8: invalid start byte",
        ),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates"), "'\\udcff' cannot be written as UTF-8: a name"),
        (RecursionError("maximum"), "the input is nested too deep"),
        (InputError("d/text:1: \ufeffa\tb\u200b is\nwrong"), "d/text:1: \\ufeffa\\tb\\u200b is\\nwrong"),
    ],
)
def test_whatever_is_raised_becomes_one_line(
    error: BaseException, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dualtk.run(faulty(error)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"dualtk: error: {line}")
    assert said.count("\n") == 1


def parse_json(argv: Sequence[str] | None) -> int:
    return int(json.loads("{"))


def test_what_a_library_raises_says_how_to_see_where(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dualtk.run(parse_json) == 2
    said = capsys.readouterr().err
    assert said.startswith("dualtk: error: JSONDecodeError: Expecting")
    assert said.endswith("(DUALTK_DEBUG=1 shows where)\n")
    monkeypatch.setenv("DUALTK_DEBUG", "1")
    assert dualtk.run(parse_json) == 2
    assert "in parse_json" in capsys.readouterr().err


def test_a_fault_of_dualtk_itself_has_a_status_of_its_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dualtk, "available", lambda: {}["bug"])
    monkeypatch.setattr(problems, "HERE", ROOT)  # this file counts as ours
    assert dualtk.main(["score"]) == 1
    assert capsys.readouterr().err == (
        "dualtk: error: a fault of dualtk itself: KeyError: 'bug'; DUALTK_DEBUG=1 shows where, for a report\n"
    )
    monkeypatch.setenv("DUALTK_DEBUG", "")
    assert dualtk.main(["--debug", "score"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_errors_are_said_of_what_was_read() -> None:
    with pytest.raises(InputError, match=r"^a\.wav: not enough memory"), problems.about("a.wav"):
        raise MemoryError
    with pytest.raises(InputError, match="other"), problems.about("a.wav"):
        raise InputError("other")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shell", "status", "error"),
    [
        ("--help >/dev/full", 2, "dualtk: error: No space left on device\n"),
        ("--help >&-", 0, ""),
        ("decod 2>&-", 2, ""),
        ("decod 2>/dev/full", 2, ""),
        ("validate /nowhere <&-", 2, "/nowhere: no such data directory\n"),
        ("validate $'/no\\xffwhere'", 2, "/no\\udcffwhere: no such data directory\n"),
    ],
)
def test_streams_that_are_closed_or_full(shell: str, status: int, error: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m dualtk.bin.dualtk {shell}'], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (status, error)


def test_a_closed_pipe_is_quiet() -> None:
    code = "from dualtk.bin.dualtk import run\nrun(lambda argv: [print('x' * 99) for _ in range(9999)] and 0)"
    shell = f'"{sys.executable}" -c "{code}" | head -n 1'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True)
    assert (len(done.stdout), done.stderr) == (100, "")
