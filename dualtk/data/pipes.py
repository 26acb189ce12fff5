"""Commands of wav.scp that end in `|`, understood and never run: what file they read, and what they do to its audio.

Known are flac, sph2pipe, sox, ffmpeg, wav-copy, cat and gunzip in the forms that Kaldi's recipes write, one after
another too.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from dualtk.data.pipe_ffmpeg import ffmpeg
from dualtk.data.pipe_sox import sox
from dualtk.data.pipe_words import LOSSLESS, STDIN, STDOUT, Stage, Words, clock
from dualtk.data.reading import Channels, Reading, Step, Trim
from dualtk.errors import InputError


@dataclass(frozen=True)
class Pipe:
    """A command that is understood.

    Attributes:
        file: what it reads, as it is written.
        reading: what it does.
        stages: its programs with their arguments.
    """

    file: str
    reading: Reading
    stages: tuple[tuple[str, ...], ...]

    def entry(self, path: str) -> str:
        """The same command for the same file at another place, as wav.scp has it."""
        first = [path if word == self.file else word for word in self.stages[0]]
        return " | ".join(shlex.join(words) for words in (first, *self.stages[1:])) + " |"


def is_pipe(value: str) -> bool:
    """Whether an entry of wav.scp or feats.scp is a command."""
    return "|" in (value[:1], value[-1:])


def parse_pipe(value: str) -> Pipe:
    """Understand a command.

    Raises:
        InputError: it is not understood; says which program, option or effect of it.
    """
    stages = _split(value)
    parsed: list[Stage] = []
    for words in stages:
        program = os.path.basename(words[0])
        if program not in PROGRAMS:
            raise InputError(f"the program {program}")
        try:
            parsed.append(PROGRAMS[program](Words(program, words[1:])))
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{program}: {error}") from error
    first = parsed[0]
    if first.file in STDIN or any(stage.file not in STDIN for stage in parsed[1:]):
        raise InputError("what it reads")
    if any(stage.raw or stage.compressed for stage in parsed[1:]):
        raise InputError(f"{os.path.basename(stages[-1][0])} behind another program")
    steps = tuple(step for stage in parsed for step in stage.steps)
    return Pipe(first.file, Reading(0, first.compressed, first.raw, steps), tuple(tuple(words) for words in stages))


def _split(value: str) -> list[list[str]]:
    """The words of each program, as a shell would have them; what only a shell could do is refused."""
    if not value.endswith("|"):
        raise InputError("a command that it writes to")
    lexer = shlex.shlex(value[:-1], posix=True, punctuation_chars=True)
    lexer.commenters = ""
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError as error:
        raise InputError(f"its quotes ({error})") from error
    stages: list[list[str]] = [[]]
    while words:
        if words[:3] == ["2", ">", "/dev/null"]:
            words = words[3:]
        elif words[0] == "|":
            stages.append([])
            words = words[1:]
        elif re.fullmatch(r"[();<>|&]+", words[0]) or (stages[-1] and ("$" in words[0] or "`" in words[0])):
            raise InputError(f"{words[0]}, which needs a shell")
        else:
            stages[-1].append(words[0])
            words = words[1:]
    if not all(stages):
        raise InputError("a program that is missing")
    return stages


def _flac(words: Words) -> Stage:
    """`flac -c -d -s F`."""
    known = {"--decode": "d", "--stdout": "c", "--silent": "s", "--totally-silent": "s", "--force": "f"}
    flags, files, start, end = set(), [], 0, None
    for word in words:
        if word.startswith(("--skip=", "--until=")) and word.partition("=")[2].isdigit():
            number = int(word.partition("=")[2])
            start, end = (number, end) if word.startswith("--skip") else (start, number)
        elif word in known:
            flags.add(known[word])
        elif re.fullmatch("-[dcsf]+", word):
            flags |= set(word[1:])
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            files.append(word)
    if not {"c", "d"} <= flags:
        raise InputError("flac without -c -d")
    return Stage(words.only(files), (Trim(start, end, in_samples=True),) if start or end is not None else ())


def _sph2pipe(words: Words) -> Stage:
    """`sph2pipe -f wav -p -c 1 F`."""
    files: list[str] = []
    steps: list[Step] = []
    for word in words:
        letter, rest = word[1:2], word[2:]
        if not word.startswith("-") or word == "-":
            files.append(word)
        elif word == "-p":
            continue
        elif letter in "fcts":
            value = rest or words.value(word)
            if letter == "f" and value not in LOSSLESS:
                raise words.refuse(f"-f {value}")
            if letter == "c":
                if value not in ("1", "2"):
                    raise words.refuse(f"-c {value}")
                steps.insert(0, Channels((int(value) - 1,)))
            if letter in "ts":
                start, _, end = value.partition(":")
                number = clock if letter == "t" else float
                steps.append(Trim(number(start or "0"), number(end) if end else None, letter == "s"))
        else:
            raise words.refuse(word)
    return Stage(words.only(files), tuple(steps))


def _wav_copy(words: Words) -> Stage:
    """`wav-copy F -`."""
    files = [word for word in words if not word.startswith(("--print-args", "--verbose"))]
    if len(files) != 2 or files[1] not in STDOUT or any(word.startswith("--") for word in files):
        raise InputError("wav-copy in another form than `wav-copy FILE -`")
    return Stage(files[0])


def _cat(words: Words) -> Stage:
    """`cat F`."""
    files = list(words)
    if any(word.startswith("-") and word != "-" for word in files):
        raise words.refuse(files[0])
    return Stage(words.only(files))


def _gunzip(words: Words) -> Stage:
    """`gunzip -c F`, `gzip -dc F` or `zcat F`."""
    flags, files = set("cd" if words.program == "zcat" else "d" if words.program == "gunzip" else ""), []
    for word in words:
        if re.fullmatch("-[cdqf]+", word):
            flags |= set(word[1:])
        elif word.startswith("-"):
            raise words.refuse(word)
        else:
            files.append(word)
    if not {"c", "d"} <= flags:
        raise InputError(f"{words.program} that does not write to stdout")
    return Stage(words.only(files), compressed=True)


PROGRAMS: dict[str, Callable[[Words], Stage]] = {
    "flac": _flac,
    "sph2pipe": _sph2pipe,
    "sox": sox,
    "ffmpeg": ffmpeg,
    "cat": _cat,
    "wav-copy": _wav_copy,
    "gunzip": _gunzip,
    "gzip": _gunzip,
    "zcat": _gunzip,
}
