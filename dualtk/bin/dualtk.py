"""The `dualtk` command: the stages of dualtk/bin as sub-commands, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence

from dualtk.errors import InputError
from dualtk.owner import end_with_parent
from dualtk.version import __version__

PACKAGE = "dualtk.bin"

# In the order in which a recipe runs them. `a-b` is the module a_b of dualtk.bin.
COMMANDS = {
    "prepare-librispeech": "Kaldi data directories from a corpus in the layout of LibriSpeech",
    "validate": "every fault of a Kaldi data directory, with file and line",
    "config": "show, explain and name configurations",
    "features": "log-mel features and CMVN statistics of data directories",
    "tokens": "train the tokens that transcripts are cut into",
    "train": "train a transducer by a YAML file",
    "train-lm": "train a language model over tokens from text",
    "decode": "transcribe a data directory in streaming or full-context mode",
    "score": "word error rate and emission latency, in sclite's formats",
    "results": "one table of all decoded sets, both modes side by side",
    "report": "an HTML report of an experiment",
    "analyse": "the papers' figures: lattices, emissions, posteriors",
    "transcribe": "transcribe audio files with a trained model",
    "pack": "write a trained model as a folder to hand on",
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
            "`dualtk COMMAND --help` describes the options of a command.",
        ]
    )


def run(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run `main` and return the exit status; bad input becomes one line on stderr and status 2."""
    try:
        return main(argv)
    except InputError as error:
        print(f"dualtk: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has gone (`dualtk ... | head`); the interpreter must not fail again when it flushes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def follow_parent() -> None:
    """End with the recipe that started this command, where it asks for that."""
    if os.environ.pop("DUALTK_PARENT", "") == str(os.getppid()):
        end_with_parent(signal.SIGTERM)


def dispatch(argv: Sequence[str] | None = None) -> int:
    """Find the command in `argv` (without the program's name) and run it."""
    follow_parent()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(__version__)
        return 0
    command = arguments[0].replace("_", "-")
    if command not in available():
        raise InputError(f"no command {arguments[0]!r}; `dualtk --help` lists them")
    sys.argv = [f"dualtk {command}", *arguments[1:]]  # what usage lines and experiments say of the program
    main: Main = importlib.import_module(module_name(command)).main
    return main(arguments[1:])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `dualtk` script."""
    return run(dispatch, argv)


if __name__ == "__main__":
    sys.exit(main())
