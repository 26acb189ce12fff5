"""Speech to text with an exported folder by sherpa-onnx: the only file that imports it. N samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dualtk.export.onnx_decoder import DECODER, JOINER, encoder_file
from dualtk.extras import extra
from dualtk.graphs.runtime import Array
from dualtk.modes import Mode

RATE = 16000
PIECE = RATE // 10  # samples that a stream gets at once


def require_sherpa() -> Any:
    """The package.

    Raises:
        InputError: says what to install.
    """
    with extra("export"):
        import sherpa_onnx
    return sherpa_onnx


class SherpaDecoder:
    """An unmodified sherpa-onnx recogniser, on one thread.

    Args:
        folder: of `dualtk export --to sherpa-onnx`.
        mode: of an encoder in it.
        num_mels: of the network's features.
        tail: samples of silence after a stream, which has no partial windows.
    """

    def __init__(self, folder: Path, mode: Mode, num_mels: int, tail: int) -> None:
        sherpa = require_sherpa()
        self.full_context = mode.full_context
        self.tail = np.zeros(tail, np.float32)
        files = {"encoder": encoder_file(mode.name), "decoder": DECODER, "joiner": JOINER, "tokens": "tokens.txt"}
        paths = {key: str(folder / name) for key, name in files.items()}
        if mode.full_context:
            self.recognizer = sherpa.OfflineRecognizer.from_transducer(**paths, num_threads=1, feature_dim=num_mels)
        else:
            self.recognizer = sherpa.OnlineRecognizer.from_transducer(
                **paths, num_threads=1, feature_dim=num_mels, model_type="lstm"
            )

    def decode(self, samples: Array) -> str:
        """Audio (N,) at 16 kHz -> its text."""
        stream = self.recognizer.create_stream()
        if self.full_context:
            stream.accept_waveform(RATE, samples)
            self.recognizer.decode_stream(stream)
            return _words(stream.result.text)
        for start in range(0, len(samples), PIECE):
            stream.accept_waveform(RATE, samples[start : start + PIECE])
            while self.recognizer.is_ready(stream):
                self.recognizer.decode_stream(stream)
        stream.accept_waveform(RATE, self.tail)
        stream.input_finished()
        while self.recognizer.is_ready(stream):
            self.recognizer.decode_stream(stream)
        return _words(self.recognizer.get_result(stream))


def _words(text: str) -> str:
    return " ".join(text.split())
