"""Greedy search with the graphs of an exported folder, by onnxruntime.

Shapes: T feature frames, F features, T' frames of the joiner, J joiner width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dualtk.graphs.runtime import Array, Session

DECODER, JOINER = "decoder.onnx", "joiner.onnx"


def encoder_file(mode_name: str) -> str:
    """The name of a mode's encoder."""
    return f"encoder-{mode_name}.onnx"


class OnnxDecoder:
    """Decodes features in one mode.

    Args:
        folder: of `dualtk export`.
        mode_name: of an encoder in it.
        symbols_per_frame: labels that one frame of the joiner may emit.
    """

    def __init__(self, folder: Path, mode_name: str, symbols_per_frame: int) -> None:
        self.encoder = Session(folder / encoder_file(mode_name))
        self.decoder, self.joiner = Session(folder / DECODER), Session(folder / JOINER)
        self.symbols_per_frame = symbols_per_frame

    def encode(self, feats: Array, mean: Array) -> Array:
        """Features (T, F) of an utterance -> (T', J); `mean` (F,) fills up the last window of a stream."""
        facts = self.encoder.metadata
        if "T" not in facts:
            whole: Array = self.encoder(feats[None], np.array([len(feats)]))[0][0]
            return whole
        size, shift = int(facts["T"]), int(facts["decode_chunk_len"])
        ahead, frame = size - shift, int(facts["frame_features"])
        count = -(-len(feats) // shift)
        filled = np.concatenate([feats, np.broadcast_to(mean, (count * shift + ahead - len(feats), len(mean)))])
        state, frames = self.encoder.start(), []
        for start in range(0, count * shift, shift):
            output, *state = self.encoder(filled[None, start : start + size].astype(np.float32), *state)
            frames.append(output[0])
        return np.concatenate(frames)[: -(-len(feats) // frame) * (len(frames[0]) * frame // shift)]

    def search(self, frames: Array) -> list[int]:
        """Frames (T', J) -> labels."""
        window = self.decoder.inputs[0].shape[1]
        with_state = len(self.decoder.inputs) > 1
        labels = np.array([[-1] * (window - 1) + [-1 if with_state else 0]], np.int64)
        output, *state = self.decoder(labels, *self.decoder.start())
        tokens: list[int] = []
        for frame in frames:
            for _ in range(self.symbols_per_frame):
                token = int(self.joiner(frame[None], output)[0].argmax())
                if token == 0:
                    break
                tokens.append(token)
                labels = np.append(labels, [[token]], axis=1)[:, -window:]
                output, *state = self.decoder(labels, *state)
        return tokens
