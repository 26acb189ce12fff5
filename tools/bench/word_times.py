"""How far the words of a decoding are from where they were said.

    dualtk decode --exp EXP --data DATA --mode full --word-times
    python tools/bench/word_times.py EXP/decode/SET-full DATA

DATA/words.ctm has the true times. Words that the alignment of `dualtk score` finds right are compared: the difference
of starts and of ends, hypothesis minus reference, of the times of emission (hyp.ctm) and of those by alignment
(aligned.ctm, where there is one).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dualtk.ctm import Word, read_ctm
from dualtk.score.align import align

FILES = {"emission": "hyp.ctm", "alignment": "aligned.ctm"}
NEAR = 0.1  # seconds


def differences(ref: dict[str, list[Word]], hyp: dict[str, list[Word]]) -> NDArray[np.float64]:
    """(words that are right, 2): seconds by which each starts and ends later than it should."""
    found: list[tuple[float, float]] = []
    for utterance, words in ref.items():
        said = hyp.get(utterance, [])
        ones, others = iter(words), iter(said)
        for pair in align([word.word.lower() for word in words], [word.word.lower() for word in said]):
            one = None if pair.ref is None else next(ones)
            other = None if pair.hyp is None else next(others)
            if one is not None and other is not None and pair.kind == "C":
                found.append((other.start - one.start, other.end - one.end))
    return np.array(found).reshape(-1, 2)


def main() -> int:
    """The command line of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("decoding", type=Path, help="folder of dualtk decode")
    parser.add_argument("data", type=Path, help="data directory with words.ctm")
    options = parser.parse_args()
    ref = read_ctm(options.data / "words.ctm")
    print("| times by | words | start: median, median of distances | within 100 ms | end: likewise | within 100 ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, file in FILES.items():
        if not (options.decoding / file).exists():
            continue
        found = differences(ref, read_ctm(options.decoding / file))
        cells = []
        for column in found.T:
            cells.append(f"{1000 * np.median(column):+.0f}, {1000 * np.median(np.abs(column)):.0f} ms")
            cells.append(f"{100 * np.mean(np.abs(column) <= NEAR):.1f} %")
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
