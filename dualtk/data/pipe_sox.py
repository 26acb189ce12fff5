"""What a call of sox does to the audio of one file."""

from __future__ import annotations

import re
from collections.abc import Callable

from dualtk.data.pipe_words import LOSSLESS, STDOUT, Stage, Words, decibels, sox_position, sox_rate
from dualtk.data.reading import Channels, Gain, Rate, RawFormat, Step, Trim
from dualtk.errors import InputError

RAW_TYPES = {"raw": "", "s16": "PCM_16", "sw": "PCM_16", "ul": "ULAW", "al": "ALAW"}
ENCODINGS = {"signed-integer": "PCM_", "signed": "PCM_", "u-law": "ULAW", "mu-law": "ULAW", "a-law": "ALAW"}


def sox(words: Words) -> Stage:
    """`sox [-t TYPE] F -t wav [-r R] [-c 1] - [effect ...]`."""
    formats: list[tuple[str, dict[str, str]]] = []
    options: dict[str, str] = {}
    for word in words:
        if word in ("-q", "-D", "-R", "-S", "--no-show-progress", "--no-dither") or re.fullmatch(r"-V\d?", word):
            continue
        if word in ("-t", "-r", "-c", "-b", "-e", "-v", "--rate", "--channels", "--bits", "--encoding", "--type"):
            options[word.lstrip("-")[0]] = words.value(word)
        elif word in ("-2", "-3", "-4"):
            options["b"] = str(8 * int(word[1]))
        elif word == "-s":
            options["e"] = "signed-integer"
        elif word in ("-L", "-B"):
            options["endian"] = {"-L": "LITTLE", "-B": "BIG"}[word]
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            formats.append((word, options))
            options = {}
            if len(formats) == 2:
                break
    if len(formats) != 2 or formats[1][0] not in STDOUT:
        raise InputError("sox that does not read one file and write to -")
    (file, given), (_, wanted) = formats
    if file.startswith("|"):
        raise InputError("a command inside sox")
    if wanted.get("t", "wav") not in LOSSLESS or wanted.get("b", "16") not in ("16", "24", "32"):
        raise words.refuse(f"output of type {wanted.get('t')} and {wanted.get('b', 16)} bits")
    if wanted.get("e", "signed") not in ("signed", "signed-integer", "floating-point"):
        raise words.refuse(f"-e {wanted['e']}")
    steps: list[Step] = [Gain(float(given["v"]))] if "v" in given else []
    raw = _sox_raw(words, given)
    steps += _sox_effects(words)
    if wanted.get("c", "1") != "1":
        raise words.refuse(f"-c {wanted['c']}")
    steps += [Channels()] * ("c" in wanted) + ([Rate(sox_rate(wanted["r"]))] if "r" in wanted else [])
    return Stage(file, tuple(steps), raw)


def _sox_raw(words: Words, given: dict[str, str]) -> RawFormat | None:
    """The format of input without a header; None where a header says it."""
    kind = given.get("t", "")
    if kind not in RAW_TYPES:
        changed = [f"-{key} {given[key]}" for key in ("r", "c") if key in given]
        if changed:
            raise words.refuse(f"{changed[0]} against what the file's header says")
        return None
    subtype = RAW_TYPES[kind] or ENCODINGS.get(given.get("e", "signed"), "")
    subtype += given.get("b", "") if subtype == "PCM_" else ""
    if "r" not in given or subtype not in ("PCM_16", "PCM_24", "PCM_32", "ULAW", "ALAW"):
        raise words.refuse(f"raw input without -r, -b and -e, or of an encoding {given.get('e')}")
    return RawFormat(sox_rate(given["r"]), int(given.get("c", "1")), subtype, given.get("endian", "LITTLE"))


def _sox_effects(words: Words) -> list[Step]:
    """What effects after the output file do."""
    steps: list[Step] = []
    effects: list[list[str]] = []
    for word in words:
        if word in SOX_EFFECTS or not effects:
            effects.append([word])
        else:
            effects[-1].append(word)
    for name, *values in effects:
        if name not in SOX_EFFECTS:
            raise InputError(f"the effect {name} of sox")
        try:
            steps += SOX_EFFECTS[name](values)
        except (ValueError, IndexError):
            raise InputError(f"the effect {' '.join([name, *values])} of sox") from None
    return steps


def _remix(values: list[str]) -> list[Step]:
    """One channel of some: `2`, `1,2`, or `-` for all."""
    (value,) = values
    return [Channels(None if value == "-" else tuple(int(number) - 1 for number in value.split(",")))]


def _channels(values: list[str]) -> list[Step]:
    if values != ["1"]:
        raise ValueError
    return [Channels()]


def _rate(values: list[str]) -> list[Step]:
    return [Rate(sox_rate(next(value for value in values if not re.fullmatch("-[a-zA-Z]", value))))]


def _sox_trim(values: list[str]) -> list[Step]:
    start, in_samples = sox_position(values[0].removeprefix("="))
    if len(values) == 1:
        return [Trim(start, None, in_samples)]
    _, last = values
    end, also = sox_position(last.removeprefix("="))
    if also != in_samples and start:
        raise ValueError
    return [Trim(start, end if last.startswith("=") else start + end, also)]


def _vol(values: list[str]) -> list[Step]:
    value, kind = (*values, "amplitude")[:2]
    if len(values) > 2 or kind not in ("amplitude", "dB"):
        raise ValueError
    return [Gain(decibels(value.removesuffix("dB")) if kind == "dB" or value.endswith("dB") else float(value))]


def _gain(values: list[str]) -> list[Step]:
    (value,) = values
    return [Gain(decibels(value))]


SOX_EFFECTS: dict[str, Callable[[list[str]], list[Step]]] = {
    "remix": _remix,
    "channels": _channels,
    "rate": _rate,
    "trim": _sox_trim,
    "vol": _vol,
    "gain": _gain,
    "dither": lambda values: [],  # noise below the last bit
}
