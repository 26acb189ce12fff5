"""What each form of stored features takes and loses, on some utterances of a data directory with audio.

    python tools/bench/storage.py DATA --utterances 100

Half precision is there for comparison: it is no form of Kaldi's. Errors are in natural-log energies.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from dualtk.data.audio import read_audio  # noqa: E402
from dualtk.data.fbank import fbank  # noqa: E402
from dualtk.data.kaldi import read_audio_sources  # noqa: E402
from dualtk.data.storage import METHODS, decoded, encoded  # noqa: E402
from dualtk.frames import FRAMES_PER_SECOND  # noqa: E402

Form = tuple[Callable[[np.ndarray], bytes], Callable[[bytes, int], np.ndarray]]


def forms() -> dict[str, Form]:
    """How a matrix becomes bytes, and those a matrix of so many columns."""
    found: dict[str, Form] = {
        name: (partial(encoded, storage=name), lambda content, columns: decoded(content))  # type: ignore[arg-type]
        for name in METHODS
    }
    found["float16 (for comparison)"] = (
        lambda matrix: matrix.astype(np.float16).tobytes(),
        lambda content, columns: np.frombuffer(content, np.float16).reshape(-1, columns).astype(np.float32),
    )
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--utterances", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sources = list(read_audio_sources(options.data).values())[: options.utterances]
    matrices = [fbank(*read_audio(source)).numpy() for source in sources]
    frames = sum(map(len, matrices))
    spread = float(np.concatenate(matrices).std())
    print(f"{len(matrices)} utterances, {frames / FRAMES_PER_SECOND / 3600:.2f} h, standard deviation {spread:.2f}")
    print("| form | MB an hour | largest error | mean error | ms to decode 10 s |")
    print("| --- | --- | --- | --- | --- |")
    for name, (pack, unpack) in forms().items():
        packed = [pack(matrix) for matrix in matrices]
        began = time.process_time()
        found = [unpack(content, matrix.shape[1]) for content, matrix in zip(packed, matrices)]
        seconds = time.process_time() - began
        errors = np.concatenate([np.abs(one - other).ravel() for one, other in zip(found, matrices)])
        size = sum(map(len, packed)) / frames * FRAMES_PER_SECOND * 3600 / 1e6
        cost = 1e3 * seconds / frames * FRAMES_PER_SECOND * 10
        print(f"| {name} | {size:.1f} | {errors.max():.5f} | {errors.mean():.5f} | {cost:.2f} |")


if __name__ == "__main__":
    main()
