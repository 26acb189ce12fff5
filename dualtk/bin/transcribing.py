"""Recordings one after the other or several at once, and where their transcripts go."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from dualtk.bin.display import Display, JsonDisplay, TextDisplay
from dualtk.bin.dualtk import tell
from dualtk.bin.interrupt import until_interrupted
from dualtk.bin.problems import about
from dualtk.bin.searching import load_recognizer
from dualtk.data.audio import read_header
from dualtk.data.live import Piece, file_pieces, stream_pieces
from dualtk.data.microphone import microphone_pieces
from dualtk.errors import InputError
from dualtk.formats import FORMATS
from dualtk.recognizer import TWO_PASS, Recognizer
from dualtk.transcript import Result, Segment
from dualtk.written import Written

PIECE_SECONDS = 0.1  # of audio that is taken at once
MICROPHONE = "microphone"


@dataclass(frozen=True)
class Task:
    """What is transcribed: the recogniser, its mode, and where results go."""

    recognizer: Recognizer
    options: argparse.Namespace
    display: Display | None
    written: Written | None

    def pieces(self, name: str) -> Iterable[Piece]:
        """The audio called `name` on the command line; Ctrl-C ends one that is still coming in."""
        if name == MICROPHONE and self.options.microphone is not None:
            return until_interrupted(microphone_pieces(self.options.microphone, PIECE_SECONDS))
        if name == "-":
            rate, channels = self.options.raw_rate, self.options.raw_channels
            raw = stream_pieces(sys.stdin.buffer, PIECE_SECONDS, raw_rate=rate, raw_channels=channels)
            return until_interrupted(raw)
        return file_pieces(Path(name), PIECE_SECONDS)

    def transcribe(self, name: str) -> Result:
        """All of it; shows what comes while it comes."""
        stream, segments = self.recognizer.stream(self.options.mode), []
        shown = ""
        with tqdm(
            desc=name, total=_seconds(name), unit="s", unit_scale=True, delay=2.0, leave=False, disable=self._no_bar()
        ) as bar:
            for samples, rate in self.pieces(name):
                stream.accept(samples, rate)
                bar.update(len(samples) / rate)
                segments += self._show(name, stream.results(), stream.audio_seconds)
                partial = "" if self.display is None else stream.partial
                if self.display is not None and partial not in ("", shown):
                    self.display.partial(name, partial, stream.audio_seconds)
                shown = partial
        segments += self._show(name, stream.finish(), stream.audio_seconds)
        if not segments:
            self._show(name, [_nothing(self.recognizer, self.options.mode)], stream.audio_seconds)
        return Result(self.options.mode, segments, stream.audio_seconds)

    def _no_bar(self) -> bool | None:
        """None: a bar where stderr is a terminal; none beside results that are shown while they come, nor for one of
        several files at once."""
        shows = self.display is not None and sys.stdout.isatty()
        return True if shows or self.options.jobs > 1 else None

    def _show(self, name: str, segments: list[Segment], audio_seconds: float) -> list[Segment]:
        for segment in segments if self.display is not None else ():
            assert self.display is not None
            for one in (segment.first_pass, segment):
                if one is not None:
                    self.display.final(name, one, audio_seconds)
        return segments

    def write(self, name: str, result: Result) -> None:
        """The files of --output, or the formats of --output-format on stdout."""
        stem = _stem(name)
        for kind in self.options.output_format or ["txt"]:
            text = FORMATS[kind](stem, result)
            if self.written is not None:
                self.written.write(f"{stem}.{kind}", text)
            else:
                sys.stdout.write(text)
                sys.stdout.flush()


def _stem(name: str) -> str:
    """What the files of a recording are called."""
    return "stdin" if name == "-" else name if name == MICROPHONE else Path(name).stem


def _seconds(name: str) -> float | None:
    """Length of a file, where it can be told before it is read."""
    try:
        return read_header(Path(name)).duration
    except InputError:
        return None


def _nothing(recognizer: Recognizer, mode: str) -> Segment:
    """The segment of a recording in which nothing was said."""
    names = [
        one.mode.name for one in (recognizer.passes(mode).first, recognizer.passes(mode).second) if one is not None
    ]
    segment: Segment | None = None
    for name in names:
        segment = Segment(name, 0.0, 0.0, "", [], segment)
    assert segment is not None
    return segment


def transcribe_all(task: Task, names: Sequence[str]) -> Iterator[tuple[str, Result | InputError]]:
    """The result or the fault of each, in order."""

    def attempt(name: str) -> Result | InputError:
        try:
            with about(name):
                return task.transcribe(name)
        except InputError as error:
            return error

    if task.options.jobs == 1:
        yield from ((name, attempt(name)) for name in names)
        return
    with ThreadPoolExecutor(task.options.jobs) as pool:
        yield from zip(names, pool.map(attempt, names))


def _require_names(options: argparse.Namespace) -> list[str]:
    """What is to be transcribed, by name.

    Raises:
        InputError: nothing, or two files whose results would have one name.
    """
    names = [*options.files, *([MICROPHONE] if options.microphone is not None else [])]
    if not names:
        raise InputError("nothing to transcribe: name files, - for stdin, or --microphone")
    stems: dict[str, str] = {}
    for name in names if options.output is not None else ():
        other = stems.setdefault(Path(name).stem, name)
        if other != name:
            raise InputError(f"{other} and {name}: both would be written to {options.output / Path(name).stem}")
    return names


def run_transcription(options: argparse.Namespace) -> int:
    """Transcribe by the options of `dualtk transcribe`; returns the exit status."""
    names = _require_names(options)
    written = None if options.output is None else Written(options.output)
    if written is not None:  # now, and not after hours
        for name, kind in itertools.product(names, options.output_format or ["txt"]):
            written.require_own(f"{_stem(name)}.{kind}")
    if options.threads:
        torch.set_num_threads(options.threads)
    recognizer = load_recognizer(options.exp, options)
    recognizer.passes(options.mode)  # says now what is wrong with the options
    is_written = options.output is not None or options.output_format is not None
    display = None if is_written or options.jobs > 1 else _display(options, names)
    task = Task(recognizer, options, display, written)
    status = 0
    for name, found in transcribe_all(task, names):
        if isinstance(found, Result):
            if is_written:
                task.write(name, found)
            elif task.display is None:
                _show_at_once(_display(options, names), name, found)
            continue
        if task.display is not None:  # one bad file does not keep the others from being transcribed
            task.display.clear()
        line = str(found)
        status = tell(line if line.startswith(name) else f"{name}: {line}", 2)
    return status


def _display(options: argparse.Namespace, names: Sequence[str]) -> Display:
    in_words = TextDisplay(sys.stdout, len(names) > 1, options.mode == TWO_PASS)
    return JsonDisplay(sys.stdout) if options.json else in_words


def _show_at_once(display: Display, name: str, result: Result) -> None:
    for segment in result.segments:
        display.final(name, segment, result.audio_seconds)
