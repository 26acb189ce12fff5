"""What a large training set costs: disk, network and memory, from constants that were measured.

    python tools/bench/cost.py --hours 100000

Every constant says where it was measured. `docs/nodes.md` shows what this prints.
"""

from __future__ import annotations

import argparse

SECONDS = 12.3  # of an utterance of read speech (LibriSpeech: 960.9 h, 281,241 utterances)
BYTES_OF_AN_UTTERANCE = (
    290.0  # in columns, its targets included, once on a machine: tools/bench/README.md, "Large sets"
)
GPU_RATE = 1900.0  # seconds of speech a second that an H100 trains on: tools/gpu/README.md, 30.7 M Conformer, bfloat16:
# 32 x 16 s in one mode take 133.9 ms, and both modes twice that.
GPUS_OF_A_NODE = 8
SHARD_HOURS, WINDOW = 1.0, 8  # of `dualtk shard` and batches.shard_window


# Megabytes of an hour of speech. Features: tools/bench/storage.py. Audio: 1.27 h of LibriSpeech as FLAC of 16 kHz (83.3
# MB in 355 files), and 2.86 h of it as Opus of 32 kbit/s (40.7 MB).
FORMS = {
    "float32": 115.2,
    "two_bytes": 57.6,
    "one_byte": 29.0,
    "FLAC": 65.8,
    "Opus": 14.2,
}


def disk(hours: float) -> list[str]:
    """Terabytes of each form, features at one speed, and of features at three."""
    lines = ["| form | MB an hour | TB | TB at three speeds |", "| --- | --- | --- | --- |"]
    for name, megabytes in FORMS.items():
        terabytes = megabytes * hours / 1e6
        drawn = name in ("FLAC", "Opus")  # waveform.speeds are drawn in training
        lines.append(f"| {name} | {megabytes:.1f} | {terabytes:.1f} | {terabytes * (1 if drawn else 3):.1f} |")
    return lines


def running(hours: float) -> list[str]:
    """What an epoch takes on some numbers of GPUs."""
    head = ["GPUs", "nodes", "hours of an epoch", *(f"{name}, MB/s" for name in FORMS)]
    head += ["lists, GB a node", "windows of FLAC, GB a node", "windows of float32, GB a node"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lists = hours * 3600 / SECONDS * BYTES_OF_AN_UTTERANCE / 1e9
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        rate = gpus * GPU_RATE / 3600  # hours of speech a second
        window = SHARD_HOURS * WINDOW * min(gpus, GPUS_OF_A_NODE) / 1e3
        row = [f"{gpus}", f"{-(-gpus // GPUS_OF_A_NODE)}", f"{hours / rate / 3600:.1f}"]
        row += [f"{rate * megabytes:.0f}" for megabytes in FORMS.values()]
        row += [f"{lists:.1f}", *(f"{window * FORMS[name]:.1f}" for name in ("FLAC", "float32"))]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=100_000.0, help="of speech; default: 100000")
    options = parser.parse_args()
    print("\n".join([*disk(options.hours), "", *running(options.hours)]))


if __name__ == "__main__":
    main()
