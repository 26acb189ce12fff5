"""Transcribe WAV files (16 kHz, mono, 16 bits) by onnxruntime and numpy alone: FOLDER (dualtk export) MODE FILE ..."""

import json
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime

folder, mode, files = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]


def mels(hertz):
    return 1127 * np.log1p(hertz / 700)


def log_mel(samples, num_mels, low, high):  # as Kaldi's: 25 ms every 10 ms, the signal reflected at both ends
    padded = np.concatenate([samples[119::-1], samples, samples[:-401:-1]])
    frames = np.lib.stride_tricks.sliding_window_view(padded, 400)[::160][: (len(samples) + 80) // 160]
    frames = frames - frames.mean(1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * np.hanning(400) ** 0.85, 512)) ** 2
    edges = np.linspace(mels(low), mels(high), num_mels + 2)[:, None]
    slopes = (mels(np.arange(257) * 31.25) - edges[:-1]) / (edges[1] - edges[0])
    weights = np.maximum(0, np.minimum(slopes[:-1], 1 - slopes[1:]))
    return np.log(np.maximum(power @ weights.T, 1.1920929e-7)).astype(np.float32)


def load(name):  # a function of arrays; the shape of its first input; the state before anything came; metadata
    graph = onnxruntime.InferenceSession(folder / f"{name}.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in graph.get_inputs()]
    shapes = [[size if isinstance(size, int) else 1 for size in one.shape] for one in graph.get_inputs()]
    facts = graph.get_modelmeta().custom_metadata_map
    return lambda *x: graph.run(None, dict(zip(names, x))), shapes[0], [np.zeros(x, "f") for x in shapes[1:]], facts


options = json.loads((folder / "export.json").read_text())
pieces = [line.split(" ")[0] for line in (folder / "tokens.txt").read_text(encoding="utf-8").splitlines()]
(encoder, _, encoder_start, facts), (joiner, *_) = load(f"encoder-{mode}"), load("joiner")
decoder, (_, num_labels), decoder_start, _ = load("decoder")
for file in files:
    with wave.open(file) as audio:
        samples = np.frombuffer(audio.readframes(audio.getnframes()), "<i2") / 32768
    size, shift = (int(facts.get(key, 0)) for key in ("T", "decode_chunk_len"))  # of a stream's window; to the next
    samples = np.concatenate([samples, np.zeros(160 * size + 8000 if size else 0)])  # the last window cuts some off
    feats = log_mel(samples, *(options["features"][key] for key in ("num_mels", "low_frequency", "high_frequency")))
    state, frames = encoder_start, [] if size else encoder(feats[None], np.array([len(feats)]))[0][0]
    for start in range(0, len(feats) - size + 1, shift) if size else ():
        output, *state = encoder(feats[None, start : start + size], *state)
        frames.extend(output[0])
    labels = [-1] * (num_labels - 1) + [-1 if decoder_start else 0]
    output, *state = decoder(np.array([labels]), *decoder_start)
    for frame in frames:
        for _ in range(options["symbols_per_frame"]):
            if not (token := int(joiner(frame[None], output)[0].argmax())):
                break
            labels.append(token)
            output, *state = decoder(np.array([labels[-num_labels:]]), *state)
    print("".join(pieces[token] for token in labels[num_labels:]).replace("\u2581", " ").strip())
