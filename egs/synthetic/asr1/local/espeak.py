"""The espeak-ng library through ctypes: speech with the exact time of every word.

The library keeps a little state between utterances (its flutter of the pitch), so equal bytes come only from equal
histories: give each speaker a process of its own.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualtk.errors import InputError
from dualtk.extras import extra

# The constants of speak_lib.h that are used here.
AUDIO_OUTPUT_SYNCHRONOUS, INITIALIZE_PHONEME_EVENTS = 2, 1
RATE, PITCH, RANGE = 1, 3, 4
POS_CHARACTER, CHARS_UTF8 = 1, 1
EVENT_WORD, EVENT_END, EVENT_PHONEME = 1, 5, 7

# espeak-ng runs some pairs of function words together ("in the") and gives the pair one event. The second word of the
# pair then starts this many phonemes before the pair's end.
PHONEMES_OF_JOINED = {"the": 2, "a": 1, "i": 1, "it": 2, "me": 2, "am": 2, "be": 2, "you": 2}


def loader() -> Any:
    """The package that brings the library and its voices.

    Raises:
        InputError: it is not installed.
    """
    with extra("demo"):
        import espeakng_loader
    return espeakng_loader


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


@dataclass(frozen=True)
class Voice:
    """An accent and a variant as espeak-ng names them, words per minute, and pitch and its range (0 to 99)."""

    accent: str
    variant: str
    rate: int
    pitch: int
    pitch_range: int


@dataclass(frozen=True)
class Word:
    """A word and the samples [start, end) in which it sounds."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Speech:
    """Mono samples in [-1, 1], their rate in Hz, and the words in order."""

    samples: NDArray[np.float32]
    sample_rate: int
    words: list[Word]


@dataclass(frozen=True)
class _Mark:
    """One event of the synthesiser: a word (its first character in `position`, from 0) or a phoneme (its name)."""

    kind: int
    position: int
    sample: int
    phoneme: str

    @property
    def is_pause(self) -> bool:
        return self.phoneme.startswith("_")


class Synthesiser:
    """espeak-ng in this process. The library is one per process, so make one of these per process."""

    def __init__(self) -> None:
        self._samples: list[NDArray[np.int16]] = []
        self._marks: list[_Mark] = []
        self._callback = _CALLBACK(self._receive)  # kept: the library holds only a bare pointer to it
        data = str(loader().get_data_path()).encode()
        self.sample_rate: int = self._library.espeak_Initialize(
            AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_PHONEME_EVENTS
        )
        if self.sample_rate <= 0:
            raise InputError(f"{loader().get_library_path()}: espeak-ng does not start; reinstall espeakng-loader")
        self._library.espeak_SetSynthCallback(self._callback)

    @cached_property
    def _library(self) -> ctypes.CDLL:
        return ctypes.CDLL(str(loader().get_library_path()))

    def _receive(self, wave: ctypes._Pointer[ctypes.c_short], count: int, events: ctypes._Pointer[_Event]) -> int:
        if wave and count > 0:
            self._samples.append(np.ctypeslib.as_array(wave, (count,)).copy())
        index = 0
        while (event := events[index]).type:
            if event.type in (EVENT_WORD, EVENT_PHONEME):
                name = event.id.string.decode() if event.type == EVENT_PHONEME else ""
                self._marks.append(_Mark(event.type, event.text_position - 1, event.sample, name))
            index += 1
        return 0

    def speak(self, text: str, voice: Voice) -> Speech:
        """Say `text` (lower-case words, single spaces, no punctuation) with `voice`."""
        self._samples.clear()
        self._marks.clear()
        name = f"gmw/{voice.accent}+{voice.variant}"
        if self._library.espeak_SetVoiceByName(name.encode()) != 0:
            raise InputError(f"espeak-ng has no voice {name!r}")
        ctypes.CDLL(None).srand(0)  # some voices draw their breath noise from rand(),
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # others from the library's own generator
        for parameter, value in ((RATE, voice.rate), (PITCH, voice.pitch), (RANGE, voice.pitch_range)):
            self._library.espeak_SetParameter(parameter, value, 0)
        utf8 = text.encode() + b"\0"
        self._library.espeak_Synth(utf8, len(utf8), 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        samples = np.concatenate(self._samples).astype(np.float32) / 32768.0
        return Speech(samples, self.sample_rate, word_times(text, self._marks, len(samples)))


def word_times(text: str, marks: list[_Mark], num_samples: int) -> list[Word]:
    """The words of `text` with their samples, from the synthesiser's events."""
    words = text.split()
    position, phonemes_of = 0, {mark.position: i for i, mark in enumerate(marks) if mark.kind == EVENT_WORD}
    starts: list[tuple[int, int]] = []  # (sample, index of the mark) of each word
    for word in words:
        if position in phonemes_of:
            starts.append(_start(marks, phonemes_of[position]))
        else:
            starts.append(_joined_start(marks, starts[-1][1], word, text))
        position += len(word) + 1
    return [_word(words, starts, marks, index, num_samples) for index in range(len(words))]


def _start(marks: list[_Mark], index: int) -> tuple[int, int]:
    """Where the word of `marks[index]` starts.

    Before a vowel the library reports the word together with the last sonorant of the word before it ("turn on": at
    the n); the word itself starts with its own first phoneme.
    """
    previous = marks[index - 1] if index else None
    if previous and previous.kind == EVENT_PHONEME and previous.sample == marks[index].sample and not previous.is_pause:
        return marks[index + 1].sample, index
    return marks[index].sample, index


def _joined_start(marks: list[_Mark], index: int, word: str, text: str) -> tuple[int, int]:
    """Where `word` starts, which shares the event `marks[index]` with the word before it."""
    phonemes = [
        i
        for i, mark in enumerate(marks)
        if i > index and mark.kind == EVENT_PHONEME and mark.position == marks[index].position and not mark.is_pause
    ]
    count = PHONEMES_OF_JOINED.get(word)
    if count is None or len(phonemes) <= count:
        raise InputError(f"{text!r}: espeak-ng joins {word!r} with the word before it, and its time is not known")
    return marks[phonemes[-count]].sample, phonemes[-count]


def _word(words: list[str], starts: list[tuple[int, int]], marks: list[_Mark], index: int, num_samples: int) -> Word:
    """Word `index`, which ends at the next word or at the first pause, whichever comes first."""
    start, mark = starts[index]
    limit = starts[index + 1][0] if index + 1 < len(starts) else num_samples
    pauses = (m.sample for m in marks[mark + 1 :] if m.is_pause and m.sample > start)
    return Word(words[index], start, min(next(pauses, limit), limit))
