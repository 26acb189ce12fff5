"""The `dualtk` command: the stages of dualtk/bin as sub-commands, each imported only when it is asked for."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from dualtk.bin.problems import DEBUG, problem
from dualtk.errors import InputError, visible
from dualtk.owner import end_with_parent
from dualtk.version import __version__

PACKAGE = "dualtk.bin"
LONGEST = 2000  # letters of an error

# In the order in which a recipe runs them. `a-b` is the module a_b of dualtk.bin.
COMMANDS = {
    "recipe": "write a recipe into a folder, for use without a checkout",
    "prepare-librispeech": "Kaldi data directories from a corpus in the layout of LibriSpeech",
    "prepare-table": "a Kaldi data directory from a TSV, a CSV or JSON lines",
    "data": "combine, split, cut and copy data directories; statistics of features made elsewhere",
    "validate": "every fault of a Kaldi data directory, with file and line",
    "config": "show, explain and name configurations",
    "features": "log-mel features and CMVN statistics of data directories",
    "shard": "a training set as sequential tar files, for disks and networks that are slow at random",
    "tokens": "train the tokens that transcripts are cut into",
    "train": "train a transducer by a YAML file",
    "train-lm": "train a language model over tokens from text",
    "tune": "find the weights of language models on a development set",
    "decode": "transcribe a data directory in streaming or full-context mode",
    "score": "word error rate and emission latency, in sclite's formats",
    "results": "one table of all decoded sets, both modes side by side",
    "report": "an HTML report of an experiment",
    "analyse": "the papers' figures: lattices, emissions, posteriors",
    "transcribe": "transcribe audio files with a trained model",
    "serve": "serve live streams, files and a page with a trained model",
    "pack": "write a trained model as a folder to hand on",
    "push": "put a model folder on a model hub",
    "pull": "fetch a model folder from a model hub",
    "extract": "take one model out of a trained supernet",
    "export": "write ONNX files for sherpa-onnx or onnxruntime, and compare them",
    "ablate": "run a series of related experiments",
}

Main = Callable[[Sequence[str] | None], int]


def module_name(command: str) -> str:
    """The module that implements `command`."""
    return f"{PACKAGE}.{command.replace('-', '_')}"


def available() -> dict[str, str]:
    """The commands that this installation has, with their descriptions."""
    return {name: text for name, text in COMMANDS.items() if importlib.util.find_spec(module_name(name))}


def usage() -> str:
    """The text of `dualtk --help`."""
    lines = [f"  {name:<20} {text}" for name, text in available().items()]
    return "\n".join(
        [
            f"dualtk {__version__}: streaming and full-context speech recognition with one set of weights",
            "usage: dualtk COMMAND [OPTION ...]",
            "",
            *lines,
            "",
            "`dualtk COMMAND --help` describes the options of a command; `dualtk --debug COMMAND` shows tracebacks.",
        ]
    )


def run(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run `main` and return the exit status.

    Bad input, and whatever a library raises, becomes one line on stderr and status 2; a fault of dualtk itself one line
    and status 1. With DUALTK_DEBUG in the environment the traceback comes with it.
    """
    open_streams()
    try:
        try:
            return main(argv)
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        print("dualtk: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        close_output()  # the reader has gone: `dualtk ... | head`
        return 141
    except InputError as error:
        return tell(str(error), 2)
    except Exception as error:
        found = problem(error)
        return tell(found.line, 1 if found.is_ours else 2)


def open_streams() -> None:
    """Standard streams that were closed lead nowhere, and no character makes them fail."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 (as long as the process)
        elif name == "stdout" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def close_output() -> None:
    """Lead stdout nowhere: the interpreter must not fail again when it flushes what could not be written."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def tell(line: str, status: int) -> int:
    """Say what ended the command, on one line; returns `status`."""
    with contextlib.suppress(OSError):
        if os.environ.get(DEBUG):
            traceback.print_exc()
        print(f"dualtk: error: {visible(line[:LONGEST])}{'...' if len(line) > LONGEST else ''}", file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        close_output()
    return status


def follow_parent() -> None:
    """End with the recipe that started this command, where it asks for that."""
    if os.environ.pop("DUALTK_PARENT", "") == str(os.getppid()):
        end_with_parent(signal.SIGTERM)


def like(command: str) -> str:
    """What may have been meant, as a question; nothing if no command looks like it."""
    from difflib import get_close_matches

    close = get_close_matches(command, available(), n=1)
    return f": did you mean {close[0]}?" if close else ""


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Find the command in `argv` (without the program's name) and run it."""
    follow_parent()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--debug"]:
        os.environ[DEBUG] = "1"
        arguments.pop(0)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(__version__)
        return 0
    command = arguments[0].replace("_", "-")
    if command not in available():
        raise InputError(f"no command {arguments[0]!r}{like(command)}; `dualtk --help` lists them")
    sys.argv = [f"dualtk {command}", *arguments[1:]]  # what usage lines and experiments say of the program
    main: Main = importlib.import_module(module_name(command)).main
    return main(arguments[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `dualtk` script."""
    return run(dispatch, argv)


if __name__ == "__main__":
    sys.exit(main())
