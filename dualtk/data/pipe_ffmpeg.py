"""What a call of ffmpeg does to the audio of one file."""

from __future__ import annotations

import re

from dualtk.data.pipe_words import STDOUT, Stage, Words, clock, decibels, sox_rate
from dualtk.data.reading import Channels, Gain, Rate, RawFormat, Step, Trim
from dualtk.errors import InputError

SILENT = {"-hide_banner", "-nostdin", "-nostats", "-y", "-n", "-vn", "-sn", "-dn"}  # nothing that touches samples
SILENT_VALUES = {"-loglevel", "-v", "-threads", "-ab", "-b:a", "-map_metadata", "-fflags", "-flags", "-sample_fmt"}
CODEC = {"-acodec", "-c:a", "-codec:a", "-codec", "-c"}
RAW_TYPES = {
    "s16le": ("PCM_16", "LITTLE"),
    "s16be": ("PCM_16", "BIG"),
    "mulaw": ("ULAW", "LITTLE"),
    "alaw": ("ALAW", "LITTLE"),
}


def ffmpeg(words: Words) -> Stage:
    """`ffmpeg -i F -f wav [-ar R] [-ac 1] [-ss T] [-t T] [-af FILTERS] -`."""
    options: dict[str, str] = {}
    given: dict[str, str] = {}
    files: list[str] = []
    output = ""
    for word in words:
        if word in SILENT:
            continue
        if word in SILENT_VALUES:
            words.value(word)
        elif word == "-i":
            files.append(words.value(word))
            given, options = options, {}
        elif word in CODEC:
            options["codec"] = words.value(word)
        elif word in ("-f", "-ar", "-ac", "-ss", "-t", "-to", "-af", "-filter:a", "-map", "-map_channel"):
            options[word.replace("filter:a", "af")] = words.value(word)
        elif word.startswith("-") and word != "-":
            raise words.refuse(word)
        else:
            output = word
    if output not in STDOUT:
        raise InputError("ffmpeg that does not write to -")
    file = words.only(files)
    if options.get("-f", "wav") not in ("wav", "flac", "nut"):
        raise words.refuse(f"-f {options['-f']}")
    if not re.fullmatch(r"pcm_s(16|24|32)le|pcm_f(32|64)le|flac", options.get("codec", "flac")):
        raise words.refuse(f"the codec {options['codec']}")
    if options.get("-map", "0") not in ("0", "0:0", "0:a", "0:a:0"):
        raise words.refuse(f"-map {options['-map']}")
    return Stage(file, (*_trim(given), *_output_steps(words, options)), _raw(words, given))


def _raw(words: Words, given: dict[str, str]) -> RawFormat | None:
    """The format of input without a header; None where a header says it."""
    unknown = [f"{key} {value}" for key, value in given.items() if key not in ("-f", "-ar", "-ac", "-ss", "-t", "-to")]
    if unknown or given.get("-f") not in RAW_TYPES:
        wrong = unknown or [f"{key} {given[key]}" for key in ("-ar", "-ac") if key in given]
        if wrong:
            raise words.refuse(f"{wrong[0]} before -i")
        return None
    subtype, endian = RAW_TYPES[given["-f"]]
    return RawFormat(sox_rate(given.get("-ar", "44100")), int(given.get("-ac", "1")), subtype, endian)


def _trim(options: dict[str, str]) -> tuple[Step, ...]:
    start = clock(options.get("-ss", "0"))
    end = start + clock(options["-t"]) if "-t" in options else clock(options["-to"]) if "-to" in options else None
    return (Trim(start, end),) if start or end is not None else ()


def _output_steps(words: Words, options: dict[str, str]) -> list[Step]:
    """What the options of the output do."""
    steps: list[Step] = []
    if "-map_channel" in options:
        match = re.fullmatch(r"0\.\d+\.(\d+)", options["-map_channel"])
        if match is None:
            raise words.refuse(f"-map_channel {options['-map_channel']}")
        steps.append(Channels((int(match[1]),)))
    for text in options["-af"].split(",") if "-af" in options else []:
        steps.append(_filter(words, text))
    steps += _trim(options)
    if options.get("-ac", "1") != "1":
        raise words.refuse(f"-ac {options['-ac']}")
    if "-ac" in options:
        steps.append(Channels())
    if "-ar" in options:
        steps.append(Rate(sox_rate(options["-ar"])))
    return steps


def _filter(words: Words, text: str) -> Step:
    """One audio filter."""
    if match := re.fullmatch(r"volume=(?:volume=)?(-?[\d.]+)(dB)?", text):
        return Gain(decibels(match[1]) if match[2] else float(match[1]))
    if match := re.fullmatch(r"aresample=(\d+)", text):
        return Rate(int(match[1]))
    if match := re.fullmatch(r"pan=(?:mono|1c)\|c0=(?:c(\d)|FL|FR)", text):
        return Channels((int(match[1]) if match[1] else int(text.endswith("FR")),))
    raise InputError(f"the filter {text} of ffmpeg")
