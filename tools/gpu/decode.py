"""Searches on the device that is there: 100 utterances of 6 to 14 s, the paper's network, greedy and beam 4.

    python tools/gpu/decode.py [--utterances 100] [--batch 20]

The network of tools/bench/decoding.py, whose random weights emit in a sixth of the frames. Times are of the clock,
the second of two runs.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tools/bench")]

from decoding import LIMITS, RATE, audio, make_network  # noqa: E402

from dualtk.data.fbank import fbank  # noqa: E402
from dualtk.modes import FULL_CONTEXT  # noqa: E402
from dualtk.search.beam import BeamSearch  # noqa: E402
from dualtk.search.greedy import GreedySearch  # noqa: E402


@torch.inference_mode()
def main() -> int:
    """Print a line for each search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--utterances", type=int, default=100)
    parser.add_argument("--batch", type=int, default=20)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = make_network().to(device)
    generator = torch.Generator().manual_seed(2)
    seconds = (6 + 8 * torch.rand(options.utterances, generator=generator)).sort().values.tolist()
    feats = [fbank(audio(length, seed), RATE) for seed, length in enumerate(seconds)]
    batches = [feats[first : first + options.batch] for first in range(0, len(feats), options.batch)]
    searches = {
        "encoder alone": None,
        "greedy": GreedySearch(network.predictor, network.joiner, LIMITS),
        "beam 4": BeamSearch(network.predictor, network.joiner, 4, LIMITS),
    }
    for name, search in searches.items():
        taken = 0.0
        for _ in range(2):
            began = time.perf_counter()
            for batch in batches:
                lengths = torch.tensor([len(one) for one in batch], device=device)
                padded = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True).to(device)
                encoded = network.encode(network.normalize(padded, lengths), lengths, FULL_CONTEXT)
                if search is not None:
                    search.advance(encoded.frames, encoded.lengths, search.start(len(batch)))
            if device.type == "cuda":
                torch.cuda.synchronize()
            taken = time.perf_counter() - began
        print(f"{name} on {device}: {taken:.2f} s for {sum(seconds):.0f} s, {sum(seconds) / taken:.0f} x real time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
